"""The headers of DICOM files: the attributes that tell what a file holds, read without its pixels."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PREAMBLE, _MAGIC = 128, b"DICM"
# Groups with which a file begins that has no preamble (PS3.10 asks for one, older software leaves it out).
_FIRST_GROUPS, _FIRST_GROUPS_BIG = (b"\2\0", b"\x08\0"), (b"\0\2\0", b"\0\x08\0")

_KEYWORDS = """
    SpecificCharacterSet ImageType SOPClassUID Modality SeriesDescription ProtocolName SequenceName
    ContrastBolusAgent StudyInstanceUID
    SeriesInstanceUID FrameOfReferenceUID SeriesNumber AcquisitionNumber InstanceNumber TemporalPositionIdentifier
    EchoTime TriggerTime DiffusionBValue InversionTime NominalPercentageOfCardiacPhase ImagePositionPatient
    ImageOrientationPatient SpacingBetweenSlices SamplesPerPixel PhotometricInterpretation
    PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelSpacing
    ImagerPixelSpacing NominalScannedPixelSpacing RescaleSlope RescaleIntercept ModalityLUTSequence FrameTime
    FrameTimeVector CineRate RecommendedDisplayFrameRate SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence DetectorInformationSequence SliceVector
"""
# Beside the series' description, these tell one sequence from another.
_ACQUISITION = ("ProtocolName", "SequenceName", "ContrastBolusAgent")


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM does: with the mark behind the preamble, or without both.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        begin = stream.read(_PREAMBLE + len(_MAGIC))
    if begin[_PREAMBLE:] == _MAGIC:
        return True
    # Group 2 or 8, an element of the first 24, and a value representation or a short length.
    small = begin[:2] in _FIRST_GROUPS and begin[2:3] <= b"\x18" and begin[3:4] == b"\0"
    big = begin[:3] in _FIRST_GROUPS_BIG and begin[3:4] <= b"\x18"
    return (small and (begin[4:6].isupper() or begin[6:8] == b"\0\0")) or (big and begin[4:6].isupper())


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on values that break the standard off the terminal."""
    logger = logging.getLogger("pydicom")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Wraps what reads a file with pydicom, whose errors on damaged files are of many kinds.

    Raises:
        AutoMedSAMError: One sentence that names the file.
    """
    try:
        with quiet_pydicom():
            yield
    except (AutoMedSAMError, OSError, MemoryError):
        raise
    except Exception as error:
        message = f"{path} is damaged: its DICOM header cannot be read; copy or export it again."
        raise AutoMedSAMError(message) from error


def read_dataset(path: Path) -> Dataset:
    """Read the attributes that place a file's frames.

    Args:
        path: A DICOM file.

    Returns:
        The data set up to the pixels, and of it only what this package looks at.

    Raises:
        AutoMedSAMError: If the header is damaged.
        OSError: If the file cannot be read.
    """
    from pydicom import dcmread

    with parsing(path):
        return dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags(_KEYWORDS))


@cache
def tags(keywords: str) -> list[int]:
    """The tags of some attributes, whose keywords are parted by spaces."""
    return [_tag(keyword) for keyword in keywords.split()]


def value(dataset: Dataset | None, keyword: str) -> Any:
    """An attribute's value; None where it is missing, empty, or not what the standard allows."""
    tag = _tag(keyword)
    if dataset is None or tag not in dataset:
        return None
    try:
        found = dataset[tag].value
    except Exception:  # pydicom converts on first use, and raises whatever the conversion raises
        return None
    return None if found is None or found == "" else found


@cache
def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def text(dataset: Dataset | None, keyword: str) -> str:
    """An attribute as text on one line; empty where it is missing."""
    found = value(dataset, keyword)
    printable = "".join(letter if letter.isprintable() else " " for letter in str(found))
    return "" if found is None else " ".join(printable.split())


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """An attribute's only or first number; None where there is no finite one."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def numbers(dataset: Dataset | None, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """An attribute's finite numbers; None where they are missing, not finite, or not `count`."""
    found = value(dataset, keyword)
    if found is None:
        return None
    try:
        values = tuple(float(one) for one in ([found] if isinstance(found, (str, int, float)) else found))
    except (TypeError, ValueError):
        return None
    if not values or not all(map(math.isfinite, values)) or (count is not None and len(values) != count):
        return None
    return values


