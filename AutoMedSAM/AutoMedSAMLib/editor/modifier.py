"""A mask on a volume's grid, on its way into the selected segment of the Segment Editor."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.util import vtkMatrixFromArray
from vtk.util.numpy_support import vtk_to_numpy

from AutoMedSAMLib.scene.geometry import ijk_to_segmentation


def add_to_segment(effect: Any, volume: Any, mask: NDArray[np.bool_]) -> None:
    """Adds a mask to the selected segment, within the editor's masking settings; one step of the editor's undo.

    Args:
        effect: the `qSlicerSegmentEditorScriptedEffect`.
        volume: the volume node whose grid the mask has.
        mask: `(K, J, I)`.
    """
    segmentation = effect.parameterSetNode().GetSegmentationNode()
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reversed(mask.shape))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetImageToWorldMatrix(vtkMatrixFromArray(ijk_to_segmentation(volume, segmentation)))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    modifier = effect.defaultModifierLabelmap()
    # The editor's grid may be another than the volume's.
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, modifier, modifier)
    effect.saveStateForUndo()
    effect.modifySelectedSegmentByLabelmap(modifier, slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeAdd)
