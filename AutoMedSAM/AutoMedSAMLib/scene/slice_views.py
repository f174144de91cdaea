"""Between voxels of a volume and what the slice views show; the volume's parent transform is respected."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from AutoMedSAMLib.scene.geometry import ijk_to_ras, shape_of

# Three coordinates.
Point = Sequence[float] | NDArray[np.floating[Any]]

# Cosine of the angle from which a view counts as one across an axis: nearer to it than to both others.
_ALONG = 0.7


def jump_to_box(volume: Any, bounds: Sequence[float], axis: int = 0) -> None:
    """Shows the middle of a box in the views that belong together, and brings the box into sight where it is not.

    Views of other groups stay: another study may be compared there.

    Args:
        volume: the volume node.
        bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open.
        axis: the slice axis of `(K, J, I)`: the views of the group of the view across it move.
    """
    leading = view_across(volume, axis)
    if leading is None:
        return
    # Half-open ranges count from the voxel's edge, voxel indices from its centre.
    low, high = np.array(bounds[0::2]) - 0.5, np.array(bounds[1::2]) - 0.5
    node_class, group = slicer.vtkMRMLSliceNode, leading.GetViewGroup()
    node_class.JumpAllSlices(
        slicer.mrmlScene, *to_world(volume, (low + high) / 2), node_class.OffsetJumpSlice, group, None
    )
    corners = [to_world(volume, corner) for corner in itertools.product(*zip(low, high, strict=True))]
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetViewGroup() == group:
            _bring_into_sight(node, corners)


def jump_to_slice(volume: Any, axis: int, slice_index: int) -> None:
    """Moves the view across `axis`, of `(K, J, I)`, to a slice; the others stay where they are."""
    node = view_across(volume, axis)
    if node is None:
        return
    # An oblique volume's slices cross the view: it moves until its middle is on the slice.
    middle, normal = _middle(node), _normal(node)
    here = to_voxel(volume, middle)[2 - axis]
    per_mm = to_voxel(volume, middle + normal)[2 - axis] - here
    node.JumpSliceByOffsetting(*(middle + (slice_index - here) / per_mm * normal))


def current_slice(volume: Any, axis: int) -> int | None:
    """The slice of the volume that the view across `axis`, of `(K, J, I)`, shows; None without such a view."""
    node = view_across(volume, axis)
    if node is None:
        return None
    return int(np.clip(round(to_voxel(volume, _middle(node))[2 - axis]), 0, shape_of(volume)[axis] - 1))


def view_across(volume: Any, axis: int) -> Any:
    """The slice node whose plane is most nearly the volume's across `axis`, of `(K, J, I)`; None if there is none.

    Views of the present layout come first, and among them those that show the volume.
    """
    ahead = np.zeros(3)
    ahead[2 - axis] = 1.0
    normal = to_world(volume, ahead) - to_world(volume, np.zeros(3))
    normal /= np.linalg.norm(normal)
    showing, views = _views_that_show(volume), []
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        along = abs(float(_normal(node) @ normal))
        if along > _ALONG:
            # A view that the layout does not show is better than none: its slice is where the next layout begins.
            shown = node.GetLayoutName() in showing
            views.append((bool(node.IsMappedInLayout()), shown, round(along, 6), node))
    return max(views, key=lambda view: view[:3])[3] if views else None


def axis_across(volume: Any, view: Any) -> int:
    """The axis of `(K, J, I)` whose slices a view shows, or comes nearest to showing."""
    origin, normal = to_world(volume, np.zeros(3)), _normal(view)
    along = []
    for axis in range(3):
        ahead = np.zeros(3)
        ahead[2 - axis] = 1.0
        step = to_world(volume, ahead) - origin
        along.append(abs(float(step @ normal)) / float(np.linalg.norm(step)))
    return int(np.argmax(along))


def to_world(volume: Any, voxel: Point) -> np.ndarray:
    """The world position in mm, RAS, of a voxel `(i, j, k)`, fractions allowed."""
    local = ijk_to_ras(volume) @ [*voxel, 1.0]
    return _through(volume.GetParentTransformNode(), None, local[:3])


def to_voxel(volume: Any, world: Point) -> np.ndarray:
    """The voxel `(i, j, k)`, with fractions, at a world position in mm, RAS."""
    local = _through(None, volume.GetParentTransformNode(), world)
    return (np.linalg.inv(ijk_to_ras(volume)) @ [*local, 1.0])[:3]


class ViewObserver:
    """Calls back when any slice view moves, also one that comes with a later layout; `stop()` ends it."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._tags: dict[Any, int] = {}
        self._scene_tags: list[int] = []

    def start(self) -> None:
        """Watches the slice views that there are, and those to come."""
        self.stop()
        scene = slicer.mrmlScene
        self._scene_tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._on_added),
            scene.AddObserver(scene.NodeRemovedEvent, self._on_removed),
            # Loading a scene may add views without an event for each.
            scene.AddObserver(scene.EndBatchProcessEvent, lambda *_: self._watch_all()),
        ]
        self._watch_all()

    def stop(self) -> None:
        """Watches no more."""
        while self._scene_tags:
            slicer.mrmlScene.RemoveObserver(self._scene_tags.pop())
        while self._tags:
            node, tag = self._tags.popitem()
            node.RemoveObserver(tag)

    def _watch_all(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._watch(node)

    def _watch(self, node: Any) -> None:
        if node not in self._tags:
            self._tags[node] = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._callback())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_added(self, _scene: vtk.vtkObject, _event: str, node: Any) -> None:
        if node is not None and node.IsA("vtkMRMLSliceNode"):
            self._watch(node)
            self._callback()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removed(self, _scene: vtk.vtkObject, _event: str, node: Any) -> None:
        if node in self._tags:
            node.RemoveObserver(self._tags.pop(node))


def _views_that_show(volume: Any) -> set[str]:
    """The layout names of the slice views that show a volume, in whichever layer."""
    shown = set()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if volume.GetID() in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()):
            shown.add(composite.GetLayoutName())
    return shown


def _bring_into_sight(node: Any, corners: Sequence[np.ndarray]) -> None:
    """Pans a slice view to the middle of some points in world mm, if one of them is beyond its edge."""
    to_slice = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()))
    places = np.array([(to_slice @ [*corner, 1.0])[:2] for corner in corners])
    low, high = places.min(axis=0), places.max(axis=0)
    half = np.array(node.GetFieldOfView()[:2]) / 2
    middle = np.array(node.GetXYZOrigin()[:2])
    if (low < middle - half).any() or (high > middle + half).any():
        x, y = (low + high) / 2
        node.SetXYZOrigin(float(x), float(y), node.GetXYZOrigin()[2])


def _middle(node: Any) -> np.ndarray:
    """The middle of what a slice view shows in world mm, RAS; panning moves it."""
    x, y, _ = node.GetXYZOrigin()
    return (slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()) @ [x, y, 0.0, 1.0])[:3]


def _normal(node: Any) -> np.ndarray:
    """The direction in which a slice view moves, of length 1, RAS."""
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2]


def _through(source: Any, target: Any, point: Point) -> np.ndarray:
    """A point in the space of one transform node, in that of another; None is the world."""
    if source is None and target is None:
        return np.asarray(point, dtype=float)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return np.asarray(transform.TransformPoint(*(float(value) for value in point)))
