"""The box of the selected row in the slice views: an outline, with handles while it is edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk

from AutoMedSAMLib.scene.geometry import ijk_to_ras, shape_of
from AutoMedSAMLib.scene.hidden_markup import add_hidden_markup, remove_with_display

_NAME = "AutoMedSAM box"  # no tr: the node is not listed anywhere
_OUTLINE = 1.0
# Faint enough to judge the voxels beneath.
_FILL = 0.08


class BoxEditor:
    """One ROI along the volume's axes, one slice thick; it is never saved with the scene.

    Args:
        on_moved: called with the new bounds `[i0, i1, j0, j1, k0, k1]` in voxels, half-open, as a handle is dragged.
        on_dropped: called when the handle is let go.
    """

    def __init__(self, on_moved: Callable[[list[float]], None], on_dropped: Callable[[], None]) -> None:
        self._on_moved, self._on_dropped = on_moved, on_dropped
        self._node: Any = None
        self._volume: Any = None
        self._axis = 0
        self._bounds: list[float] = []
        self._tags: list[int] = []
        self._own_change = False

    @property
    def node(self) -> Any:
        """The vtkMRMLMarkupsROINode; None while nothing is shown."""
        return self._node

    @property
    def is_editing(self) -> bool:
        """Whether the box has handles."""
        return self._node is not None and bool(self._node.GetDisplayNode().GetHandlesInteractive())

    def show(self, volume: Any, axis: int, bounds: Sequence[float], color: Sequence[float], editing: bool) -> None:
        """Shows a box.

        Args:
            volume: the volume node that the box belongs to.
            axis: the slice axis in `(K, J, I)`.
            bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open.
            color: red, green and blue, 0 to 1.
            editing: whether it has handles.
        """
        if self._node is None or self._node.GetScene() is None:
            self._create()
        self._volume, self._axis, self._bounds = volume, axis, [float(edge) for edge in bounds]
        self._place()
        self._node.SetLocked(not editing)
        for n in range(self._node.GetNumberOfControlPoints()):
            # The mark in the middle would hide what is looked at.
            self._node.SetNthControlPointVisibility(n, editing)
        display = self._node.GetDisplayNode()
        display.SetSelectedColor(*color)
        display.SetColor(*color)
        display.SetHandlesInteractive(editing)
        within = [n != 2 - axis for n in range(3)]
        display.SetTranslationHandleComponentVisibility(*within, True)
        display.SetScaleHandleComponentVisibility(*within, True)

    def hide(self) -> None:
        """Takes the box out of the views and the scene."""
        node, self._node, self._volume = self._node, None, None
        if node is None:
            return
        for tag in self._tags:
            node.RemoveObserver(tag)
        self._tags = []
        remove_with_display(node)

    def _create(self) -> None:
        self._node = add_hidden_markup(slicer.vtkMRMLMarkupsROINode(), _NAME)
        display = self._node.GetDisplayNode()
        display.SetFillOpacity(_FILL)
        display.SetOutlineOpacity(_OUTLINE)
        display.SetRotationHandleVisibility(False)
        display.SetTranslationHandleVisibility(True)
        display.SetScaleHandleVisibility(True)
        self._tags = [
            self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._read_back),
            self._node.AddObserver(slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._read_back),
            self._node.AddObserver(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent, self._dropped),
        ]

    def _place(self) -> None:
        """Puts the ROI at the bounds; an ROI has mm along axes of its own, with a center and a size."""
        matrix, spacing = ijk_to_ras(self._volume), self._volume.GetSpacing()
        low, high = np.array(self._bounds[0::2]), np.array(self._bounds[1::2])
        center = (matrix @ [*((low + high) / 2 - 0.5), 1.0])[:3]
        axes = np.eye(4)
        axes[:3, :3] = matrix[:3, :3] / spacing
        if np.linalg.det(axes) < 0:
            # A mirrored frame would turn the handles inside out; the box is the same either way round.
            axes[:3, 2 - self._axis] *= -1
        axes[:3, 3] = center
        self._own_change = True
        with slicer.util.NodeModify(self._node):
            self._node.SetAndObserveTransformNodeID(self._volume.GetTransformNodeID())
            self._node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(axes))
            self._node.SetCenter(*center)
            self._node.SetSize(*((high - low) * spacing))
        self._own_change = False

    def _read_back(self, *_: Any) -> None:
        if self._own_change or self._volume is None or self._volume.GetImageData() is None:
            return
        spacing = self._volume.GetSpacing()
        middle = (np.linalg.inv(ijk_to_ras(self._volume)) @ [*self._node.GetCenter(), 1.0])[:3] + 0.5
        half = np.abs(self._node.GetSize()) / spacing / 2
        bounds: list[float] = []
        for n, count in enumerate(reversed(shape_of(self._volume))):
            # At least a voxel wide and within the volume, wherever the handle was dragged.
            low = float(np.clip(middle[n] - half[n], 0, count - 1))
            high = float(np.clip(middle[n] + half[n], low + 1, count))
            bounds += [low, high]
        along = 2 * (2 - self._axis)
        bounds[along : along + 2] = self._bounds[along : along + 2]
        if not np.allclose(bounds, self._bounds, atol=1e-3):
            self._bounds = bounds
            self._on_moved(bounds)

    def _dropped(self, *_: Any) -> None:
        if self._volume is not None:
            # Along the slice axis a box does not move: back to its slice, one voxel thick.
            self._place()
            self._on_dropped()
