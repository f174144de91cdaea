"""Videos: mp4, AVI and multi-frame DICOM, with masks beside them where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from automedsam.core.intensity import to_uint8
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import VIDEO_SUFFIXES
from automedsam.video.dicom_cine import DicomCine, is_cine
from automedsam.video.video_file import VideoFile
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    files_below,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.images import as_gray, read_mask
from automedsam_lab.data.readers.mask_boxes import outlines

_DICOM_SUFFIXES = (".dcm", ".dicom", "")


class Videos:
    """Any folder of videos. `clip.mp4` may have a folder `clip_masks` of `000012.png`, named by the frame from 0.

    Where any video has such a folder, the frames that have a mask are taken and no others; else all frames are, and
    have no objects. The patient is the first folder below the root, or the video itself where it lies in the root.
    """

    license = "that of the videos"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self._root, self._choices = root, choices
        self.labels = choices.labels or {1: "object"}

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        masked = any(_masks_of(path) is not None for path in self._candidates())
        for path in self._candidates():
            place = relative(path, self._root)
            try:
                if path.suffix.lower() in _DICOM_SUFFIXES and not is_cine(path):
                    continue
            except AutoMedSAMError as error:
                yield SkippedEntry(place, str(error))
                continue
            if masked and _masks_of(path) is None:
                yield SkippedEntry(place, f"{path} has no folder {path.stem}_masks beside it, as others have.")
                continue
            case = safe_name(place.removesuffix(path.suffix).replace("/", "--"))
            folder = place.partition("/")[0] if "/" in place else case
            yield ArchiveEntry(case, self._choices.patient_of(case, safe_name(folder)), (place,), modality="video")

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        path = self._root / source.images[0]
        masks = _masks_of(path)
        for index, frame in enumerate(_frames(path)):
            if index % self._choices.every:
                continue
            if masks is None:
                yield AnnotatedImage(frame, None, (), index)
            elif index in masks:
                labels = read_mask(masks[index], frame.shape).astype(np.uint8)
                yield AnnotatedImage(frame, labels, outlines(labels), index)

    def _candidates(self) -> Iterator[Path]:
        known = (*VIDEO_SUFFIXES, *_DICOM_SUFFIXES)
        return (path for path in files_below(self._root) if path.suffix.lower() in known)


def _frames(path: Path) -> Iterator[np.ndarray]:
    """Frames as the engine reads them, `(h, w)` or `(h, w, 3)` uint8; those of a file are held where it is DICOM."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        found: Iterator[np.ndarray] = VideoFile(path).frames()
    else:
        stack = np.stack(list(DicomCine(path).frames()))
        # More than 8 bits are scaled over the whole file, lest each frame be shown in a brightness of its own.
        found = iter(stack if stack.dtype == np.uint8 else to_uint8(stack))
    for frame in found:
        yield np.ascontiguousarray(as_gray(frame))


def _masks_of(video: Path) -> dict[int, Path] | None:
    folder = video.with_name(f"{video.stem}_masks")
    if not folder.is_dir():
        return None
    return {int(path.stem): path for path in folder.glob("*.png") if path.stem.isdigit()}
