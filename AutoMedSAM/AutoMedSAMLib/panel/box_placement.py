"""Where an added box is placed first: where the user is looking."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.panel.box_selection import BoxSelection
from AutoMedSAMLib.panel.box_tree import BoxTree
from AutoMedSAMLib.scene.geometry import shape_of
from AutoMedSAMLib.scene.slice_views import current_slice, to_voxel, view_across

# A box's side as a share of the shorter side of what the view shows of the volume.
_SHARE = 0.15
_MIN_VOXELS = 2.0


def place_of_new_box(
    volume: Any, axis: int, selection: BoxSelection, tree: BoxTree, label: int | None
) -> tuple[int, ObjectGroup | None, int | None, list[float] | tuple[float, ...] | None]:
    """Where to add a box: between the selected object's boxes if it has none there, else where the user is looking.

    Args:
        volume: the volume node.
        axis: the slice axis of `(K, J, I)`.
        selection: what is selected in the box table.
        tree: the box table's tree.
        label: the value of the box's segment; that of the selected object if None.

    Returns:
        The label (0 if there is none yet), the object that the box belongs to (None for one of its own), the slice and
        the bounds `i0, i1, j0, j1, k0, k1`, half-open voxels; None where no view of such slices is open.
    """
    group = selection.group()
    label = label or (group.label if group else 0)
    at = current_slice(volume, axis)
    at = tree.selected_slice() if at is None else at
    group = group if group and group.number and group.label == label else None
    bounds = group.bounds_at(at) if group and at is not None else None
    if bounds is not None:
        return label, group, at, bounds
    return label, None, at, box_where_one_looks(volume, axis)


def box_where_one_looks(volume: Any, axis: int) -> list[float] | None:
    """A square box on the slice that the view across `axis`, of `(K, J, I)`, shows.

    Its middle is the mouse if that is over the view, the crosshair if that is shown, or the middle of what the view
    shows of the volume at its present zoom.

    Args:
        volume: the volume node.
        axis: the slice axis.

    Returns:
        `i0, i1, j0, j1, k0, k1` in voxels, half-open, within the volume; None without such a view.
    """
    node, at = view_across(volume, axis), current_slice(volume, axis)
    if node is None or at is None:
        return None
    counts = np.array(shape_of(volume)[::-1], float)
    low, high = _visible(volume, node, counts)
    across = 2 - axis
    within = [n for n in range(3) if n != across]
    spacing = np.array(volume.GetSpacing())
    middle = (low + high) / 2
    looked_at = _pointed_at(volume)
    if looked_at is not None and all(low[n] <= looked_at[n] <= high[n] for n in within):
        middle = looked_at
    side = _SHARE * min(((high - low) * spacing)[within])
    bounds = [0.0] * 6
    for n in within:
        half = min(max(side / spacing[n], _MIN_VOXELS), counts[n]) / 2
        center = float(np.clip(middle[n], half, counts[n] - half))
        bounds[2 * n : 2 * n + 2] = [center - half, center + half]
    bounds[2 * across : 2 * across + 2] = [float(at), float(at + 1)]
    return bounds


def _visible(volume: Any, node: Any, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a view shows of the volume: lowest and highest voxel (i, j, k), counted from voxel edges.

    The whole volume where the view shows nothing of it.
    """
    to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
    width, height = node.GetFieldOfView()[:2]
    # The middle of a view that was panned.
    right, up = node.GetXYZOrigin()[:2]
    corners = [
        to_voxel(volume, (to_ras @ [right + x * width / 2, up + y * height / 2, 0.0, 1.0])[:3]) + 0.5
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    low, high = np.clip(np.min(corners, axis=0), 0, counts), np.clip(np.max(corners, axis=0), 0, counts)
    # The view is a plane: in its own direction it shows one slice, which the caller knows.
    shown = np.sum(high - low > 1) >= 2
    return (low, high) if shown else (np.zeros(3), counts)


def _pointed_at(volume: Any) -> np.ndarray | None:
    """The voxel (i, j, k), from voxel edges, under the mouse or the crosshair; None if there is neither."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None:
        return None
    ras = [0.0, 0.0, 0.0]
    if not crosshair.GetCursorPositionRAS(ras):
        if crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair:
            return None
        ras = crosshair.GetCrosshairRAS()
    return to_voxel(volume, ras) + 0.5
