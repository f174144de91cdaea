"""`automedsam segment` on a video: a mask for each frame, and the video with outlines, as a person relies on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import phantom_head

from automedsam.cli.console import RunProgress
from automedsam.core.events import Event, SliceSegmented
from automedsam.core.intensity import to_uint8
from automedsam.core.mask_agreement import dice
from automedsam.io.volume_reader import read_volume
from automedsam.video import video_writer
from automedsam.video.video_writer import write_video

Command = Callable[..., tuple[int, str, str]]

FIRST, LAST = 32, 44
COUNT = LAST - FIRST
RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def gray() -> np.ndarray:
    """Slices of the phantom head in which its lesions are large, as 8 bits."""
    head, _ = phantom_head()
    return to_uint8(head.to_frames(head.default_plane())[0])[FIRST:LAST]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, gray: np.ndarray) -> Path:
    """The same slices as a volume, and as every kind of video."""
    folder = tmp_path_factory.mktemp("videos")
    head, _ = phantom_head()
    part = replace(head, array=head.array[FIRST:LAST])
    sitk.WriteImage(part.to_image(part.array), str(folder / "head.nii.gz"))
    (folder / "frames").mkdir()
    for index, frame in enumerate(gray):
        sitk.WriteImage(sitk.GetImageFromArray(frame), str(folder / "frames" / f"f{index}.png"))
    image = sitk.GetImageFromArray(gray)
    image.SetMetaData("0008|0060", "US")
    sitk.WriteImage(image, str(folder / "head.dcm"))
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path, gray: np.ndarray) -> Path:
    """The slices as an mp4 file."""
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    path = folder / "Köpfchen.mp4"
    path.touch()
    write_video((np.repeat(frame[..., None], 3, -1) for frame in gray), RATE, path)
    return path


def masks_in(folder: Path, first: int = 0) -> np.ndarray:
    """The masks of a folder, after a look that it holds one for each number and nothing else."""
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"{index:06d}.png" for index in range(first, first + len(files))]
    masks = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files])
    assert masks.dtype == np.uint8 and set(np.unique(masks)) <= {0, 255}
    return masks > 0


def played(path: Path) -> tuple[np.ndarray, Fraction]:
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]), stream.average_rate


def test_masks_of_a_clip_agree_with_those_of_its_slices_as_a_volume(
    command: Command, folder: Path, clip: Path, tmp_path: Path
) -> None:
    assert command("segment", folder / "head.nii.gz", "-o", tmp_path / "head.nii.gz")[0] == 0
    code, output, error = command("segment", clip, "-o", tmp_path / "masks")
    assert code == 0, error
    volume = read_volume(tmp_path / "head.nii.gz").array > 0
    masks = masks_in(tmp_path / "masks")
    assert masks.shape == volume.shape
    assert dice(masks, volume) > 0.93
    assert min(dice(one, other) for one, other in zip(masks, volume, strict=True)) > 0.8
    reported = " ".join(output.split())
    assert f"Frames with Glioma, whole tumour {COUNT}" in reported and f"segmented of {COUNT}" in reported
    assert " ml" not in reported


def test_overlay_plays_back_with_the_clips_frames_size_and_rate(
    command: Command, clip: Path, gray: np.ndarray, tmp_path: Path
) -> None:
    code, output, error = command("segment", clip, "-o", tmp_path / "masks", "--overlay", tmp_path / "over.mp4")
    assert code == 0, error
    assert output.count("Written") == 2
    frames, rate = played(tmp_path / "over.mp4")
    assert frames.shape == (*gray.shape, 3) and rate == RATE
    masks = masks_in(tmp_path / "masks")
    colored = np.ptp(frames.astype(int), axis=-1) > 60
    for index in range(COUNT):
        assert masks[index].any()
        # Colour is where a mask is, but for the blur of the encoder, and elsewhere the frame is the clip's.
        near = sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(masks[index].astype(np.uint8)), [3, 3]))
        assert colored[index].sum() > 40
        assert (colored[index] & (near == 0)).sum() == 0
        assert np.abs(frames[index].mean(-1) - gray[index])[near == 0].mean() < 3


def test_one_file_holds_what_the_folder_holds(command: Command, folder: Path, tmp_path: Path) -> None:
    assert command("segment", folder / "frames", "-o", tmp_path / "masks")[0] == 0
    assert command("segment", folder / "frames", "-o", tmp_path / "masks.nii.gz")[0] == 0
    volume = read_volume(tmp_path / "masks.nii.gz")
    np.testing.assert_array_equal(masks_in(tmp_path / "masks"), volume.array > 0)
    assert volume.array.any((1, 2)).all() and volume.spacing == (1, 1, 1)
    # The same frames stored otherwise, without loss as well: the same masks, to the pixel.
    assert command("segment", folder / "head.dcm", "-o", tmp_path / "of_dicom")[0] == 0
    np.testing.assert_array_equal(masks_in(tmp_path / "of_dicom"), masks_in(tmp_path / "masks"))


def test_one_file_for_slicer_states_which_frames_it_holds(command: Command, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "masks.seg.nrrd"
    assert command("segment", folder / "frames", "-o", path, "--frames", "3:7")[0] == 0
    image = sitk.ReadImage(str(path))
    assert image.GetSize()[2] == 5
    reported = json.loads(image.GetMetaData("AutoMedSAM_Provenance"))
    assert reported["frames"] == [3, 7] and reported["frames_per_second"] == "25/1"


def test_masks_of_some_frames_keep_the_frames_numbers(command: Command, clip: Path, tmp_path: Path) -> None:
    asked = ("-o", tmp_path / "masks", "--overlay", tmp_path / "over.mp4", "--frames", "4:9")
    code, _, error = command("segment", clip, *asked)
    assert code == 0, error
    assert len(masks_in(tmp_path / "masks", first=4)) == len(played(tmp_path / "over.mp4")[0]) == 6


def test_a_model_that_learnt_other_planes_sees_the_frames(command: Command, folder: Path, tmp_path: Path) -> None:
    code, _, error = command("segment", folder / "frames", "-o", tmp_path / "masks", "-m", "hippocampus")
    assert code == 0, error
    files = list((tmp_path / "masks").iterdir())
    assert len(files) == COUNT
    assert {sitk.ReadImage(str(file)).GetSize() for file in files} == {(240, 240)}


def test_an_empty_folder_is_filled_and_stays_the_same_folder(command: Command, folder: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / ".DS_Store").touch()
    before = masks.stat().st_ino
    assert command("segment", folder / "frames", "-o", masks, "--frames", "3:5")[0] == 0
    (masks / ".DS_Store").unlink()
    assert len(masks_in(masks, first=3)) == 3 and masks.stat().st_ino == before


def test_nothing_found_is_a_folder_of_empty_masks_and_a_sentence(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    code, _, error = command("segment", folder / "frames", "-o", tmp_path / "masks", "--threshold", "1")
    assert code == 0
    assert "Nothing was found" in error and "empty masks" in error and error.count("\n") == 1
    masks = masks_in(tmp_path / "masks")
    assert len(masks) == COUNT and not masks.any()


def test_ctrl_c_keeps_the_finished_frames(
    command: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented: list[SliceSegmented] = []

    def stop_at_the_third(self: RunProgress, event: Event) -> None:
        if isinstance(event, SliceSegmented):
            segmented.append(event)
            if len(segmented) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(RunProgress, "show", stop_at_the_third)
    code, output, error = command("segment", clip, "-o", tmp_path / "masks", "--overlay", tmp_path / "over.mp4")
    assert code == 130
    assert "Stopped" in error and "frames that were segmented so far" in error and not output
    masks = masks_in(tmp_path / "masks")
    kept = {int(index) for index in np.flatnonzero(masks.any((1, 2)))}
    assert len(masks) == len(played(tmp_path / "over.mp4")[0]) == COUNT
    assert kept and kept <= {event.index for event in segmented}


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_neither_masks_nor_overlay(
    command: Command, clip: Path, tmp_path: Path, existing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def fail_at_the_third(image: sitk.Image, path: Path) -> None:
        written.append(path)
        path.touch()
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_writer, "write_verified", fail_at_the_third)
    if existing:
        (tmp_path / "masks").mkdir()
    code, _, error = command("segment", clip, "-o", tmp_path / "masks", "--overlay", tmp_path / "over.mp4")
    assert code == 2 and "cannot be written (No space left on device)" in error and error.count("\n") == 1
    assert len(written) == 3
    assert [path.name for path in tmp_path.rglob("*")] == (["masks"] if existing else [])
