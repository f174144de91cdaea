"""How far two masks of one grid agree: overlap, and the distance between their surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automedsam.core.memory import check_room_for_scipy

Mask = NDArray[np.bool_]

_PERCENTILE = 95


@dataclass(frozen=True)
class SurfaceDistance:
    """The distance between two surfaces.

    Attributes:
        hd95_mm: The 95th percentile Hausdorff distance in mm: the larger one of the two directions.
        mean_mm: The mean over both directions' distances in mm (average symmetric surface distance).
    """

    hd95_mm: float
    mean_mm: float


def dice(one: Mask, other: Mask) -> float:
    """Dice coefficient `2 |A and B| / (|A| + |B|)`, 0 to 1; 1 where both masks are empty (Dice, Ecology 1945)."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def surface_distance(one: Mask, other: Mask, axes: NDArray[np.float64]) -> SurfaceDistance | None:
    """The distance between the surfaces of two masks (Huttenlocher et al., IEEE TPAMI 1993; Heimann et al., 2009).

    A surface voxel has one of its six neighbors (four, where the volume is a single slice) outside the mask; what lies
    beyond the volume is outside. Distances are measured between voxel centers.

    Args:
        one: `(K, J, I)`.
        other: `(K, J, I)`.
        axes: `(3, 3)`, whose columns are the steps in mm from voxel to voxel along I, J and K.

    Returns:
        None where a mask is empty: it has no surface.
    """
    if not (one.any() and other.any()):
        return None
    check_room_for_scipy()
    from scipy.spatial import KDTree

    surfaces = [surface_voxels(mask)[:, ::-1] @ axes.T for mask in (one, other)]
    there = KDTree(surfaces[1]).query(surfaces[0])[0]
    back = KDTree(surfaces[0]).query(surfaces[1])[0]
    return SurfaceDistance(
        hd95_mm=float(max(np.percentile(there, _PERCENTILE), np.percentile(back, _PERCENTILE))),
        mean_mm=float(np.concatenate([there, back]).mean()),
    )


def surface_voxels(mask: Mask) -> NDArray[np.int_]:
    """Indices `(n, 3)` along the array's axes of the voxels with a neighbor outside; the mask is not empty."""
    from scipy.ndimage import binary_erosion

    where = np.argwhere(mask)
    low, high = where.min(0), where.max(0) + 1
    cropped = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    # Across a single slice there are no neighbors.
    flat = tuple(axis for axis, count in enumerate(mask.shape) if count == 1)
    inner = np.expand_dims(binary_erosion(cropped.squeeze(flat)), flat)
    surface: NDArray[np.int_] = np.argwhere(cropped & ~inner) + low
    return surface
