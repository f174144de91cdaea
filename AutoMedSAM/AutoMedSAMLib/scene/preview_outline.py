"""A mask on one slice, shown as an outline before it is anybody's segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.util import vtkMatrixFromArray
from vtk.util.numpy_support import vtk_to_numpy

from AutoMedSAMLib.scene.geometry import ijk_to_ras
from AutoMedSAMLib.scene.hidden_markup import remove_with_display
from AutoMedSAMLib.scene.shared_labelmap import BINARY_LABELMAP

_NAME = "AutoMedSAM preview"  # no tr: the node is not listed anywhere
_FILL = 0.25


class PreviewOutline:
    """Shows a mask in a segmentation node of its own, which is never saved with the scene."""

    def __init__(self) -> None:
        self._node: Any = None

    @property
    def node(self) -> Any:
        """The vtkMRMLSegmentationNode; None while nothing is shown."""
        return self._node

    def show(self, volume: Any, axis: int, at: int, mask: NDArray[np.bool_], color: Sequence[float]) -> None:
        """Shows a mask in place of what was shown.

        Args:
            volume: the volume node that it belongs to.
            axis: the slice axis of `(K, J, I)`.
            at: the slice.
            mask: `(rows, columns)`: the volume's axes without the slice axis.
            color: red, green and blue, 0 to 1.
        """
        self.hide()
        segment = slicer.vtkSegment()
        segment.SetName(_NAME)
        segment.SetColor(*color)
        segment.AddRepresentation(BINARY_LABELMAP, _image_of(volume, axis, at, mask))
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(_NAME)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetUndoEnabled(False)
        self._node = node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        display.SetOpacity2DFill(_FILL)
        display.SetOpacity2DOutline(1.0)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.GetSegmentation().AddSegment(segment)

    def hide(self) -> None:
        """Takes the mask out of the views and the scene."""
        node, self._node = self._node, None
        remove_with_display(node)


def _image_of(volume: Any, axis: int, at: int, mask: NDArray[np.bool_]) -> Any:
    """The slice as a labelmap of its own, one voxel thick."""
    image = slicer.vtkOrientedImageData()
    extent = [0, 0, 0]
    extent[axis] = at
    shape = list(mask.shape)
    shape.insert(axis, 1)
    (k, j, i), (depth, rows, columns) = extent, shape
    image.SetExtent(i, i + columns - 1, j, j + rows - 1, k, k + depth - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetImageToWorldMatrix(vtkMatrixFromArray(ijk_to_ras(volume)))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    return image
