"""Which voxel axis the slices of an anatomical plane follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

PLANES = ("axial", "coronal", "sagittal")

# The patient axis (0: right-left, 1: anterior-posterior, 2: superior-inferior) across each plane.
_NORMAL = {"axial": 2, "coronal": 1, "sagittal": 0}
# From this ratio of spacings on, the coarse direction is the one between the acquired slices.
_ANISOTROPIC = 1.5


def patient_axes(columns: Sequence[Sequence[float]]) -> tuple[int, int, int]:
    """The patient axis that each of I, J, K is nearest to, each taken once.

    Args:
        columns: Directions of I, J, K in the patient, `(3, 3)`, one row for each; LPS or RAS, of any length. Oblique
            axes stand for the patient axis that they are nearest to.

    Returns:
        Axes 0 (right-left), 1 (anterior-posterior) or 2 (superior-inferior) for I, J, K.
    """
    lengths = [math.hypot(*column) for column in columns]
    shares = [[abs(part) / length for part in column] for column, length in zip(columns, lengths, strict=True)]
    best = max(permutations(range(3)), key=lambda axes: sum(shares[i][axis] for i, axis in enumerate(axes)))
    return best[0], best[1], best[2]


def slice_axis(plane: str, columns: Sequence[Sequence[float]]) -> int:
    """The axis of an array `(K, J, I)` that the slices of a plane follow.

    Args:
        plane: "axial", "coronal" or "sagittal".
        columns: As for `patient_axes`.
    """
    return 2 - patient_axes(columns).index(_NORMAL[plane])


def plane_across(array_axis: int, columns: Sequence[Sequence[float]]) -> str:
    """The plane whose slices follow an axis of an array `(K, J, I)`."""
    return next(plane for plane in PLANES if slice_axis(plane, columns) == array_axis)


def default_plane(
    shape: Sequence[int], spacing: Sequence[float], columns: Sequence[Sequence[float]], preferred: str | None
) -> str:
    """The plane in which the slices were acquired.

    Args:
        shape: Voxels along K, J, I.
        spacing: Distances along I, J, K in mm.
        columns: As for `patient_axes`.
        preferred: The plane for volumes whose voxels do not decide; axial if None.

    Returns:
        The plane across a single slice; else across the spacing that is at least 1.5 times each of the two others;
        else `preferred`.
    """
    single = [axis for axis, count in enumerate(shape) if count == 1]
    if len(single) == 1:
        return plane_across(single[0], columns)
    along = list(spacing)[::-1]
    coarse, middle, _ = sorted(range(3), key=lambda axis: -along[axis])
    if along[coarse] >= _ANISOTROPIC * along[middle]:
        return plane_across(coarse, columns)
    return preferred or "axial"
