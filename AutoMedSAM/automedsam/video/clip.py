"""Videos: frames in time order as the slices of a volume, so that they are segmented like volumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.color import image_luminance, is_colored_picture
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.image_reader import color_note
from automedsam.io.volume_reader import VIDEO_SUFFIXES
from automedsam.video.dicom_cine import DicomCine, is_cine
from automedsam.video.frame_folder import FrameFolder, is_frame_folder
from automedsam.video.frame_source import FrameSource
from automedsam.video.video_file import VideoFile

FRAME_PLANE = Plane.AXIAL
"""The plane in which a clip's slices are its frames, each as it came."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_MAX_BYTES = 2 << 30
# Room at first for the frames of a source that does not say how many it has.
_FEW = 64

ProgressCallback = Callable[[Iterable[Voxels], int | None], Iterable[Voxels]]


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames of a video, or a part of them.

    Attributes:
        volume: Grey levels `(N, h, w)`, one slice a frame in time order, rows and columns as they are seen. Frames lie
            1 mm apart and pixels are 1 mm wide: a bundle's lengths in mm count frames (the detector's context,
            gaps that are bridged, how far an object is followed), and its slices in `FRAME_PLANE` are the frames.
        first: the number of its first frame in the source, which counts from 0.
        source: where the frames come from.
    """

    volume: Volume
    first: int
    source: FrameSource

    def __len__(self) -> int:
        return self.volume.shape[0]

    @property
    def provenance(self) -> dict[str, Any]:
        """Which frames these are, as JSON can hold it."""
        rate = self.source.rate
        return {
            "frames": [self.first, self.first + len(self) - 1],
            "frames_per_second": f"{rate.numerator}/{rate.denominator}",
        }

    def pictures(self) -> Iterator[Voxels]:
        """Its frames with their colours, read again from the source: a clip keeps only grey levels in memory."""
        return islice(self.source.frames(), self.first, self.first + len(self))


def open_frames(path: Path) -> FrameSource | None:
    """What gives the frames of a video file, a multi-frame DICOM file of moments, or a folder of PNG or JPEG.

    Returns:
        None if the path is none of them, such as a volume, a single image or nothing at all.
    """
    if path.is_dir():
        return FrameFolder(path) if is_frame_folder(path) else None
    if path.name.lower().endswith(VIDEO_SUFFIXES):
        return VideoFile(path)
    return DicomCine(path) if is_cine(path) else None


def read_clip(
    source: FrameSource,
    frames: tuple[int, int | None] | None = None,
    progress: ProgressCallback = lambda found, total: found,
) -> Clip:
    """Reads the frames of a video; colour becomes luminance, as it does for single images.

    Args:
        source: from `open_frames`.
        frames: The first and the last frame to read, both included, counted from 0; the last of all if None.
            What comes after the last is not looked at.
        progress: Passes the frames on, to show progress; it gets the number of frames, if known.

    Raises:
        AutoMedSAMError: If the source cannot be read or is damaged, has not these frames, has but one frame and
            none was asked for, has frames of different sizes or types, or more than 2 GB of grey levels.
    """
    first, last = frames or (0, None)
    ends = [number for number in (source.count, None if last is None else last + 1) if number is not None]
    end = min(ends, default=None)
    expected = None if end is None else max(0, end - first)
    array: Voxels = np.empty((0, 0, 0), np.uint8)
    frame_count = kept = 0
    notes: tuple[str, ...] = ()
    for picture in progress(source.frames(), end):
        if frame_count >= first:
            gray = image_luminance(picture)
            _check_size(source.path, gray, max(kept + 1, expected or 0))
            if not kept:
                notes = (color_note(source.path.name),) if is_colored_picture(picture) else ()
                array = np.empty((max(1, expected or _FEW), *gray.shape), gray.dtype)
            _check_alike(source.path, frame_count, array[0], gray)
            if kept == len(array):
                array = np.concatenate([array, np.empty_like(array)])
            array[kept] = gray
            kept += 1
        frame_count += 1
        if last is not None and frame_count > last:
            break
    _check_count(source.path, frame_count, first, last, requested=frames is not None)
    described = (source.description,) if isinstance(source, DicomCine) else ()
    volume = Volume(
        array[:kept], (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), _IDENTITY, source.path.stem, notes,
        described=described, is_video=True,
    )  # fmt: skip
    return Clip(volume, first, source)


def parse_frames(text: str) -> tuple[int, int | None]:
    """`FIRST:LAST` as two numbers; either may be left out.

    Raises:
        AutoMedSAMError: If it is not of that form, or the last comes before the first.
    """
    found = re.fullmatch(r"(\d*):(\d*)", text.strip(), re.ASCII)
    first, last = (int(found[1] or 0), int(found[2]) if found[2] else None) if found else (1, 0)
    if last is not None and last < first:
        message = f"The frames {text!r} are none: give the first and the last, counted from 0, such as 0:99 or 100:."
        raise AutoMedSAMError(message)
    return first, last


def _check_alike(path: Path, index: int, one: Voxels, other: Voxels) -> None:
    if other.shape != one.shape or other.dtype != one.dtype:
        kinds = [f"{gray.shape[1]} x {gray.shape[0]} pixels of {8 * gray.itemsize} bits" for gray in (other, one)]
        message = f"Frame {index} of {path} has {kinds[0]}, and those before have {kinds[1]}; bring all to one size."
        raise AutoMedSAMError(message)


def _check_size(path: Path, gray: Voxels, count: int) -> None:
    if count * gray.nbytes > _MAX_BYTES:
        most = _MAX_BYTES // gray.nbytes
        message = (
            f"{path} has more frames of {gray.shape[1]} x {gray.shape[0]} pixels than the {most} that are read at "
            "once; take it in parts with --frames FIRST:LAST."
        )
        raise AutoMedSAMError(message)


def _check_count(path: Path, frame_count: int, first: int, last: int | None, *, requested: bool) -> None:
    if frame_count == 0:
        message = f"{path} holds no frames; choose another video, or export it again."
        raise AutoMedSAMError(message)
    if frame_count <= first or (last is not None and frame_count <= last):
        message = f"{path} has the frames 0 to {frame_count - 1}, and not all of those asked for; choose among them."
        raise AutoMedSAMError(message)
    if frame_count == 1 and not requested:
        message = f"{path} holds only 1 frame, which is no video; save it as PNG and segment that."
        raise AutoMedSAMError(message)
