"""Where nodes have their voxels, and how a segmentation's own space relates to a volume's."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from slicer.util import arrayFromVTKMatrix

from AutoMedSAMLib.errors import AutoMedSAMError

Matrix = NDArray[np.float64]

_RAS_LPS = np.diag([-1.0, -1.0, 1.0])


def shape_of(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int]:
    """Voxels along K, J, I."""
    i, j, k = volume.GetImageData().GetDimensions()
    return k, j, i


def grid_of(volume: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any]:
    """The grid as the engine wants it: spacing (I, J, K) in mm, origin and row-major direction in LPS.

    A parent transform is left out: the engine sees the image as it was acquired.
    """
    directions = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(directions)
    direction = _RAS_LPS @ arrayFromVTKMatrix(directions)[:3, :3]
    origin = _RAS_LPS @ np.array(volume.GetOrigin())
    # Adding 0 turns -0 into 0.
    return {
        "spacing": list(volume.GetSpacing()),
        "origin": (origin + 0.0).tolist(),
        "direction": (direction + 0.0).ravel().tolist(),
    }


def ijk_to_ras(volume: slicer.vtkMRMLScalarVolumeNode) -> Matrix:
    """The 4 x 4 matrix from voxel indices (I, J, K) to mm in the volume's own RAS, before any parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def ijk_to_segmentation(volume: slicer.vtkMRMLScalarVolumeNode, segmentation: slicer.vtkMRMLSegmentationNode) -> Matrix:
    """The 4 x 4 matrix from the volume's voxel indices to mm in the segmentation's own RAS.

    Under one and the same parent transform, of whatever kind, it is the volume's own matrix without any rounding.

    Raises:
        AutoMedSAMError: If one of them is under a non-linear transform that the other is not under.
    """
    matrix = ijk_to_ras(volume)
    if volume.GetParentTransformNode() == segmentation.GetParentTransformNode():
        return matrix
    return np.linalg.inv(to_world(segmentation)) @ to_world(volume) @ matrix


def check_transform(node: slicer.vtkMRMLTransformableNode) -> None:
    """Checks that a node's voxel axes are straight in world coordinates.

    Raises:
        AutoMedSAMError: If it is under a non-linear transform.
    """
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        message = _(
            "{node} is under the non-linear transform {transform}; harden it first (in Transforms), then run again."
        )
        raise AutoMedSAMError(message.format(node=node.GetName(), transform=transform.GetName()))


def to_world(node: slicer.vtkMRMLTransformableNode) -> Matrix:
    """The matrix from the coordinates of a node to world coordinates, in mm."""
    check_transform(node)
    transform = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    return arrayFromVTKMatrix(matrix)
