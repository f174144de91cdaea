"""Between voxels of a volume and what the slice views show; the volume's parent transform is respected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from AutoMedSAMLib.geometry import ijk_to_ras, shape_of

# Cosine of the angle from which a view counts as one across an axis: nearer to it than to both others.
_ALONG = 0.7


def jump_to_box(volume: Any, bounds: Sequence[float]) -> None:
    """Makes every slice view show the middle of a box.

    Args:
        volume: the volume node.
        bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open.
    """
    # Half-open ranges count from the voxel's edge, voxel indices from its centre.
    middle = [(bounds[2 * n] + bounds[2 * n + 1]) / 2 - 0.5 for n in range(3)]
    x, y, z = to_world(volume, middle)
    node_class = slicer.vtkMRMLSliceNode
    node_class.JumpAllSlices(slicer.mrmlScene, x, y, z, node_class.OffsetJumpSlice)


def jump_to_slice(volume: Any, axis: int, slice_index: int) -> None:
    """Moves the views across `axis`, of `(K, J, I)`, to a slice; the others stay where they are."""
    node = view_across(volume, axis)
    if node is None:
        return
    # An oblique volume's slices cross the view: it moves until its middle lies on the slice.
    origin, normal = _origin(node), _normal(node)
    here = to_voxel(volume, origin)[2 - axis]
    per_mm = to_voxel(volume, origin + normal)[2 - axis] - here
    node.JumpSliceByOffsetting(*(origin + (slice_index - here) / per_mm * normal))


def current_slice(volume: Any, axis: int) -> int | None:
    """The slice of the volume that the view across `axis`, of `(K, J, I)`, shows; None without such a view."""
    node = view_across(volume, axis)
    if node is None:
        return None
    return int(np.clip(round(to_voxel(volume, _origin(node))[2 - axis]), 0, shape_of(volume)[axis] - 1))


def box_in_view(volume: Any, axis: int, share: float = 0.2) -> list[float] | None:
    """A square box in the middle of the view across `axis`, of `(K, J, I)`, on the slice that it shows.

    Args:
        volume: the volume node.
        axis: the slice axis.
        share: the box's side as a share of the shorter side of the view.

    Returns:
        `i0, i1, j0, j1, k0, k1` in voxels, half-open, within the volume; None without such a view.
    """
    node = view_across(volume, axis)
    if node is None:
        return None
    spacing = volume.GetSpacing()
    middle = to_voxel(volume, _origin(node)) + 0.5
    side = share * min(node.GetFieldOfView()[:2])
    bounds: list[float] = []
    for n, count in enumerate(reversed(shape_of(volume))):
        half = min(max(side / spacing[n], 2.0), count) / 2
        centre = float(np.clip(middle[n], half, count - half))
        bounds += [centre - half, centre + half]
    at = current_slice(volume, axis)
    bounds[2 * (2 - axis) : 2 * (2 - axis) + 2] = [float(at), float(at + 1)]
    return bounds


def view_across(volume: Any, axis: int) -> Any:
    """The slice node whose plane is most nearly the volume's across `axis`, of `(K, J, I)`; None if there is none."""
    ahead = np.zeros(3)
    ahead[2 - axis] = 1.0
    normal = to_world(volume, ahead) - to_world(volume, np.zeros(3))
    normal /= np.linalg.norm(normal)
    views = []
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        along = abs(float(_normal(node) @ normal))
        if along > _ALONG:
            # A view that the layout does not show is better than none: its slice is where the next layout begins.
            views.append((bool(node.IsMappedInLayout()), round(along, 6), node))
    return max(views, key=lambda view: view[:2])[2] if views else None


def to_world(volume: Any, voxel: Sequence[float]) -> np.ndarray:
    """The world position in mm, RAS, of a voxel `(i, j, k)`, fractions allowed."""
    local = ijk_to_ras(volume) @ [*voxel, 1.0]
    return _through(volume.GetParentTransformNode(), None, local[:3])


def to_voxel(volume: Any, world: Sequence[float]) -> np.ndarray:
    """The voxel `(i, j, k)`, with fractions, at a world position in mm, RAS."""
    local = _through(None, volume.GetParentTransformNode(), world)
    return (np.linalg.inv(ijk_to_ras(volume)) @ [*local, 1.0])[:3]


class ViewObserver:
    """Calls back when any slice view moves; `stop()` ends it."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._tags: list[tuple[Any, int]] = []

    def start(self) -> None:
        """Watches the slice views that there are now."""
        self.stop()
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._callback())
            self._tags.append((node, tag))

    def stop(self) -> None:
        """Watches no more."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags = []


def _origin(node: Any) -> np.ndarray:
    """The middle of a slice view in world mm, RAS."""
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3]


def _normal(node: Any) -> np.ndarray:
    """The direction in which a slice view moves, of length 1, RAS."""
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2]


def _through(source: Any, target: Any, point: Sequence[float]) -> np.ndarray:
    """A point in the space of one transform node, in that of another; None is the world."""
    if source is None and target is None:
        return np.asarray(point, dtype=float)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return np.asarray(transform.TransformPoint(*(float(value) for value in point)))
