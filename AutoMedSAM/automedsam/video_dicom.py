"""Frames of a DICOM file that are moments in time: ultrasound, angiography, endoscopy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.dicom import is_dicom_file
from automedsam.frame_source import DEFAULT_RATE
from automedsam.quiet import quiet_simpleitk
from automedsam.reading import reading
from automedsam.volume import Voxels

if TYPE_CHECKING:
    import SimpleITK as sitk

_MODALITY, _CLASS = "0008|0060", "0008|0016"
_FRAME_TIME, _FRAME_TIMES = "0018|1063", "0018|1065"
_CINE_RATE, _DISPLAY_RATE = "0018|0040", "0008|2144"
# Ultrasound, intravascular ultrasound, angiography, fluoroscopy, endoscopy, photography.
_MOVING = ("US", "IVUS", "XA", "RF", "ES", "XC")
# The one class of these modalities whose frames lie in space (PS3.3 A.59).
_ULTRASOUND_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"


def is_cine(path: Path) -> bool:
    """Whether a file is DICOM with several frames that follow each other in time.

    So they do where the file gives a frame time (PS3.3 C.7.6.5, Cine) or is of a modality that makes moving pictures;
    frames of others, such as an enhanced CT, are the slices of a volume.

    Raises:
        AutoMedSAMError: If a DICOM file's header cannot be read.
    """
    if not path.is_file():
        return False
    with reading(path):
        if not is_dicom_file(path):
            return False
        header = _header(path)
        if header.GetDimension() != 3 or header.GetSize()[2] < 2 or _text(header, _CLASS) == _ULTRASOUND_VOLUME:
            return False
        timed = any(_text(header, tag) for tag in (_FRAME_TIME, _FRAME_TIMES))
        return timed or _text(header, _MODALITY) in _MOVING


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
        header = self._header
        if milliseconds := _positive(_text(header, _FRAME_TIME)):
            return 1000 / milliseconds
        return _positive(_text(header, _CINE_RATE)) or _positive(_text(header, _DISPLAY_RATE)) or DEFAULT_RATE

    @property
    def count(self) -> int | None:
        """The number of frames in the header."""
        return int(self._header.GetSize()[2])

    def frames(self) -> Iterator[Voxels]:
        """Frames `(h, w)` or `(h, w, 3)` of the file's own type; all are in memory while they are asked for.

        Raises:
            AutoMedSAMError: If the file cannot be read.
        """
        import SimpleITK as sitk

        with reading(self.path), quiet_simpleitk(output=True):
            image = sitk.ReadImage(str(self.path))
        for frame in sitk.GetArrayViewFromImage(image):
            # A view does not keep the image's memory.
            yield frame.copy()

    @cached_property
    def _header(self) -> sitk.ImageFileReader:
        with reading(self.path):
            return _header(self.path)


def _header(path: Path) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_simpleitk():
        reader.ReadImageInformation()
    return reader


def _text(header: sitk.ImageFileReader, tag: str) -> str:
    return str(header.GetMetaData(tag)).strip("\0 ") if header.HasMetaDataKey(tag) else ""


def _positive(text: str) -> Fraction | None:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None
