"""Whatever a person gets wrong at the terminal: one sentence, exit code 2, and nothing is written."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.bundle import BUILT_IN, load_bundle
from automedsam.cli.app import main
from automedsam.contract.backends import Backend


class Terminal:
    """Runs `automedsam` in an empty folder beside the inputs."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.inputs, self.outputs, self._capsys = folder / "in", folder / "out", capsys
        self.inputs.mkdir()
        self.outputs.mkdir()

    def refuses(self, *arguments: object) -> str:
        """The sentence on standard error, after a look that there is nothing else."""
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        output, error = self._capsys.readouterr()
        assert left.value.code == 2
        assert not output and not list(self.outputs.iterdir())
        sentence = error.removeprefix("automedsam: ").removesuffix("\n")
        assert "\n" not in sentence and "Traceback" not in error
        assert sentence.endswith(".") and not re.search(r"[.!?]\s", sentence), sentence
        return sentence

    def head(self, name: str = "head.nii.gz", array: np.ndarray | None = None, spacing: float = 1.0) -> Path:
        """A small volume of noise, or of the given voxels."""
        voxels = np.random.default_rng(1).normal(100, 9, (6, 32, 30)) if array is None else array
        image = sitk.GetImageFromArray(voxels.astype(np.float32))
        image.SetSpacing([spacing] * image.GetDimension())
        sitk.WriteImage(image, str(self.inputs / name))
        return self.inputs / name


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


def test_unknown_model_names_the_known_ones(terminal: Terminal) -> None:
    sentence = terminal.refuses("segment", terminal.head(), "-o", terminal.outputs / "a.nii.gz", "-m", "liver")
    assert "liver" in sentence and "glioma" in sentence and "hippocampus" in sentence


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_missing_file(terminal: Terminal, verb: str) -> None:
    sentence = terminal.refuses(verb, terminal.inputs / "no.nii.gz", "-o", terminal.outputs / "a.nii.gz")
    assert "no.nii.gz does not exist" in sentence


def test_text_named_as_nifti(terminal: Terminal) -> None:
    path = terminal.inputs / "notes.nii.gz"
    path.write_text("not an image")
    assert "notes.nii.gz" in terminal.refuses("segment", path, "-o", terminal.outputs / "a.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_numbers(terminal: Terminal, value: float) -> None:
    voxels = np.random.default_rng(1).normal(size=(6, 32, 30))
    voxels[3, 3, 3] = value
    path = terminal.head(array=voxels)
    assert "head" in terminal.refuses("segment", path, "-o", terminal.outputs / "a.nii.gz")


def test_constant_voxels(terminal: Terminal) -> None:
    path = terminal.head(array=np.full((6, 32, 30), 7.0))
    assert "head" in terminal.refuses("segment", path, "-o", terminal.outputs / "a.nii.gz")


def test_a_volume_of_several_channels_for_a_model_of_one(terminal: Terminal) -> None:
    path = terminal.head(array=np.random.default_rng(1).normal(size=(3, 6, 32, 30)))
    assert "3" in terminal.refuses("segment", path, "-o", terminal.outputs / "a.nii.gz")


def test_modalities_of_different_grids(terminal: Terminal) -> None:
    inputs = terminal.head("t1.nii.gz"), terminal.head("t2.nii.gz", spacing=1.3)
    assert "t2.nii.gz" in terminal.refuses("segment", *inputs, "-o", terminal.outputs / "a.nii.gz")


def test_empty_dicom_folder(terminal: Terminal) -> None:
    (terminal.inputs / "series").mkdir()
    sentence = terminal.refuses("segment", terminal.inputs / "series", "-o", terminal.outputs / "a.nii.gz")
    assert "series" in sentence


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_output_folder_that_does_not_exist(terminal: Terminal, verb: str) -> None:
    sentence = terminal.refuses(verb, terminal.head(), "-o", terminal.outputs / "new" / "a.nii.gz")
    assert "new" in sentence


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_output_folder_that_is_a_file(terminal: Terminal, verb: str) -> None:
    (terminal.inputs / "plain").touch()
    terminal.refuses(verb, terminal.head(), "-o", terminal.inputs / "plain" / "a.nii.gz")


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_output_that_is_a_folder(terminal: Terminal, verb: str) -> None:
    (terminal.inputs / "a.nii.gz").mkdir()
    assert "folder" in terminal.refuses(verb, terminal.head(), "-o", terminal.inputs / "a.nii.gz")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="only Linux has a folder that root cannot write to")
@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_output_folder_that_cannot_be_written(terminal: Terminal, verb: str) -> None:
    assert "cannot be written" in terminal.refuses(verb, terminal.head(), "-o", "/proc/a.nii.gz")


def test_output_of_no_known_format(terminal: Terminal) -> None:
    assert "a.xyz" in terminal.refuses("segment", terminal.head(), "-o", terminal.outputs / "a.xyz")


def test_png_of_a_volume(terminal: Terminal) -> None:
    assert "PNG" in terminal.refuses("segment", terminal.head(), "-o", terminal.outputs / "a.png")


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_output_over_an_input(terminal: Terminal, verb: str) -> None:
    path = terminal.head()
    before = path.read_bytes()
    terminal.refuses(verb, path, "-o", path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("threshold", ["0", "-1", "1.5", "nan"])
def test_threshold_that_is_no_confidence(terminal: Terminal, threshold: str) -> None:
    output = terminal.outputs / "a.nii.gz"
    assert "threshold" in terminal.refuses("segment", terminal.head(), "-o", output, "--threshold", threshold)


def test_device_that_int8_cannot_use(terminal: Terminal) -> None:
    output = terminal.outputs / "a.nii.gz"
    assert "cuda" in terminal.refuses("segment", terminal.head(), "-o", output, "--device", "cuda")


def test_demo_into_no_folder(terminal: Terminal) -> None:
    assert "missing" in terminal.refuses("demo", "--output-dir", terminal.outputs / "missing")


@pytest.mark.parametrize("verb", ["segment", "detect"])
def test_bundle_whose_hash_does_not_match(terminal: Terminal, verb: str) -> None:
    shutil.copytree(BUILT_IN, terminal.inputs / "bundles")
    copy = load_bundle(terminal.inputs / "bundles" / "glioma")
    detector = copy.files(Backend.INT8)["detector"]
    detector.write_bytes(detector.read_bytes()[:-1] + b"\0\0")
    sentence = terminal.refuses(verb, terminal.head(), "-o", terminal.outputs / "a.nii.gz", "-m", copy.folder)
    assert detector.name in sentence


def test_bundle_with_a_faulty_manifest(terminal: Terminal) -> None:
    folder = terminal.inputs / "mine"
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps({"schema": 1, "name": "mine"}))
    sentence = terminal.refuses("segment", terminal.head(), "-o", terminal.outputs / "a.nii.gz", "-m", folder)
    assert "bundle.json" in sentence


def test_failure_leaves_an_earlier_result_as_it_was(terminal: Terminal) -> None:
    earlier = terminal.inputs / "earlier.seg.nrrd"
    earlier.write_text("mine")
    terminal.refuses("segment", terminal.inputs / "no.nii.gz", "-o", earlier)
    assert earlier.read_text() == "mine"
    assert [path.name for path in terminal.inputs.iterdir()] == ["earlier.seg.nrrd"]


def test_one_slice_in_a_file_for_volumes(terminal: Terminal) -> None:
    path = terminal.head(array=np.random.default_rng(1).normal(size=(1, 32, 30)))
    assert "1 slice" in terminal.refuses("segment", path, "-o", terminal.outputs / "a.nii.gz")
