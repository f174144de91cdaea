"""Frames of a DICOM file that are moments in time: ultrasound, angiography, endoscopy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from automedsam.core.volume import Voxels
from automedsam.io.dicom.decoding import stored_frames
from automedsam.io.dicom.frames import DicomFile, read_file
from automedsam.io.dicom.reader import is_dicom_file
from automedsam.io.dicom.values import as_seen
from automedsam.io.volume_reader import reading
from automedsam.video.frame_source import DEFAULT_RATE


def is_cine(path: Path) -> bool:
    """Whether a file is DICOM with several frames that follow each other in time.

    So they do where the file gives a frame time (PS3.3 C.7.6.5, Cine) or is of a modality that makes moving pictures,
    unless each frame has a place of its own: then they are the slices of a volume, as in an enhanced CT or a
    three-dimensional angiography.

    Raises:
        AutoMedSAMError: If a DICOM file's header cannot be read.
    """
    if not path.is_file():
        return False
    with reading(path):
        return is_dicom_file(path) and read_file(path).is_cine


@dataclass(frozen=True)
class DicomCine:
    """A multi-frame DICOM file.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def rate(self) -> Fraction:
        """From the frame time, the cine rate or the recommended display rate, whichever is there first."""
        frame_time, cine, display = self._file.rate
        if milliseconds := _positive(frame_time):
            return 1000 / milliseconds
        return _positive(cine) or _positive(display) or DEFAULT_RATE

    @property
    def count(self) -> int | None:
        """The number of frames in the header."""
        return self._file.header.frames

    def frames(self) -> Iterator[Voxels]:
        """Frames `(h, w)` or `(h, w, 3)` of the file's own type; all are in memory while they are asked for.

        Raises:
            AutoMedSAMError: If the file cannot be read.
        """
        with reading(self.path):
            stored = stored_frames(self.path)
        for frame in stored:
            yield as_seen(frame, self._file.header)

    @cached_property
    def _file(self) -> DicomFile:
        with reading(self.path):
            return read_file(self.path)


def _positive(text: str) -> Fraction | None:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None
