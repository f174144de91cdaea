"""The segments of a segmentation as labels on a volume's grid, for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.shared_labelmap import segment_mask_on_grid


def model_labels(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    owned: Mapping[int, str],
    inside: Mapping[int, int],
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """The segments of a model's result in the model's own label values, as they are now.

    Args:
        segmentation: The segmentation.
        volume: Its grid is that of the labels.
        owned: The ID of the segment of each label value.
        inside: For each value that lies inside another, that one's value; inner segments are painted over outer ones.

    Returns:
        Labels `(K, J, I)`, and for each segment "value", "name", "color" and "terminology".

    Raises:
        AutoMedSAMError: If a segment lies on another grid.
    """
    shape, matrix = shape_of(volume), ijk_to_segmentation(volume, segmentation)
    labels = np.zeros(shape, np.uint8)
    segments = []
    for value in sorted(owned, key=lambda one: (_depth(one, inside), one)):
        segment = segmentation.GetSegmentation().GetSegment(owned[value])
        mask = segment_mask_on_grid(segment, shape, matrix)
        if mask is None:
            raise AutoMedSAMError(other_grid(segmentation, volume))
        labels[mask] = value
        segments.append(described(segment, value))
    return labels, segments


def _depth(value: int, inside: Mapping[int, int]) -> int:
    return 0 if value not in inside else 1 + _depth(inside[value], inside)


def described(segment: slicer.vtkSegment, value: int) -> dict[str, Any]:
    """A segment for the engine: "value", "name", "color" and "terminology"."""
    return {
        "value": value,
        "name": segment.GetName(),
        "color": [float(part) for part in segment.GetColor()],
        "terminology": _terminology(segment),
    }


def other_grid(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The sentence for a segmentation that does not lie on a volume's grid."""
    message = _("{segmentation} and {volume} are on different grids: resample one of them first.")
    return message.format(segmentation=segmentation.GetName(), volume=volume.GetName())


def _terminology(segment: slicer.vtkSegment) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), text) else ""
