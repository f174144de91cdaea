"""What a DICOM folder holds is listed where it is more than one volume, and --series chooses."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import (
    CONTOURS,
    CT,
    DOSE,
    MR,
    SEGMENTATION,
    SLIDE,
    STORAGE,
    dataset,
    enhanced,
    item,
    places,
    save,
    slices,
    voxels,
)
from pydicom.dataset import Dataset

from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume

Command = Callable[..., tuple[int, str, str]]
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(AutoMedSAMError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert message.endswith(".") and not re.search(r"[.!?]\s", message), message
    return message


def assert_choices(path: Path, arrays: list[np.ndarray], *parts: str) -> None:
    """The choices are named with `parts` in order, and each number gives its volume."""
    message = refusal(path)
    assert f"holds {len(arrays)} DICOM volumes: " in message and "--series N" in message
    assert re.search(".*".join(map(re.escape, parts)), message), message
    for number, array in enumerate(arrays, start=1):
        np.testing.assert_array_equal(read_volume(path, series=number).array, array)
    for number in (0, len(arrays) + 1):
        assert f"holds no series {number}" in refusal(path, series=number)


def test_volumes_of_a_folder_are_named_and_chosen_by_number(tmp_path: Path) -> None:
    slices(tmp_path, voxels(), SeriesInstanceUID="2.25.11", SeriesNumber=4, SeriesDescription="T1 post")
    slices(tmp_path, voxels(5, 6, 7), name="f", SeriesInstanceUID="2.25.12", SeriesNumber=3, SeriesDescription="FLAIR")
    names = ("1 is FLAIR (5 slices of 7 x 6, MR)", "2 is T1 post (6 slices of 8 x 7, MR)")
    assert_choices(tmp_path, [voxels(5, 6, 7), voxels()], *names)
    np.testing.assert_array_equal(read_volume(tmp_path / "f097.dcm").array, voxels(5, 6, 7))


@pytest.mark.parametrize("named", ["disc", "DICOMDIR", "study"])
def test_study_on_a_disc_is_named_by_its_folders(named: str, tmp_path: Path) -> None:
    slices(tmp_path / "IMAGES" / "A", voxels(), SeriesInstanceUID="2.25.11")
    slices(tmp_path / "IMAGES" / "B", voxels(5), SeriesInstanceUID="2.25.12", SeriesNumber=2)
    directory = dataset(voxels()[0], "1.2.840.10008.1.3.10", "")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(directory, keyword)
    save(directory, tmp_path / "DICOMDIR")
    path = {"disc": tmp_path, "DICOMDIR": tmp_path / "DICOMDIR", "study": tmp_path / "IMAGES"}[named]
    assert_choices(path, [voxels(), voxels(5)], "1 is head (6 slices", "A), 2 is head (5 slices", "B);")


def test_disc_with_one_volume_is_that_volume(tmp_path: Path) -> None:
    slices(tmp_path / "a" / "b", voxels())
    np.testing.assert_array_equal(read_volume(tmp_path).array, voxels())


@pytest.mark.parametrize(
    ("keyword", "values", "part"),
    [
        ("EchoTime", (4.6, 90.0), "echo time 4.6"),
        ("TemporalPositionIdentifier", (1, 2), "time 1"),
        ("DiffusionBValue", (0.0, 1000.0), "b 0"),
        ("TriggerTime", (0, 40), "trigger time 0"),
        ("AcquisitionNumber", (7, 8), "acquisition 7"),
        (None, (None, None), "1 of 2"),
    ],
)
def test_series_of_several_volumes_is_parted(
    keyword: str | None, values: tuple[object, object], part: str, tmp_path: Path
) -> None:
    for number in (0, 1):
        own = {} if keyword is None else {keyword: values[number]}
        # The second volume's files come first by name.
        name = "ba"[number]
        slices(tmp_path, voxels(seed=number), name=name, InstanceNumber=lambda k, n=number: 10 * n + k, **own)
    assert_choices(
        tmp_path, [voxels(seed=0), voxels(seed=1)], f"1 is head (6 slices of 8 x 7, MR, {part})", "2 is head"
    )
    for number, name in enumerate("ba"):
        np.testing.assert_array_equal(read_volume(tmp_path / f"{name}097.dcm").array, voxels(seed=number))


def test_many_volumes_of_one_series_are_named_by_the_first_and_the_last(tmp_path: Path) -> None:
    for number in range(12):
        slices(tmp_path, voxels(seed=number), name=f"{number}_", TemporalPositionIdentifier=number + 1)
    assert "1 to 12 are head (6 slices of 8 x 7, MR, time 1 to time 12)" in refusal(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, series=11).array, voxels(seed=10))


def test_series_that_was_broken_off_in_its_second_volume_is_refused_with_the_reason(tmp_path: Path) -> None:
    slices(tmp_path, voxels(), name="a")
    slices(tmp_path, voxels(seed=2)[:4], name="b")
    assert "are at 6 positions, 4 of them repeated with another image" in refusal(tmp_path)


def test_stacks_of_one_file_are_parted(tmp_path: Path) -> None:
    array = np.concatenate([voxels(), voxels(seed=2)])
    positions = np.concatenate([places(), places()])

    def stack(groups: Dataset, index: int) -> None:
        groups.FrameContentSequence = [item(StackID=str(1 + index // 6), InStackPositionNumber=1 + index % 6)]

    path = enhanced(tmp_path / "a.dcm", array, positions, per_frame=stack)
    assert_choices(path, [voxels(), voxels(seed=2)], "stack 1", "stack 2")
    assert_choices(tmp_path, [voxels(), voxels(seed=2)], "stack 1", "stack 2")


def test_stacks_of_other_orientations_in_one_file_are_parted(tmp_path: Path) -> None:
    array = voxels(12)
    positions = np.concatenate([places(), places(step=(0, 2.0, 0))])

    def turn(groups: Dataset, index: int) -> None:
        if index >= 6:
            groups.PlaneOrientationSequence = [item(ImageOrientationPatient=list(CORONAL))]

    path = enhanced(tmp_path / "a.dcm", array, positions, per_frame=turn)
    assert_choices(path, [array[:6], array[6:]])
    assert read_volume(path, series=2).spacing[2] == pytest.approx(2.0)


def test_each_of_several_files_of_frames_is_a_volume(tmp_path: Path) -> None:
    for number in range(3):
        enhanced(tmp_path / f"{number}.dcm", voxels(seed=number))
    assert_choices(tmp_path, [voxels(seed=number) for number in range(3)], "file 0.dcm", "file 1.dcm", "file 2.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "1.dcm").array, voxels(seed=1))


def test_volume_whose_frames_are_in_several_files_is_one(tmp_path: Path) -> None:
    array = voxels(10)
    enhanced(tmp_path / "a.dcm", array[:5], places(10)[:5])
    enhanced(tmp_path / "b.dcm", array[5:], places(10)[5:])
    for path in (tmp_path, tmp_path / "a.dcm", tmp_path / "b.dcm"):
        np.testing.assert_array_equal(read_volume(path).array, array)


@pytest.mark.parametrize("same_series", [False, True])
def test_localizer_beside_a_volume_is_left_out(same_series: bool, tmp_path: Path) -> None:
    slices(tmp_path, voxels())
    uid = "2.25.1" if same_series else "2.25.2"
    slices(tmp_path, voxels(1, 9, 9), places(1), CORONAL, name="scout", SeriesInstanceUID=uid)
    planned = {"SeriesInstanceUID": "2.25.3", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    slices(tmp_path, voxels(3, 9, 9), places(3), CORONAL, name="plan", **planned)
    for path in (tmp_path, tmp_path / "s097.dcm"):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.array, voxels())
        assert ("scout099.dcm of the series was left out" in " ".join(volume.notes)) == same_series


@pytest.mark.parametrize("oriented", [False, True])
def test_slice_without_a_position_is_never_left_out_in_silence(oriented: bool, tmp_path: Path) -> None:
    # The last one: without it the others would still make an even stack.
    places_but_one = [*places()[:5].tolist(), None]
    orientations = [[1, 0, 0, 0, 1, 0]] * 5 + [[1, 0, 0, 0, 1, 0] if oriented else None]
    slices(
        tmp_path,
        voxels(),
        ImagePositionPatient=lambda index: places_but_one[index],
        ImageOrientationPatient=lambda index: orientations[index],
    )
    assert "2 is head (1 slice of 8 x 7, MR, s094.dcm)" in refusal(tmp_path)


def test_slices_of_several_sizes_are_named_with_their_sizes(tmp_path: Path) -> None:
    slices(tmp_path, voxels())
    slices(tmp_path, voxels(1, 9, 9), places(7)[6:], name="larger")
    message = refusal(tmp_path)
    assert "6 slices of 8 x 7" in message and "1 slice of 9 x 9" in message
    np.testing.assert_array_equal(read_volume(tmp_path, series=1).array, voxels())


def no_image(path: Path, kind: str, modality: str, **attributes: object) -> Path:
    made = dataset(voxels()[0], kind, modality, **attributes)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(made, keyword)
    return save(made, path)


def beside(folder: Path) -> None:
    """What else a study holds, some of it under the series' own UID."""
    no_image(folder / "contours.dcm", CONTOURS, "RTSTRUCT")
    no_image(folder / "report.dcm", STORAGE + "88.11", "SR", SeriesInstanceUID="2.25.5")
    no_image(folder / "shown.dcm", STORAGE + "11.1", "PR", SeriesInstanceUID="2.25.6")
    save(dataset(voxels()[0], DOSE, "RTDOSE", GridFrameOffsetVector=[0.0, 5.0]), folder / "dose.dcm")
    save(dataset(voxels(), SEGMENTATION, "SEG", NumberOfFrames=6), folder / "segments.dcm")
    save(dataset(voxels()[0].astype(np.uint8), STORAGE + "7", "OT", SeriesInstanceUID="2.25.8"), folder / "screen.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "almost.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0\x16\0UI\xff\xff" + b"rubbish" * 9)
    (folder / "empty.dcm").write_bytes(b"")


def test_sound_series_is_read_whatever_else_lies_in_the_folder(tmp_path: Path) -> None:
    slices(tmp_path, voxels())
    beside(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path).array, voxels())
    np.testing.assert_array_equal(read_volume(tmp_path / "s096.dcm").array, voxels())


