"""Which voxel axis the slices of an anatomical plane follow: the engine's rule, known before a run."""

from __future__ import annotations

from itertools import permutations

import numpy as np

PLANES = ("axial", "coronal", "sagittal")

# The patient axis of RAS that the slices of each plane are stacked along.
_STACKED_ALONG = {"axial": 2, "coronal": 1, "sagittal": 0}
# From this ratio of spacings on, the coarse direction is the one between the acquired slices.
_ANISOTROPIC = 1.5


def slice_axis(plane: str, ijk_to_ras: np.ndarray) -> int:
    """The axis of `(K, J, I)` that the slices of a plane follow.

    Args:
        plane: "axial", "coronal" or "sagittal".
        ijk_to_ras: `(4, 4)`, voxel indices to mm; oblique axes stand for the patient axis they are nearest to.
    """
    return 2 - _patient_axes(ijk_to_ras).index(_STACKED_ALONG[plane])


def default_plane(shape: tuple[int, int, int], ijk_to_ras: np.ndarray, preferred: str | None) -> str:
    """The plane in which the slices were acquired.

    Args:
        shape: voxels along K, J, I.
        ijk_to_ras: `(4, 4)`, voxel indices to mm.
        preferred: the model's plane, for volumes whose voxels do not tell.

    Returns:
        The plane across a single slice; else across the spacing that is at least 1.5 times each of the two others;
        else the preferred one.
    """
    single = [axis for axis, count in enumerate(shape) if count == 1]
    if len(single) == 1:
        return _plane_across(single[0], ijk_to_ras)
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]
    coarse, middle, _ = sorted(range(3), key=lambda axis: -spacing[axis])
    if spacing[coarse] >= _ANISOTROPIC * spacing[middle]:
        return _plane_across(coarse, ijk_to_ras)
    return preferred or "axial"


def _patient_axes(ijk_to_ras: np.ndarray) -> tuple[int, ...]:
    """The patient axis (0, 1, 2 of RAS) that each of I, J, K is nearest to, each taken once."""
    matrix = np.abs(ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0))
    return max(permutations(range(3)), key=lambda axes: sum(matrix[a, i] for i, a in enumerate(axes)))


def _plane_across(array_axis: int, ijk_to_ras: np.ndarray) -> str:
    return next(plane for plane in PLANES if slice_axis(plane, ijk_to_ras) == array_axis)
