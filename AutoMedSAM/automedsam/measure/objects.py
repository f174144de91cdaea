"""Measures of objects and of whole segments: volume, slices, diameters, and how certain their slices are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.volume import Plane, Triple, Volume
from automedsam.measure.diameters import (
    EQUAL,
    Diameters,
    diameters,
    largest_diameter,
    longest_possible,
    plane_basis,
)

Mask = NDArray[np.bool_]

DOUBTFUL_BELOW = 0.5
"""Slices of a lower confidence are doubtful; the same as `automedsam.pipeline.confidence.LOW_CONFIDENCE`."""


@dataclass(frozen=True)
class Measures:
    """What is known of an object or of a whole segment.

    Attributes:
        label: The label value.
        segment: The name of the segment.
        number: The number of the object in its segmentation, from 1; None for a whole segment.
        voxels: How many there are; 0 for a segment that was not found.
        volume_ml: Volume in milliliters.
        plane: The plane of the slices: "axial", "coronal" or "sagittal".
        slices: First and last slice, voxel indices from 0 along the slice axis of the volume as given; None if empty.
        slice_count: Slices that show it.
        diameter_slice: The slice of the largest diameter; None if empty.
        long_mm: Largest diameter on any slice in mm, within one connected piece; 0 if empty.
        short_mm: The largest diameter perpendicular to it on the same slice, in mm.
        long_ends: Its two ends in mm, LPS; None if empty.
        short_ends: As `long_ends`, of the perpendicular diameter.
        agreement: Mean confidence of its slices, 0 to 1; None where no run computed it.
        doubtful: Its slices of a confidence below 0.5, in order.
        dice: Dice with a reference, 0 to 1; None without a reference.
        mean: Mean intensity of its voxels; None without an image.
        deviation: Standard deviation of the intensity of its voxels; None without an image.

    Example:
        >>> Measures(1, "Lesion", 1, 8, 0.008, "axial", long_mm=3.0, short_mm=2.0).product_mm2
        6.0
    """

    label: int
    segment: str
    number: int | None
    voxels: int
    volume_ml: float
    plane: str
    slices: tuple[int, int] | None = None
    slice_count: int = 0
    diameter_slice: int | None = None
    long_mm: float = 0.0
    short_mm: float = 0.0
    long_ends: tuple[Triple, Triple] | None = None
    short_ends: tuple[Triple, Triple] | None = None
    agreement: float | None = None
    doubtful: tuple[int, ...] = field(default=())
    dice: float | None = None
    mean: float | None = None
    deviation: float | None = None

    @property
    def product_mm2(self) -> float:
        """The product of both diameters (RANO)."""
        return self.long_mm * self.short_mm

    def as_fields(self) -> dict[str, Any]:
        """As a JSON object of the worker's messages."""
        return {
            "label": self.label,
            "segment": self.segment,
            "number": self.number,
            "ml": self.volume_ml,
            "slices": None if self.slices is None else list(self.slices),
            "slice_count": self.slice_count,
            "diameter_slice": self.diameter_slice,
            "long_mm": self.long_mm,
            "short_mm": self.short_mm,
            "agreement": self.agreement,
            "doubtful": list(self.doubtful),
            "dice": self.dice,
        }


def measure_mask(  # noqa: PLR0913  what to call it is three facts
    mask: Mask,
    volume: Volume,
    plane: Plane,
    *,
    label: int,
    segment: str,
    number: int | None,
    start: tuple[int, int, int] = (0, 0, 0),
) -> Measures:
    """Measure one mask.

    Args:
        mask: `(K, J, I)` on the grid of `volume`, or a part of it.
        volume: The grid; its voxels are not looked at.
        plane: The plane in which diameters are measured and slices counted. The grid is not resampled: on an oblique
            volume these are its own slices nearest to that plane.
        label: As the attribute of `Measures`.
        segment: As the attribute of `Measures`.
        number: As the attribute of `Measures`.
        start: Where the mask begins on the grid, `(k, j, i)`.
    """
    box = _bounding_box(mask)
    empty = Measures(label, segment, number, 0, 0.0, plane.value)
    if box is None:
        return empty
    (axis, _), (row_axis, _), (column_axis, _) = volume.frame_axes(plane)
    frames = mask[box].transpose(axis, row_axis, column_axis)
    steps = volume.affine[:3, :3].T[::-1]
    basis = plane_basis(steps[row_axis], steps[column_axis])
    shown = np.flatnonzero(frames.any(axis=(1, 2)))
    largest = _largest(frames, basis)
    starts = [start[at] + box[at].start for at in (axis, row_axis, column_axis)]

    def in_patient(ends: NDArray[np.float64]) -> tuple[Triple, Triple]:
        places = np.zeros((2, 3))
        places[:, axis] = starts[0] + largest[0]
        places[:, row_axis], places[:, column_axis] = ends[:, 0] + starts[1], ends[:, 1] + starts[2]
        one, other = (volume.world((float(k), float(j), float(i))) for k, j, i in places)
        return one, other

    count = int(np.count_nonzero(frames))
    return replace(
        empty,
        voxels=count,
        volume_ml=count * volume.voxel_volume_ml,
        slices=(starts[0] + int(shown[0]), starts[0] + int(shown[-1])),
        slice_count=len(shown),
        diameter_slice=starts[0] + largest[0],
        long_mm=largest[1].long_mm,
        short_mm=largest[1].short_mm,
        long_ends=in_patient(largest[1].long_ends),
        short_ends=in_patient(largest[1].short_ends),
    )


