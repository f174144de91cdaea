"""What a person at a terminal relies on, with the starter bundles as they are installed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import phantom_head

import automedsam
from automedsam.cli.console import RunProgress
from automedsam.core.boxes import Box
from automedsam.core.events import Event, SliceSegmented
from automedsam.core.mask_agreement import dice
from automedsam.io.volume_reader import read_volume

Command = Callable[..., tuple[int, str, str]]

WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "sam2", "super_gradients", "automedsam_lab")))  # None: cannot be imported
from automedsam.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo was run as a user without PyTorch runs it, with what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    package = str(Path(automedsam.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": package, "PYTHONUTF8": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "demo", "--output-dir", str(folder)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (folder / "printed.txt").write_text(ran.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def few_slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the slices 32 to 43 of the phantom, where two lesions are large."""
    volume, _ = phantom_head()
    part = replace(volume, array=volume.array[32:44], origin=volume.world((32, 0, 0)))
    path = tmp_path_factory.mktemp("few") / "Köpfchen.nii.gz"
    sitk.WriteImage(part.to_image(part.array), str(path))
    return path


def test_demo_finds_the_known_lesions(demo_folder: Path) -> None:
    printed = (demo_folder / "printed.txt").read_text(encoding="utf-8")
    reported = float(printed.partition("known lesions: ")[2].split()[0])
    found = read_volume(demo_folder / "phantom.seg.nrrd", check_voxels=False).array > 0
    assert reported == pytest.approx(dice(found, phantom_head()[1] > 0), abs=5e-4)
    assert reported >= 0.7


def test_demo_writes_volume_segmentation_and_picture(demo_folder: Path) -> None:
    assert {path.name for path in demo_folder.iterdir()} == {
        "phantom.nii.gz",
        "phantom.png",
        "phantom.seg.nrrd",
        "printed.txt",
    }
    assert (demo_folder / "phantom.png").read_bytes().startswith(b"\x89PNG")


def test_segment_writes_on_the_volumes_own_grid(command: Command, few_slices: Path, tmp_path: Path) -> None:
    code, _, error = command("segment", few_slices, "-o", tmp_path / "läsion.nii.gz")
    assert code == 0, error
    volume = read_volume(few_slices)
    segmentation = read_volume(tmp_path / "läsion.nii.gz", check_voxels=False)
    assert segmentation.same_grid(volume)
    assert segmentation.array.any()


def test_segment_ends_with_a_table(command: Command, few_slices: Path, tmp_path: Path) -> None:
    code, output, _ = command("segment", few_slices, "-o", tmp_path / "lesions.seg.nrrd")
    assert code == 0
    for expected in ("Objects", "ml", "segmented of 12", "detect", "segment", "Peak memory", "Device", "CPU"):
        assert expected in output, output


def test_nothing_found_is_a_valid_empty_segmentation_and_a_sentence(
    command: Command, few_slices: Path, tmp_path: Path
) -> None:
    code, _, error = command("segment", few_slices, "-o", tmp_path / "none.seg.nrrd", "--threshold", "1")
    assert code == 0
    assert [line for line in error.splitlines() if line.startswith("Nothing was found")] == [error.splitlines()[-1]]
    written = read_volume(tmp_path / "none.seg.nrrd", check_voxels=False)
    assert written.same_grid(read_volume(few_slices)) and not written.array.any()


def test_ctrl_c_keeps_the_finished_slices(
    command: Command, few_slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented = []

    def stop_at_the_third(self: RunProgress, event: Event) -> None:
        if isinstance(event, SliceSegmented):
            segmented.append(event)
            if len(segmented) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(RunProgress, "show", stop_at_the_third)
    code, output, error = command("segment", few_slices, "-o", tmp_path / "part.nii.gz")
    assert code == 130
    assert "Stopped" in error and not output
    labels = read_volume(tmp_path / "part.nii.gz", check_voxels=False).array
    kept = {int(index) for index in np.flatnonzero(labels.any((1, 2)))}
    assert kept and kept <= {event.index for event in segmented}


def test_detect_gives_boxes_in_pixels_of_their_slice(command: Command, few_slices: Path) -> None:
    code, output, _ = command("detect", few_slices)
    assert code == 0
    reported = json.loads(output)
    assert reported["plane"] == "axial" and reported["slice_count"] == 12
    _, reference = phantom_head()
    rows, columns = np.nonzero(reference[32 + 4][:, :120])
    known = Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    found = [
        Box(box["x"], box["y"], box["width"], box["height"], box["score"], box["label"])
        for box in reported["boxes"]
        if box["slice"] == 4
    ]
    assert max(box.iou(known) for box in found) > 0.6
    assert all(reported["threshold"] <= box["score"] <= 1 for box in reported["boxes"])
    assert {box["label_name"] for box in reported["boxes"]} == {
        segment.name for segment in automedsam.load_bundle("glioma").segments
    }


def test_detect_writes_a_file(command: Command, few_slices: Path, tmp_path: Path) -> None:
    code, output, _ = command("detect", few_slices, "-o", tmp_path / "boxes.json")
    assert code == 0 and not output
    assert json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))["boxes"]


def test_a_lower_threshold_gives_more_boxes(command: Command, few_slices: Path) -> None:
    many, few = (
        len(json.loads(command("detect", few_slices, "--threshold", threshold)[1])["boxes"])
        for threshold in ("0.05", "0.6")
    )
    assert many > few


def test_models_names_the_starter_bundles_and_their_licenses(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    code, output, _ = command("models")
    assert code == 0
    for bundle in automedsam.list_bundles():
        assert bundle.name in output and bundle.license in output
    assert {"glioma", "hippocampus"} <= {bundle.name for bundle in automedsam.list_bundles()}


def test_version_is_the_packages(command: Command) -> None:
    assert command("--version")[1] == f"automedsam {automedsam.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_explains_that_it_is_not_for_clinical_use(command: Command, arguments: list[str]) -> None:
    assert "not for clinical use" in "".join(command(*arguments)[1:])
