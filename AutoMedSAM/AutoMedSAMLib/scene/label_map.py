"""The segments of a segmentation as one label map on a volume's grid, for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.shared_labelmap import segment_mask_on_grid

_MAX_SEGMENTS = 255


def label_map(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode,
    segment_ids: Sequence[str] | None = None,
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Labels on the volume's grid, without resampling.

    Args:
        segmentation: The segmentation.
        volume: Its grid is that of the labels.
        segment_ids: The segments wanted; all if None.

    Returns:
        Labels `(K, J, I)` from 1 in the order of the segments, and for each "value", "name", "color" and
        "terminology".

    Raises:
        AutoMedSAMError: If a segment lies on another grid, segments overlap, or there is none.
    """
    segments = segmentation.GetSegmentation()
    ids = list(segment_ids or [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())])
    if not ids or len(ids) > _MAX_SEGMENTS:
        message = _("{segmentation} has {count} segments: choose one with 1 to 255.")
        raise AutoMedSAMError(message.format(segmentation=segmentation.GetName(), count=len(ids)))
    shape, matrix = shape_of(volume), ijk_to_segmentation(volume, segmentation)
    labels = np.zeros(shape, np.uint8)
    described = []
    for value, segment_id in enumerate(ids, 1):
        segment = segments.GetSegment(segment_id)
        mask = segment_mask_on_grid(segment, shape, matrix)
        if mask is None:
            raise AutoMedSAMError(_other_grid(segmentation, volume))
        if labels[mask].any():
            message = _("Segments of {segmentation} overlap ({name}): choose one without overlaps.")
            raise AutoMedSAMError(message.format(segmentation=segmentation.GetName(), name=segment.GetName()))
        labels[mask] = value
        described.append(_described(segment, value))
    return labels, described


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
    described = []
    for value in sorted(owned, key=lambda one: (_depth(one, inside), one)):
        segment = segmentation.GetSegmentation().GetSegment(owned[value])
        mask = segment_mask_on_grid(segment, shape, matrix)
        if mask is None:
            raise AutoMedSAMError(_other_grid(segmentation, volume))
        labels[mask] = value
        described.append(_described(segment, value))
    return labels, described


def _depth(value: int, inside: Mapping[int, int]) -> int:
    return 0 if value not in inside else 1 + _depth(inside[value], inside)


def _described(segment: slicer.vtkSegment, value: int) -> dict[str, Any]:
    return {
        "value": value,
        "name": segment.GetName(),
        "color": [float(part) for part in segment.GetColor()],
        "terminology": _terminology(segment),
    }


def _other_grid(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    message = _("{segmentation} and {volume} are on different grids: resample one of them first.")
    return message.format(segmentation=segmentation.GetName(), volume=volume.GetName())


def _terminology(segment: slicer.vtkSegment) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), text) else ""
