"""How close a mask is to the reference, and which lesions were found at all.

The definitions follow Metrics Reloaded (Maier-Hein, Reinke et al., Nature Methods 2024). Empty masks are not
left out, so that a missed lesion costs its case: where reference and prediction are both empty the result is
perfect (Dice 1, IoU 1, NSD 1, HD95 0 mm); where just one is empty it is the worst possible (Dice 0, IoU 0, NSD 0,
HD95 the diagonal of the volume, as the BraTS challenge counts it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.core.mask_agreement import Mask, dice, surface_voxels

__all__ = ["Mask", "SurfaceScores", "dice", "iou", "surface_scores"]

_OUTLIERS = 95
_ROUNDING = 1e-6


def iou(reference: Mask, prediction: Mask) -> float:
    """Intersection over union `|A and B| / |A or B|` of two masks of one shape, 0 to 1 (Jaccard, 1912)."""
    union = np.count_nonzero(reference | prediction)
    return np.count_nonzero(reference & prediction) / union if union else 1.0


@dataclass(frozen=True)
class SurfaceScores:
    """How far two outlines are apart.

    Attributes:
        hd95_mm: the 95th percentile Hausdorff distance in mm.
        nsd: the normalised surface Dice, 0 to 1.
    """

    hd95_mm: float
    nsd: float


def surface_scores(reference: Mask, prediction: Mask, spacing: Sequence[float], tolerance_mm: float) -> SurfaceScores:
    """Compares the surfaces of two masks.

    A surface voxel has one of its six neighbours (four, where the volume is a single slice) outside the mask;
    what lies beyond the volume is outside. The distances from each surface voxel of one mask to the nearest
    surface voxel of the other have a 95th percentile in either direction, and the larger one is the HD95
    (Huttenlocher et al., IEEE TPAMI 1993), interpolated linearly between voxels' distances. The share of all surface
    voxels of both whose distance is within the tolerance is the NSD (Nikolov et al., 2018), counted in voxels as
    Metrics Reloaded does.

    Both are those of MONAI (`compute_hausdorff_distance(percentile=95)`, `compute_surface_dice` without subvoxels)
    to its float32 rounding, except that MONAI leaves empty masks undefined. DeepMind's `surface-distance`, which the
    Medical Segmentation Decathlon uses, weighs surface elements between voxels by area instead: its NSD is higher, and
    numbers of the two cannot be compared.

    Args:
        reference: `(N, H, W)`.
        prediction: `(N, H, W)`.
        spacing: distance between voxel centres along each of the three axes in mm.
        tolerance_mm: the distance that does not count, such as readers differ by.
    """
    if not (reference.any() and prediction.any()):
        extent = float(np.linalg.norm(np.multiply(reference.shape, spacing)))
        return SurfaceScores(extent, 0.0) if reference.any() or prediction.any() else SurfaceScores(0.0, 1.0)
    from scipy.spatial import KDTree

    surfaces = [surface_voxels(mask) * np.asarray(spacing, dtype=np.float64) for mask in (reference, prediction)]
    there = KDTree(surfaces[1]).query(surfaces[0])[0]
    back = KDTree(surfaces[0]).query(surfaces[1])[0]
    # A distance that equals the tolerance is within it, however the products of spacings were rounded.
    near = sum(int(np.count_nonzero(apart <= tolerance_mm + _ROUNDING)) for apart in (there, back))
    return SurfaceScores(
        hd95_mm=float(max(np.percentile(there, _OUTLIERS), np.percentile(back, _OUTLIERS))),
        nsd=near / (len(there) + len(back)),
    )