def item(dataset: Dataset | None, keyword: str) -> Dataset | None:
    """The first item of a sequence; None where there is none."""
    found = value(dataset, keyword)
    try:
        first: Dataset = found[0]
    except (TypeError, IndexError, KeyError):
        return None
    return first if is_dataset(first) else None


def is_dataset(thing: object) -> bool:
    """Whether something is a data set, as the items of a sequence are where its header is sound."""
    return hasattr(thing, "get_item")


@dataclass(frozen=True)
class Header:
    """What all frames of a DICOM file share.

    Attributes:
        path: The file.
        sop_class: UID of the kind of object.
        modality: Such as CT or MR.
        image_type: The parts of its image type.
        series: What the frames of one series agree in: its UID, or the folder where it has none, and the modality.
        reference: UID of the frame of reference that positions count in.
        series_number: The number that the scanner gave the series.
        description: The series' description.
        acquisition: Protocol, sequence and contrast agent by keyword, as far as they are given.
        instance: The number of the object in its series.
        rows: Height of a frame.
        columns: Width of a frame.
        frames: How many there are.
        colour: Whether a pixel has more than one component, itself or by a palette.
        inverted: Whether the lowest values are to be shown white (MONOCHROME1).
        bits: Of a stored pixel in memory, and of these in use.
        signed: Whether stored pixels may be negative.
        floating: Whether stored pixels are floats.
        table: Whether a table, not a slope, gives the values of the pixels.
    """

    path: Path
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    series: tuple[str, str]
    reference: str
    series_number: int
    description: str
    acquisition: Mapping[str, str] = field(compare=False)
    instance: int
    rows: int
    columns: int
    frames: int
    colour: bool
    inverted: bool
    bits: tuple[int, int]
    signed: bool
    floating: bool
    table: bool

    @classmethod
    def of(cls, path: Path, dataset: Dataset) -> Header:
        """Take what is needed out of a data set."""

        def whole(keyword: str, default: int) -> int:
            found = number(dataset, keyword)
            return default if found is None else int(found)

        kind = value(dataset, "ImageType")
        parts = (kind,) if isinstance(kind, str) else (kind or ())
        photometric = text(dataset, "PhotometricInterpretation")
        allocated = whole("BitsAllocated", 16)
        stored = whole("BitsStored", allocated)
        meta = getattr(dataset, "file_meta", None)
        modality = text(dataset, "Modality").upper()
        return cls(
            path=path,
            sop_class=text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"),
            modality=modality,
            image_type=tuple(str(part).strip().upper() for part in parts),
            series=(text(dataset, "SeriesInstanceUID") or str(path.parent), modality),
            reference=text(dataset, "FrameOfReferenceUID"),
            series_number=whole("SeriesNumber", 0),
            description=text(dataset, "SeriesDescription"),
            acquisition={keyword: found for keyword in _ACQUISITION if (found := text(dataset, keyword))},
            instance=whole("InstanceNumber", 0),
            rows=whole("Rows", 0),
            columns=whole("Columns", 0),
            frames=max(1, whole("NumberOfFrames", 1)),
            colour=whole("SamplesPerPixel", 1) > 1 or photometric == "PALETTE COLOR",
            inverted=photometric == "MONOCHROME1",
            bits=(allocated, stored if 0 < stored <= allocated else allocated),
            signed=whole("PixelRepresentation", 0) == 1,
            floating="BitsStored" not in dataset and allocated in (32, 64),
            table=item(dataset, "ModalityLUTSequence") is not None,
        )

    @property
    def is_mosaic(self) -> bool:
        """Whether one picture holds all slices of a volume as tiles (Siemens)."""
        return "MOSAIC" in self.image_type

    @property
    def is_localizer(self) -> bool:
        """Whether the scanner made it to plan the others."""
        return "LOCALIZER" in self.image_type
