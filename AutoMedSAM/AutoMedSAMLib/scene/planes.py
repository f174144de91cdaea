"""Which voxel axis the slices of an anatomical plane follow: the engine's rule, for matrices of nodes."""

from __future__ import annotations

import numpy as np
from slicer.i18n import tr as _

from automedsam.contract import planes
from automedsam.contract.planes import PLANES

__all__ = ["PLANES", "default_plane", "display_name", "slice_axis"]


def display_name(plane: str) -> str:
    """The plane's name in the user's language."""
    return {"axial": _("axial"), "coronal": _("coronal"), "sagittal": _("sagittal")}[plane]


def slice_axis(plane: str, ijk_to_ras: np.ndarray) -> int:
    """The axis of `(K, J, I)` that the slices of a plane follow.

    Args:
        plane: "axial", "coronal" or "sagittal".
        ijk_to_ras: `(4, 4)`, voxel indices to mm; oblique axes stand for the patient axis they are nearest to.
    """
    return planes.slice_axis(plane, _columns(ijk_to_ras))


def default_plane(shape: tuple[int, int, int], ijk_to_ras: np.ndarray, preferred: str | None) -> str:
    """The plane in which the slices were acquired; see `automedsam.contract.planes.default_plane`.

    Args:
        shape: Voxels along K, J, I.
        ijk_to_ras: `(4, 4)`, voxel indices to mm.
        preferred: The model's plane, for volumes whose voxels do not decide.
    """
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0).tolist()
    return planes.default_plane(shape, spacing, _columns(ijk_to_ras), preferred)


def _columns(ijk_to_ras: np.ndarray) -> list[list[float]]:
    return ijk_to_ras[:3, :3].T.tolist()