def whole_segment(
    objects: Iterable[Measures], mask: Mask, volume: Volume, plane: Plane, label: int, name: str
) -> Measures:
    """The measures of a segment of which some objects are known: its diameters are those of its largest object."""
    parts = [one for one in objects if one.label == label and one.voxels]
    shown = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {volume.slice_axis(plane)[0]})))
    if not parts or not len(shown):
        return Measures(label, name, None, 0, 0.0, plane.value)
    largest = max(parts, key=lambda one: (one.long_mm, one.short_mm))
    judged = [one for one in parts if one.agreement is not None]
    weights = [one.slice_count for one in judged]
    shares = [one.agreement or 0.0 for one in judged]
    count = int(np.count_nonzero(mask))
    return replace(
        largest,
        number=None,
        voxels=count,
        volume_ml=count * volume.voxel_volume_ml,
        slices=(int(shown[0]), int(shown[-1])),
        slice_count=len(shown),
        agreement=float(np.average(shares, weights=weights)) if judged else None,
        doubtful=tuple(sorted({at for one in parts for at in one.doubtful})),
    )


def measure_numbered(
    objects: NDArray[np.integer[Any]],
    labels_of: Mapping[int, tuple[int, str]],
    volume: Volume,
    plane: Plane,
    confidence: Mapping[int, Mapping[int, float]] | None = None,
) -> list[Measures]:
    """Measure numbered objects.

    Args:
        objects: `(K, J, I)`, the number of the object at each voxel; 0 is none.
        labels_of: For each number the label value and the segment's name.
        volume: The grid.
        plane: See `measure_mask`.
        confidence: For each number the confidence of its slices, 0 to 1, by voxel index along the slice axis.

    Returns:
        One entry for each number, in order; an object that others cover is empty.
    """
    from scipy.ndimage import find_objects

    boxes = find_objects(objects.astype(np.int32), max(labels_of, default=0))
    found = []
    for number, (label, name) in sorted(labels_of.items()):
        box = boxes[number - 1]
        if box is None:
            one = Measures(label, name, number, 0, 0.0, plane.value)
        else:
            mask, (k, j, i) = objects[box] == number, (part.start for part in box)
            one = measure_mask(mask, volume, plane, label=label, segment=name, number=number, start=(k, j, i))
        judged = (confidence or {}).get(number)
        if judged:
            doubtful = sorted(at for at, share in judged.items() if share < DOUBTFUL_BELOW)
            one = replace(one, agreement=float(np.mean(list(judged.values()))), doubtful=tuple(doubtful))
        found.append(one)
    return found


def measure_with_segments(
    objects: NDArray[np.integer[Any]],
    labels_of: Mapping[int, tuple[int, str]],
    segments: Sequence[tuple[int, str]],
    volume: Volume,
    plane: Plane,
    confidence: Mapping[int, Mapping[int, float]] | None = None,
) -> list[Measures]:
    """Measures of whole segments, then of numbered objects; see `measure_numbered`.

    Args:
        objects: As for `measure_numbered`.
        labels_of: As for `measure_numbered`.
        segments: Label value and name of each segment.
        volume: The grid.
        plane: See `measure_mask`.
        confidence: As for `measure_numbered`.
    """
    measured = measure_numbered(objects, labels_of, volume, plane, confidence)
    wholes = []
    for value, name in segments:
        numbers = [number for number, (label, _) in labels_of.items() if label == value]
        wholes.append(whole_segment(measured, np.isin(objects, numbers), volume, plane, value, name))
    return wholes + measured


def connected_objects(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the connected pieces of a mask (26 neighbors), the largest first.

    Args:
        mask: `(K, J, I)`.

    Returns:
        `(K, J, I)` numbers from 1, 0 outside, and how many there are.
    """
    from scipy.ndimage import label

    pieces, count = label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    numbers = np.zeros(count + 1, np.int32)
    numbers[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    return numbers[pieces], int(count)


def _largest(frames: Mask, basis: NDArray[np.float64]) -> tuple[int, Diameters]:
    """The slice with the largest diameter of one connected piece (8 neighbors), and its diameters."""
    from scipy.ndimage import find_objects, label

    longest, candidates = 0.0, []
    for index, frame in enumerate(frames):
        pieces, _ = label(frame, np.ones((3, 3)))
        for number, window in enumerate(find_objects(pieces), 1):
            piece = pieces[window] == number
            if longest_possible(piece, basis) < longest * (1 - EQUAL):
                continue
            length = largest_diameter(piece, basis)
            longest = max(longest, length)
            candidates.append((length, index, piece, np.array([window[0].start, window[1].start])))
    best: tuple[int, Diameters] | None = None
    for length, index, piece, shift in candidates:
        if length < longest * (1 - EQUAL):
            continue
        found = diameters(piece, basis)
        if best is None or found.short_mm > best[1].short_mm * (1 + EQUAL):
            best = index, replace(found, long_ends=found.long_ends + shift, short_ends=found.short_ends + shift)
    assert best is not None
    return best


def _bounding_box(mask: Mask) -> tuple[slice, slice, slice] | None:
    ranges = []
    for axis in range(3):
        shown = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(shown):
            return None
        ranges.append(slice(int(shown[0]), int(shown[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]
