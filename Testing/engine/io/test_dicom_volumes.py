"""Each DICOM slice lies where its own header says, with the values that its own slope and intercept make."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from dicom_files import (
    CT,
    ENHANCED_CT,
    ENHANCED_MR,
    ENHANCED_PET,
    MANY_CAPTURES,
    NUCLEAR,
    ORIGIN,
    PET,
    ROTATIONAL_ANGIOGRAPHY,
    STEP,
    TOMOSYNTHESIS,
    ULTRASOUND_VOLUME,
    dataset,
    enhanced,
    item,
    places,
    save,
    slices,
    voxels,
)
from pydicom.dataset import Dataset

from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.video.clip import open_frames

OBLIQUE = tuple(
    np.round([np.cos(0.3), np.sin(0.3), 0.0, -np.sin(0.3) * np.cos(0.2), np.cos(0.3) * np.cos(0.2), 0.19866933], 8)
)
ACROSS = np.cross(OBLIQUE[:3], OBLIQUE[3:])


def assert_at(volume: Volume, array: np.ndarray, positions: np.ndarray, orientation: tuple[float, ...]) -> None:
    """Every slice of `array` is in the volume, and its corners are where its file says."""
    rows, columns = array.shape[1:]
    assert volume.shape == array.shape
    for picture, place in zip(array, positions, strict=True):
        (found,) = [index for index in range(len(array)) if np.array_equal(volume.array[index], picture)]
        np.testing.assert_allclose(volume.world((found, 0, 0)), place, atol=0.01)
        along_row = np.multiply(0.5 * (columns - 1), orientation[:3])
        along_column = np.multiply(0.75 * (rows - 1), orientation[3:])
        corner = place + along_row + along_column
        np.testing.assert_allclose(volume.world((found, rows - 1, columns - 1)), corner, atol=0.01)


def refusal(path: Path) -> str:
    with pytest.raises(AutoMedSAMError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.endswith(".") and not re.search(r"[.!?]\s", message) and "damaged" not in message, message
    return message


@pytest.mark.parametrize("turned", [False, True])
def test_slices_have_the_positions_of_their_files(turned: bool, tmp_path: Path) -> None:
    array, positions = voxels(), places(step=STEP * ACROSS)
    order = slice(None, None, -1) if turned else slice(None)
    slices(tmp_path, array[order], positions[order], OBLIQUE)
    volume = read_volume(tmp_path)
    assert_at(volume, array, positions, OBLIQUE)
    assert volume.spacing == pytest.approx((0.5, 0.75, STEP)) and volume.array.dtype == np.int16


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        (ENHANCED_MR, "MR"),
        (ENHANCED_CT, "CT"),
        (ENHANCED_PET, "PT"),
        (TOMOSYNTHESIS, "MG"),
        (ROTATIONAL_ANGIOGRAPHY, "XA"),
        (MANY_CAPTURES, "OT"),
    ],
)
def test_frames_of_one_file_have_their_own_positions(kind: str, modality: str, turned: bool, tmp_path: Path) -> None:
    array, positions = voxels(), places(step=STEP * ACROSS)
    order = slice(None, None, -1) if turned else slice(None)
    path = enhanced(tmp_path / "a.dcm", array[order], positions[order], OBLIQUE, kind=kind, modality=modality)
    assert open_frames(path) is None
    assert_at(read_volume(path), array, positions, OBLIQUE)
    assert read_volume(tmp_path).same_grid(read_volume(path))


def test_frames_in_space_are_a_volume_in_spite_of_a_frame_time(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "a.dcm", voxels(), FrameTime="100", modality="XA", kind=ROTATIONAL_ANGIOGRAPHY)
    assert open_frames(path) is None
    assert read_volume(path).shape == (6, 7, 8)


def test_ultrasound_volume_lies_in_the_frame_of_its_transducer(tmp_path: Path) -> None:
    def place(groups: Dataset, index: int) -> None:
        position = list(groups.PlanePositionSequence[0].ImagePositionPatient)
        del groups.PlanePositionSequence
        groups.PlanePositionVolumeSequence = [item(ImagePositionVolume=[float(value) for value in position])]
        groups.PlaneOrientationVolumeSequence = [item(ImageOrientationVolume=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])]

    path = enhanced(tmp_path / "a.dcm", voxels(), per_frame=place, kind=ULTRASOUND_VOLUME, modality="US")
    assert open_frames(path) is None
    assert_at(read_volume(path), voxels(), places(), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


@pytest.mark.parametrize("sign", [1, -1])
def test_nuclear_slices_are_stacked_by_the_sign_of_their_distance(sign: int, tmp_path: Path) -> None:
    made = dataset(
        voxels(), NUCLEAR, "NM", NumberOfFrames=6, ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    )
    made.PixelSpacing, made.SpacingBetweenSlices, made.SliceVector = [0.75, 0.5], sign * STEP, [1, 2, 3, 4, 5, 6]
    orientation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    made.DetectorInformationSequence = [item(ImagePositionPatient=list(ORIGIN), ImageOrientationPatient=orientation)]
    volume = read_volume(save(made, tmp_path / "spect.dcm"))
    assert_at(volume, voxels(), places(step=(0, 0, sign * STEP)), tuple(orientation))


def test_nuclear_projections_are_no_volume(tmp_path: Path) -> None:
    made = dataset(voxels(), NUCLEAR, "NM", NumberOfFrames=6, ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])
    made.PixelSpacing, made.SpacingBetweenSlices = [0.75, 0.5], STEP
    assert "do not state the position of each slice" in refusal(save(made, tmp_path / "projections.dcm"))


@pytest.mark.parametrize("atomic_write", [False, True])
def test_slope_and_intercept_are_those_of_each_slice(atomic_write: bool, tmp_path: Path) -> None:
    array = voxels()
    slopes, intercepts = [1.0, 0.013, 2.5, 0.4, 7.0, 0.013], [0.0, -3.0, 0.0, 12.5, 0.0, 0.0]

    def rescale(groups: Dataset, index: int) -> None:
        values = item(RescaleSlope=slopes[index], RescaleIntercept=intercepts[index], RescaleType="US")
        groups.PixelValueTransformationSequence = [values]

    if atomic_write:
        enhanced(tmp_path / "a.dcm", array, per_frame=rescale)
    else:
        slices(
            tmp_path,
            array,
            kind=PET,
            modality="PT",
            RescaleSlope=lambda index: slopes[index],
            RescaleIntercept=lambda index: intercepts[index],
        )
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    true = array * np.reshape(slopes, (-1, 1, 1)) + np.reshape(intercepts, (-1, 1, 1))
    np.testing.assert_allclose(volume.array, true, rtol=1e-6, atol=1e-4)


def test_hounsfield_units_stay_integers(tmp_path: Path) -> None:
    stored = voxels().astype(np.uint16)
    slices(tmp_path, stored, kind=CT, modality="CT", RescaleSlope=1, RescaleIntercept=-1024, BitsStored=12, HighBit=11)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, stored.astype(int) - 1024)


@pytest.mark.parametrize("atomic_write", [False, True])
@pytest.mark.parametrize("degrees", [2.0, -18.0, 30.0])
def test_tilted_gantry_gives_a_grid_that_is_sheared_as_the_slices_are(
    degrees: float, atomic_write: bool, tmp_path: Path
) -> None:
    tilt = np.deg2rad(degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    array, positions = voxels(24), places(24)
    if atomic_write:
        path = enhanced(tmp_path / "a.dcm", array, positions, orientation, kind=ENHANCED_CT, modality="CT")
    else:
        path = slices(tmp_path, array, positions, orientation, kind=CT, modality="CT", GantryDetectorTilt=degrees)
    volume = read_volume(path)
    assert_at(volume, array, positions, orientation)
    assert volume.voxel_volume_ml == pytest.approx(0.5 * 0.75 * STEP * np.cos(tilt) / 1000)
    (note,) = volume.notes
    assert f"tilted by {abs(degrees):.1f} degrees" in note


@pytest.mark.parametrize("atomic_write", [False, True])
@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (places(8)[[0, 1, 2, 5, 6, 7]], "2 slices are missing"),
        (places(7)[[0, 1, 2, 4, 5, 6]], "1 slice is missing"),
        (np.array(ORIGIN) + np.outer([0, 1, 2.4, 4, 5, 6.9], (0, 0, STEP)), "unevenly spaced, 2.5 to 4.75 mm apart"),
        (np.array(ORIGIN) + np.outer(range(6), (3.0, 0, 0.5)), "side by side, not stacked"),
        (np.array(ORIGIN) + np.zeros((6, 3)), "all 6 have the same position"),
    ],
)
def test_slices_that_make_no_grid_are_refused_with_the_reason(
    positions: np.ndarray, reason: str, atomic_write: bool, tmp_path: Path
) -> None:
    if atomic_write:
        enhanced(tmp_path / "a.dcm", voxels(), positions)
    else:
        slices(tmp_path, voxels(), positions)
    assert reason in refusal(tmp_path)
    assert reason in refusal(next(tmp_path.iterdir()))


def test_slices_without_positions_are_refused_with_that_reason(tmp_path: Path) -> None:
    slices(tmp_path, voxels(), ImagePositionPatient=None)
    assert "do not state the position of each slice" in refusal(tmp_path)


@pytest.mark.parametrize("spacing", [None, STEP])
def test_frames_without_positions_take_the_distance_that_is_given_and_never_the_thickness(
    spacing: float | None, tmp_path: Path
) -> None:
    made = dataset(voxels(), MANY_CAPTURES, "CT", NumberOfFrames=6, SliceThickness=STEP, PixelSpacing=[0.75, 0.5])
    made.ImagePositionPatient, made.ImageOrientationPatient = list(ORIGIN), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    if spacing is not None:
        made.SpacingBetweenSlices = spacing
    path = save(made, tmp_path / "cone_beam.dcm")
    if spacing is None:
        assert "do not state the position of each slice" in refusal(path)
        return
    volume = read_volume(path)
    assert_at(volume, voxels(), places(), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    assert "first frame only" in volume.notes[0]


@pytest.mark.parametrize("which", ["all", "one", "one under its own name"])
def test_copies_of_slices_are_left_out(which: str, tmp_path: Path) -> None:
    slices(tmp_path, voxels())
    for path in sorted(tmp_path.iterdir()) if which == "all" else [tmp_path / "s097.dcm"]:
        (tmp_path / f"copy of {path.name}").write_bytes(path.read_bytes())
    if which == "one under its own name":
        (tmp_path / "copy of s097.dcm").unlink()
        slices(tmp_path, voxels()[2:3], places()[2:3], name="again", SOPInstanceUID="2.25.3")
    np.testing.assert_array_equal(read_volume(tmp_path).array, voxels())


def test_two_pictures_at_one_position_are_refused_with_that_reason(tmp_path: Path) -> None:
    slices(tmp_path, voxels())
    slices(tmp_path, voxels(seed=2)[2:3], places()[2:3], name="other")
    assert "1 of them repeated with another image" in refusal(tmp_path)


def test_positions_that_were_rounded_make_a_grid(tmp_path: Path) -> None:
    positions = np.round(places(20, (0, 0, 0.625)), 1)
    slices(tmp_path, voxels(20), positions)
    assert read_volume(tmp_path).spacing[2] == pytest.approx(0.625, abs=0.01)


def test_frames_of_one_slice_in_time_are_a_video(tmp_path: Path) -> None:
    def moment(groups: Dataset, index: int) -> None:
        groups.CardiacSynchronizationSequence = [item(NominalCardiacTriggerDelayTime=40.0 * index)]

    path = enhanced(tmp_path / "beat.dcm", voxels(), np.array([ORIGIN] * 6), per_frame=moment)
    source = open_frames(path)
    assert source is not None and source.count == 6
    assert "is a video" in refusal(path)


def test_tags_that_name_the_sequence_come_with_the_volume(tmp_path: Path) -> None:
    tags = {"ProtocolName": "t1_mprage", "SequenceName": "*tfl3d1", "ContrastBolusAgent": "Gadovist"}
    slices(tmp_path, voxels(), **tags)
    (described,) = read_volume(tmp_path).descriptions
    assert described == {"name": tmp_path.name, "Modality": "MR", "SeriesDescription": "head", **tags}
