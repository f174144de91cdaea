"""INT8 is calibrated with the user's own slices, seen as the engine will see them; what is wrong with them is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.volume import Plane
from automedsam.detection.detector import ResizeMode, detector_input
from automedsam.errors import AutoMedSAMError
from automedsam_lab.quantization.calibration import CLIP_SLICES, PreprocessingSpec, find_sources, read_calibration

SIZE = 32


def write_volume(path: Path, depth: int = 12, *, low: int = 0, high: int = 1000, seed: int = 0) -> Path:
    """A volume of noise inside a dark border, its first and last slices empty."""
    array = np.full((depth, 24, 20), low, np.int16)
    array[1:-1, 4:-4, 4:-4] = np.random.default_rng(seed).integers(low, high, (depth - 2, 16, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def write_picture(path: Path, *, colour: bool = False, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    if not colour:
        pixels[...] = pixels[..., :1]
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))
    return path


def test_slices_are_those_of_the_encoder(tmp_path: Path) -> None:
    write_volume(tmp_path / "head.nii.gz")
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 8)
    assert calibration.slices.shape == (8, 3, SIZE, SIZE) and calibration.slices.dtype == np.float32
    # Black and white after ImageNet's mean and deviation.
    assert calibration.slices.min() >= -2.2 and calibration.slices.max() <= 2.7
    assert calibration.slices.std() > 0.3


def test_slices_come_in_runs_of_neighbours_that_show_something(tmp_path: Path) -> None:
    write_volume(tmp_path / "a" / "head.nii.gz", 40)
    write_volume(tmp_path / "b" / "head.nrrd", 40, seed=1)
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 16)
    assert [len(clip.frames) for clip in calibration.clips] == [CLIP_SLICES] * 4
    assert len({clip.source for clip in calibration.clips}) == 2
    assert all(frame.std() > 0 for clip in calibration.clips for frame in clip.frames)
    assert not calibration.warnings


def test_the_same_folder_gives_the_same_slices(tmp_path: Path) -> None:
    for index in range(3):
        write_volume(tmp_path / f"{index}.nii", seed=index)
    first, again = (read_calibration(tmp_path, PreprocessingSpec(SIZE), 8) for _ in range(2))
    assert np.array_equal(first.slices, again.slices)


def test_detector_sees_its_own_size_and_its_neighbours(tmp_path: Path) -> None:
    write_volume(tmp_path / "head.nii.gz")
    view = PreprocessingSpec(SIZE, detector_size=(64, 96), context_mm=1.0)
    seen = read_calibration(tmp_path, view, 8).detector_slices
    assert seen.shape == (8, 3, 64, 96) and seen.dtype == np.float32
    assert seen.min() >= 0 and seen.max() <= 1
    assert not np.array_equal(seen[0, 0], seen[0, 1])


def test_letterboxed_detector_is_calibrated_with_letterboxed_slices(tmp_path: Path) -> None:
    """As the engine feeds it: the volume's slices are 24 x 20, and stand in the middle of a dark square."""
    write_volume(tmp_path / "head.nii.gz")
    view = PreprocessingSpec(SIZE, detector_size=(96, 96), fit=ResizeMode.LETTERBOX)
    calibration = read_calibration(tmp_path, view, 4)
    frames = np.repeat(calibration.clips[0].frames[..., None], 3, axis=-1)
    assert np.array_equal(calibration.detector_slices, detector_input(frames, (96, 96), ResizeMode.LETTERBOX))
    columns = calibration.detector_slices.max((0, 1, 2))
    assert columns[:8].max() == 0 and columns[-8:].max() == 0 and columns.max() > 0.5


def test_window_and_plane_are_those_of_the_bundle(tmp_path: Path) -> None:
    write_volume(tmp_path / "ct.nii.gz", low=-1000, high=1000)
    frames = (
        read_calibration(tmp_path, PreprocessingSpec(SIZE, "CT", (-160.0, 240.0), Plane.SAGITTAL), 4).clips[0].frames
    )
    assert frames.shape[1:] == (12, 24)
    assert np.mean((frames == 0) | (frames == 255)) > 0.5


def test_single_images_are_taken(tmp_path: Path) -> None:
    for index in range(5):
        write_picture(tmp_path / f"{index}.png", seed=index)
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 5)
    assert calibration.slices.shape == (5, 3, SIZE, SIZE)
    assert not calibration.warnings


def test_fewer_slices_than_requested_are_reported(tmp_path: Path) -> None:
    write_volume(tmp_path / "thin.nii.gz", 8)
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 32)
    assert calibration.count == 6
    assert any("gave 6 slices, 26 fewer than the 32 asked for" in doubt for doubt in calibration.warnings)


def test_a_thick_volume_makes_up_for_thin_ones(tmp_path: Path) -> None:
    for index in range(3):
        write_volume(tmp_path / f"thin{index}.nii.gz", 4, seed=index)
    write_volume(tmp_path / "thick.nii.gz", 60)
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 24, seed=3)
    assert calibration.count >= 20


