"""What a model expects is measured on its training volumes, and the input check is measured on all others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.errors import AutoMedSAMError
from automedsam_lab.bundling.expected_input import right_and_wrong
from automedsam_lab.cli.app import main
from automedsam_lab.data.builtin_tasks import split

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `automedsam-lab` with arguments; gives exit code, output, and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        output, error = capsys.readouterr()
        return int(left.value.code or 0), output, error

    return run


def write(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training volumes of the hippocampus, a FLAIR image, and files that are no images or no volumes."""
    rng = np.random.default_rng(0)
    crops = tmp_path / "msd_task04_hippocampus"
    for name, depth in zip(split("hippocampus")["train"], (32, 40), strict=False):
        array = rng.normal(100, 25, (depth, 50, 36)).clip(1).astype(np.float32)
        write(crops / "imagesTr" / f"{name}.nii.gz", array)
        write(crops / "labelsTr" / f"{name}.nii.gz", (array > 150).astype(np.uint8))
    flair = rng.uniform(1, 255, (20, 60, 60)).astype(np.float32)
    write(tmp_path / "brats2018" / "a" / "a_flair.nii.gz", flair, (3.0, 3.0, 6.0))
    write(tmp_path / "brats2018" / "a" / "a_seg.nii.gz", (flair > 200).astype(np.uint8), (3.0, 3.0, 6.0))
    for name in ("acdc_wsl4mis/patient.h5", "ct_lesion_npz/one.npz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"no volume")
    return tmp_path


def test_the_section_holds_what_was_measured_with_its_margins(command: Command, data: Path) -> None:
    code, output, _ = command("expected-input", data, "--task", "hippocampus")
    section = json.loads(output)
    assert code == 0 and section["cases"] == 2 and section["skull"] == "any"
    assert section["slice_spacing_mm"] == section["pixel_spacing_mm"] == [0.6, 2.0]
    assert section["extent_mm"] == [[27.0, 45.0], [37.5, 62.5], [24.0, 50.0]]
    assert len(section["histogram"]) == 16 and sum(section["histogram"]) == pytest.approx(1, abs=1e-3)


def test_a_folder_without_training_volumes_is_refused(command: Command, tmp_path: Path) -> None:
    code, output, error = command("expected-input", tmp_path, "--task", "hippocampus")
    assert (code, output) == (2, "") and len(error.strip().splitlines()) == 1


def test_the_table_counts_right_and_other_images(command: Command, data: Path) -> None:
    code, output, _ = command("input-check", data, "--task", "hippocampus")
    rows = {line.split(":")[0].strip() + line.split(":")[1].split()[0]: line.split() for line in output.splitlines()
            if ": suitable" in line or ": others" in line}  # fmt: skip
    assert code == 0
    assert rows["hippocampussuitable"][2:5] == ["2", "0", "0"]
    assert rows["hippocampusothers"][2:5] == ["1", "1", "1"]
    assert "warned (" not in output and "not warned" not in output


def test_images_that_the_check_misjudges_are_listed(command: Command, data: Path) -> None:
    misnamed = data / "msd_task04_hippocampus" / "imagesTr" / "z_flair.nii.gz"
    write(misnamed, np.random.default_rng(1).normal(100, 25, (35, 50, 36)).clip(1).astype(np.float32))
    _, output, _ = command("input-check", data, "--task", "hippocampus")
    assert "warned (modality): msd_task04_hippocampus/imagesTr/z_flair.nii.gz" in output


def test_an_unknown_task_is_refused(command: Command, data: Path) -> None:
    code, _, error = command("input-check", data, "--task", "liver")
    assert code == 2 and len(error.strip().splitlines()) == 1 and "liver" in error


def test_a_model_of_several_images_is_not_checked_on_single_ones(data: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="takes several images at once"):
        right_and_wrong("brats", data)


@pytest.mark.parametrize("task", ["glioma", "hippocampus"])
def test_every_real_volume_is_right_or_wrong(task: str, shared_data: Path) -> None:
    right, wrong = right_and_wrong(task, shared_data)
    images = [path for path in shared_data.rglob("*.nii.gz") if "labelsTr" not in path.parts]
    left_out = {path.name.removesuffix(".nii.gz").rpartition("_")[2] for path in images} - {
        path.name.removesuffix(".nii.gz").rpartition("_")[2] for path in [*right, *wrong]
    }
    assert left_out == {"seg", "4c", "truth", "OTMultiClass", "brainmask", "brain", "simple"}
    assert right and wrong and not set(right) & set(wrong)
    assert any(path.is_dir() for path in wrong) and all("whole_head" not in str(path) for path in right)
