"""The frames of a DICOM file: where each lies, and what its values mean.

Classic objects hold one frame and say it at the top level; enhanced ones say it frame by frame or once for all
(PS3.3 C.7.6.16); nuclear medicine gives the first frame and a step (C.8.4.15); others place their first frame alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.headers import (
    Header,
    is_dataset,
    item,
    number,
    numbers,
    quiet_pydicom,
    read_dataset,
    text,
    value,
)
from automedsam.io.dicom.kinds import is_moving

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = NDArray[np.float64]

_UNIT_TOLERANCE = 1e-2
_MAX_FRAMES = 100_000
# What distinguishes the volumes of one series, in the order in which it is tried: name of the attribute, its name here.
_CLASSIC_KEYS = {
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "time",
    "EchoTime": "echo time",
    "DiffusionBValue": "b",
    "InversionTime": "inversion time",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "TriggerTime": "trigger time",
}
_FRAME_KEYS = {
    ("FrameContentSequence", "StackID"): "stack",
    ("FrameContentSequence", "FrameAcquisitionNumber"): "acquisition",
    ("FrameContentSequence", "TemporalPositionIndex"): "time",
    ("MREchoSequence", "EffectiveEchoTime"): "echo time",
    ("MRDiffusionSequence", "DiffusionBValue"): "b",
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"): "trigger time",
    ("MRImageFrameTypeSequence", "FrameType"): "type",
    ("MRImageFrameTypeSequence", "ComplexImageComponent"): "component",
    ("CTImageFrameTypeSequence", "FrameType"): "type",
}
_TIMES = ("time", "trigger time")


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a file.

    Attributes:
        header: What it shares with the others of its file.
        index: Its number in the file, from 0.
        position: Centre of its first pixel in mm, LPS; None if the file does not say.
        rows_and_columns: Unit vectors along which the index of the column, and of the row, grows; `(2, 3)`.
        spacing: Distance between columns, and between rows, in mm; None if the file does not say.
        rescale: Slope and intercept that make values of stored pixels.
        keys: What may tell volumes of the same series apart, by name.
        assumed: Whether its position was counted from that of the first frame.
    """

    header: Header
    index: int
    position: Vector | None
    rows_and_columns: Vector | None
    spacing: tuple[float, float] | None
    rescale: tuple[float, float]
    keys: dict[str, str] = field(default_factory=dict)
    assumed: bool = False

    @property
    def placed(self) -> bool:
        """Whether it is known where it lies."""
        return self.position is not None and self.rows_and_columns is not None and self.spacing is not None


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A file's header and its frames, in the order in which they are stored.

    Attributes:
        header: What the frames share.
        frames: At least one.
        is_cine: Whether the frames are moments in time.
        rate: Frames a second as text of the header: a frame time in ms, a cine rate, a display rate.
    """

    header: Header
    frames: list[Frame]
    is_cine: bool
    rate: tuple[str, str, str]


def read_file(path: Path) -> DicomFile:
    """Read where the frames of a DICOM file lie, without its pixels.

    Raises:
        AutoMedSAMError: If the header is damaged.
        OSError: If the file cannot be read.
    """
    dataset = read_dataset(path)
    with quiet_pydicom():
        header = Header.of(path, dataset)
        if header.frames > _MAX_FRAMES:
            message = f"{path} is damaged: it promises {header.frames} frames; copy or export it again."
            raise AutoMedSAMError(message)
        frames = list(_frames(dataset, header))
        rate = (text(dataset, "FrameTime"), text(dataset, "CineRate"), text(dataset, "RecommendedDisplayFrameRate"))
        timed = bool(rate[0] or value(dataset, "FrameTimeVector"))
        return DicomFile(header, frames, _is_cine(header, frames, timed=timed), rate)


def _is_cine(header: Header, frames: list[Frame], *, timed: bool) -> bool:
    """Frames that lie apart in space are slices whatever took them, and whether or not they have a time as well."""
    if len(frames) < 2:
        return False
    own = [frame.position for frame in frames if frame.position is not None and not frame.assumed]
    if len(own) == len(frames):
        if float(np.ptp(own, axis=0).max()) > 0:
            return False
        return timed or any(len({frame.keys.get(key) for frame in frames}) == len(frames) for key in _TIMES)
    return timed or is_moving(header)


def _frames(dataset: Dataset, header: Header) -> Iterator[Frame]:
    per_frame = value(dataset, "PerFrameFunctionalGroupsSequence")
    if per_frame is not None and len(per_frame) == header.frames and all(map(is_dataset, per_frame)):
        shared = item(dataset, "SharedFunctionalGroupsSequence")
        for index, own in enumerate(per_frame):
            yield _enhanced(dataset, header, index, own, shared)
    elif header.frames == 1:
        keys = {name: text(dataset, keyword) for keyword, name in _CLASSIC_KEYS.items() if text(dataset, keyword)}
        yield Frame(
            header,
            0,
            _position(dataset),
            _directions(dataset),
            _spacing(dataset),
            _rescale(dataset),
            {**keys, "type": "/".join(header.image_type)},
        )
    else:
        yield from _counted(dataset, header)


def _enhanced(dataset: Dataset, header: Header, index: int, own: Dataset, shared: Dataset | None) -> Frame:
    def macro(keyword: str) -> Dataset | None:
        return item(own, keyword) or item(shared, keyword)

    measures = macro("PixelMeasuresSequence")
    position = _position(macro("PlanePositionSequence"))
    directions = _directions(macro("PlaneOrientationSequence"))
    if position is None and (of_volume := macro("PlanePositionVolumeSequence")) is not None:
        # A frame of reference of the transducer, since that of the patient is not known.
        position = _vector(of_volume, "ImagePositionVolume")
        directions = _directions(macro("PlaneOrientationVolumeSequence"), "ImageOrientationVolume")
    keys = {
        name: text(macro(sequence), keyword)
        for (sequence, keyword), name in _FRAME_KEYS.items()
        if text(macro(sequence), keyword)
    }
    return Frame(
        header,
        index,
        position,
        directions,
        _spacing(measures) or _spacing(dataset),
        _rescale(macro("PixelValueTransformationSequence") or dataset),
        keys,
    )


def _counted(dataset: Dataset, header: Header) -> Iterator[Frame]:
    """Frames of which only the first has a position: the others follow along the normal, step by step."""
    nuclear = item(dataset, "DetectorInformationSequence")
    place = dataset if _position(nuclear) is None else nuclear
    first, directions = _position(place), _directions(place)
    step = number(dataset, "SpacingBetweenSlices")
    slices: tuple[float, ...] | None = tuple(range(1, header.frames + 1))
    if header.modality == "NM":
        slices = numbers(dataset, "SliceVector", header.frames)
        if "RECON TOMO" not in header.image_type and "RECON GATED TOMO" not in header.image_type:
            slices = None
    for index in range(header.frames):
        position = None
        # Only nuclear medicine gives the sign of the step a meaning.
        known = step is not None and (step > 0 or (header.modality == "NM" and step < 0))
        if first is not None and directions is not None and known and slices is not None and step is not None:
            position = first + (slices[index] - 1) * step * np.cross(*directions)
        yield Frame(
            header,
            index,
            position,
            directions,
            _spacing(dataset),
            _rescale(dataset),
            assumed=True,
        )


def _position(dataset: Dataset | None) -> Vector | None:
    return _vector(dataset, "ImagePositionPatient")


def _vector(dataset: Dataset | None, keyword: str) -> Vector | None:
    found = numbers(dataset, keyword, 3)
    return None if found is None else np.array(found)


def _directions(dataset: Dataset | None, keyword: str = "ImageOrientationPatient") -> Vector | None:
    """Unit vectors at a right angle, freed of what rounding left; None if they are not nearly that."""
    found = numbers(dataset, keyword, 6)
    if found is None:
        return None
    along = np.array(found).reshape(2, 3)
    lengths = np.linalg.norm(along, axis=1)
    if abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(float(along[0] @ along[1])) > _UNIT_TOLERANCE:
        return None
    rows = along[0] / lengths[0]
    columns = along[1] - (along[1] @ rows) * rows
    return np.array([rows, columns / np.linalg.norm(columns)])


def _spacing(dataset: Dataset | None) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(dataset, keyword, 2)
        if found is not None and min(found) > 0:
            return found[1], found[0]
    return None


def _rescale(dataset: Dataset | None) -> tuple[float, float]:
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    # A slope of 0 would make all values equal, and stands where a writer had none to give.
    return slope or 1.0, intercept or 0.0


def keys_of(frames: list[Frame]) -> dict[str, Any]:
    """The keys in which frames differ, each with its values in the order of their frames."""
    names = dict.fromkeys(name for frame in frames for name in frame.keys)
    found = {name: [frame.keys.get(name, "") for frame in frames] for name in names}
    found["frame of reference"] = [frame.header.reference for frame in frames]
    return {name: values for name, values in found.items() if len(set(values)) > 1}