def test_color_is_reported(tmp_path: Path) -> None:
    write_picture(tmp_path / "endoscopy.png", colour=True)
    write_picture(tmp_path / "grey.png")
    warnings = read_calibration(tmp_path, PreprocessingSpec(SIZE), 2).warnings
    assert [doubt for doubt in warnings if "in colour" in doubt] == [
        "endoscopy.png: the image is in colour, the model looks at its luminance alone."
    ]


@pytest.mark.parametrize(
    ("modality", "window", "low", "high", "message"),
    [
        ("CT", (-160.0, 240.0), 0, 200, "not in Hounsfield units"),
        ("FLAIR", None, -1024, 1000, "as CT has, but the model is for FLAIR"),
    ],
)
def test_intensities_of_another_modality_are_reported(
    tmp_path: Path, modality: str, window: tuple[float, float] | None, low: int, high: int, message: str
) -> None:
    write_volume(tmp_path / "one.nii.gz", low=low, high=high)
    assert any(
        message in doubt for doubt in read_calibration(tmp_path, PreprocessingSpec(SIZE, modality, window), 4).warnings
    )


def test_volumes_outside_the_window_cannot_be_calibrated_with(tmp_path: Path) -> None:
    write_volume(tmp_path / "one.nii.gz", low=2000, high=3000)
    with pytest.raises(AutoMedSAMError, match="hardly a voxel lies within the window -160 to 240"):
        read_calibration(tmp_path, PreprocessingSpec(SIZE, "CT", (-160.0, 240.0)), 4)


def test_a_dicom_series_of_another_modality_is_reported(shared_data: Path) -> None:
    series = shared_data / "tcia_gbm_dicom"
    assert any(
        "of modality MR" in doubt for doubt in read_calibration(series, PreprocessingSpec(SIZE, "CT"), 4).warnings
    )
    assert not read_calibration(series, PreprocessingSpec(SIZE, "FLAIR"), 4).warnings


def test_a_file_of_several_channels_is_passed_over_and_named(tmp_path: Path) -> None:
    channels = [sitk.ReadImage(str(write_volume(tmp_path / "one.nii.gz", seed=seed))) for seed in range(2)]
    (tmp_path / "one.nii.gz").unlink()
    sitk.WriteImage(sitk.JoinSeries(channels), str(tmp_path / "four.nii.gz"))
    with pytest.raises(AutoMedSAMError, match=r"1 file; .*four\.nii\.gz is a 4-D file with 2 channels"):
        read_calibration(tmp_path, PreprocessingSpec(SIZE), 4)
    write_volume(tmp_path / "whole.nii.gz")
    warnings = read_calibration(tmp_path, PreprocessingSpec(SIZE), 8).warnings
    assert any(doubt.startswith("Passed over") and "four.nii.gz" in doubt for doubt in warnings)


def test_label_maps_and_damaged_files_are_passed_over(tmp_path: Path) -> None:
    write_volume(tmp_path / "flair.nii.gz", 40)
    write_volume(tmp_path / "seg.nii.gz", 40, high=4)
    broken = write_volume(tmp_path / "broken.nii.gz", 40)
    broken.write_bytes(broken.read_bytes()[:200])
    calibration = read_calibration(tmp_path, PreprocessingSpec(SIZE), 60)
    assert {clip.source.name for clip in calibration.clips} == {"flair.nii.gz"}
    assert any("seg.nii.gz looks like a label map" in doubt for doubt in calibration.warnings)
    assert any("broken.nii.gz" in doubt and "damaged" in doubt for doubt in calibration.warnings)


def test_only_files_of_a_pattern_are_taken(tmp_path: Path) -> None:
    write_volume(tmp_path / "p1" / "p1_FLAIR.nii.gz")
    write_volume(tmp_path / "p1" / "p1_t1.nii.gz")
    assert [path.name for path in find_sources(tmp_path, "*flair*")] == ["p1_FLAIR.nii.gz"]


@pytest.mark.parametrize("only", ["*", "*dwi*"])
def test_an_empty_folder_is_refused(tmp_path: Path, only: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    if only != "*":
        write_volume(tmp_path / "flair.nii.gz")
    with pytest.raises(AutoMedSAMError, match="holds no volumes or images"):
        read_calibration(tmp_path, PreprocessingSpec(SIZE), only=only)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="absent does not exist"):
        read_calibration(tmp_path / "absent", PreprocessingSpec(SIZE))


def test_the_manifest_keeps_no_names_of_patients(tmp_path: Path) -> None:
    write_volume(tmp_path / "Muster_Erika_1964.nii.gz")
    kept = read_calibration(tmp_path, PreprocessingSpec(SIZE), 8).to_manifest()
    assert kept == {"slices": 8, "clips": 2, "files": 1, "window": None}
    assert "Muster" not in json.dumps(kept)
