"""Where nodes have their voxels, and how a segmentation's own space relates to a volume's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.util import arrayFromVTKMatrix

from AutoMedSAMLib.errors import AutoMedSAMError

Matrix = NDArray[np.float64]

_RAS_LPS = np.diag([-1.0, -1.0, 1.0])
_SAME_GRID_TOLERANCE = 0.1


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
    return np.linalg.inv(_to_world(segmentation)) @ _to_world(volume) @ matrix


def check_volumes(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode | None], modalities: Sequence[str]) -> None:
    """Finds out before a run whether the volumes are what a model wants.

    Raises:
        AutoMedSAMError: If one is missing, empty, coloured or under a non-linear transform, or they do not lie on one
            grid, or one volume stands for two modalities.
    """
    for index, modality in enumerate(modalities):
        volume = volumes[index] if index < len(volumes) else None
        if volume is None:
            message = f"Choose the {modality} volume first."
            raise AutoMedSAMError(message)
        image = volume.GetImageData()
        if image is None or image.GetNumberOfPoints() == 0:
            message = f"{volume.GetName()} has no voxels; choose another {modality} volume."
            raise AutoMedSAMError(message)
        if image.GetNumberOfScalarComponents() != 1:
            message = f"{volume.GetName()} is a colour volume; turn it into grey values with Vector to Scalar Volume."
            raise AutoMedSAMError(message)
        # Boxes are straight along the voxels, and so are the slices: a gantry tilt, say, bends both.
        check_transform(volume)
    if len(volumes) > len(modalities):
        message = f"The model takes {len(modalities)} volume ({', '.join(modalities)}), not {len(volumes)}."
        raise AutoMedSAMError(message)
    first = volumes[0]
    for index, other in enumerate(volumes[1:], start=1):
        if other in volumes[:index]:
            earlier = modalities[list(volumes).index(other)]
            message = f"{other.GetName()} is chosen as {earlier} and as {modalities[index]}: choose a volume for each."
            raise AutoMedSAMError(message)
        if not _same_grid(first, other):
            message = (
                f"{other.GetName()} does not lie on the voxels of {first.GetName()}; resample it to them first, "
                "with Resample Scalar/Vector/DWI Volume."
            )
            raise AutoMedSAMError(message)


def _same_grid(one: slicer.vtkMRMLScalarVolumeNode, other: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether two volumes have their voxels at the same points in the world, to a tenth of the finest spacing."""
    if shape_of(one) != shape_of(other):
        return False
    first, second = ijk_to_ras(one), ijk_to_ras(other)
    if one.GetParentTransformNode() != other.GetParentTransformNode():
        first, second = _to_world(one) @ first, _to_world(other) @ second
    corners = np.array([(*corner, 1) for corner in product(*((0, n) for n in reversed(shape_of(one))))]).T
    apart = np.linalg.norm((first - second) @ corners, axis=0).max()
    return bool(apart <= _SAME_GRID_TOLERANCE * min(one.GetSpacing()))


def check_transform(node: slicer.vtkMRMLTransformableNode) -> None:
    """Finds out whether a node's voxels are straight in the world.

    Raises:
        AutoMedSAMError: If it is under a non-linear transform.
    """
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        message = (
            f"{node.GetName()} is under the non-linear transform {transform.GetName()}; harden it first "
            "(in Transforms), then run again."
        )
        raise AutoMedSAMError(message)


def _to_world(node: slicer.vtkMRMLTransformableNode) -> Matrix:
    check_transform(node)
    transform = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    return arrayFromVTKMatrix(matrix)