@pytest.mark.parametrize(
    ("kind", "modality", "name"),
    [
        (SEGMENTATION, "SEG", "is a segmentation (SEG)"),
        (DOSE, "RTDOSE", "is an RT dose"),
        (CONTOURS, "RTSTRUCT", "is an RT structure set"),
        (SLIDE, "SM", "is a whole-slide microscopy image"),
        (STORAGE + "88.33", "SR", "is a report"),
        (STORAGE + "9.1.1", "ECG", "is a recorded waveform"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(kind: str, modality: str, name: str, tmp_path: Path) -> None:
    path = save(dataset(voxels(), kind, modality, NumberOfFrames=6), tmp_path / "a.dcm")
    assert name in refusal(path)
    assert name.removeprefix("is ") in refusal(tmp_path)


def test_pet_is_refused_unless_the_model_is_for_it(tmp_path: Path) -> None:
    slices(tmp_path, voxels(), kind=STORAGE + "128", modality="PT")
    assert "PET, and the model is for FLAIR" in refusal(tmp_path, modalities=("FLAIR",))
    for modalities in (("PET",), ("pt",), ("CT", "PET"), ("any",), None):
        np.testing.assert_array_equal(read_volume(tmp_path, modalities=modalities).array, voxels())
    slices(tmp_path, voxels(seed=2), name="ct", kind=CT, modality="CT", SeriesInstanceUID="2.25.4")
    np.testing.assert_array_equal(read_volume(tmp_path, modalities=("CT",)).array, voxels(seed=2))


def test_mosaic_is_refused_by_its_name(tmp_path: Path) -> None:
    slices(tmp_path, voxels(), kind=MR, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    assert "mosaic" in refusal(tmp_path) and "dcm2niix" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [300, 0.5, 0.97])
def test_slice_that_broke_off_is_named_and_never_just_left_out(kept: float, tmp_path: Path) -> None:
    slices(tmp_path, voxels(6, 40, 40))
    # The last slice: without it the others would still make an even stack.
    path = tmp_path / "s094.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    try:
        heard = " ".join(read_volume(tmp_path).notes)
    except AutoMedSAMError as error:
        heard = str(error)
    assert "s094.dcm" in heard


def test_command_lists_and_chooses(command: Command, tmp_path: Path) -> None:
    slices(tmp_path / "in", voxels(6, 30, 30), SeriesInstanceUID="2.25.11")
    slices(tmp_path / "in", voxels(5, 32, 32), name="b", SeriesInstanceUID="2.25.12", SeriesNumber=2)
    output = tmp_path / "out.nrrd"
    code, _, error = command("segment", tmp_path / "in", "-o", output)
    assert code == 2 and "holds 2 DICOM volumes" in error and not output.exists()
    assert command("segment", tmp_path / "in", "-o", output, "--series", 2)[0] == 0
    assert read_volume(output, check_voxels=False).shape == (5, 32, 32)
    code, printed, error = command("detect", tmp_path / "in", "--series", 2)
    assert code == 0 and '"slice_count": 5' in printed
    code, _, error = command("segment", output, "-o", tmp_path / "again.nrrd", "--series", 1)
    assert code == 2 and "--series chooses" in error


def test_command_refuses_pet_for_a_model_of_mr(command: Command, tmp_path: Path) -> None:
    slices(tmp_path / "in", voxels(6, 30, 30), kind=STORAGE + "128", modality="PT")
    code, _, error = command("segment", tmp_path / "in", "-o", tmp_path / "out.nrrd")
    assert code == 2 and "PET, and the model is for FLAIR" in error


@pytest.mark.parametrize("seed", range(40))
def test_damaged_file_is_a_volume_or_one_sentence(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    path = enhanced(tmp_path / "a.dcm", voxels(), places())
    content = bytearray(path.read_bytes())
    for place in random.integers(0, len(content), random.integers(1, 30)):
        content[place] = random.integers(0, 256)
    path.write_bytes(content[: len(content) if seed % 3 else random.integers(1, len(content))])
    with contextlib.suppress(AutoMedSAMError):
        assert read_volume(path, check_voxels=False).array.ndim == 3
