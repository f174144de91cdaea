"""Volumes on different grids: how that is noticed, and Slicer's own resampling of one onto another's grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.util import arrayFromVolume, vtkMatrixFromArray

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.geometry import ijk_to_ras, shape_of, to_world
from AutoMedSAMLib.scene.output_segmentation import put_beside

_GEOMETRY_TOLERANCE = 0.1


def same_grid(one: slicer.vtkMRMLScalarVolumeNode, other: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether two volumes have their voxels at the same points in the world, to a tenth of the finest spacing."""
    if shape_of(one) != shape_of(other):
        return False
    first, second = ijk_to_ras(one), ijk_to_ras(other)
    if one.GetParentTransformNode() != other.GetParentTransformNode():
        first, second = to_world(one) @ first, to_world(other) @ second
    corners = np.array([(*corner, 1) for corner in product(*((0, n) for n in reversed(shape_of(one))))]).T
    apart = np.linalg.norm((first - second) @ corners, axis=0).max()
    return bool(apart <= _GEOMETRY_TOLERANCE * min(one.GetSpacing()))


def another_grid(volume: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The sentence for a volume that has not the grid of the first one."""
    message = _("{volume} does not have the same voxel grid as {reference}; resample it first (button Resample).")
    return message.format(volume=volume.GetName(), reference=reference.GetName())


def resample_onto(
    volume: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """Resamples a volume onto another's grid, with linear interpolation, by Slicer's Volumes logic.

    Args:
        volume: stays as it is.
        reference: the volume whose grid and parent transform the new one gets.

    Returns:
        A new volume, 0 where the given one has no voxels.

    Raises:
        AutoMedSAMError: If a transform is not linear, the volumes do not overlap, or Slicer fails.
    """
    logic = slicer.modules.volumes.logic()
    between = np.linalg.inv(to_world(reference)) @ to_world(volume)
    # Slicer's function mixes up two different parent transforms: the copy is in the reference's own coordinates.
    moved = logic.CloneVolume(slicer.mrmlScene, volume, volume.GetName())
    moved.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    moved.SetIJKToRASMatrix(vtkMatrixFromArray(between @ ijk_to_ras(volume)))
    try:
        resampled = logic.ResampleVolumeToReferenceVolume(moved, reference)
    finally:
        _remove(moved)
    if resampled is None or not same_grid(resampled, reference):
        _remove(resampled)
        message = _("{volume} could not be resampled onto the grid of {reference}; choose another volume.")
        raise AutoMedSAMError(message.format(volume=volume.GetName(), reference=reference.GetName()))
    if not arrayFromVolume(resampled).any():
        _remove(resampled)
        message = _("{volume} and {reference} do not overlap: register them first, or choose another volume.")
        raise AutoMedSAMError(message.format(volume=volume.GetName(), reference=reference.GetName()))
    resampled.SetName(slicer.mrmlScene.GenerateUniqueName(_("{volume} resampled").format(volume=volume.GetName())))
    put_beside(volume, resampled)
    return resampled


def _remove(volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    if volume is not None:
        for display in [volume.GetNthDisplayNode(index) for index in range(volume.GetNumberOfDisplayNodes())]:
            slicer.mrmlScene.RemoveNode(display)
        slicer.mrmlScene.RemoveNode(volume)
