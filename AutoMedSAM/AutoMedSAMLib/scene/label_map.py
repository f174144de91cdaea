"""What the engine is told of segments whose labels it gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _


def outer_first(owned: Mapping[int, str], inside: Mapping[int, int]) -> dict[str, int]:
    """The label value of each of a model's segments, inner ones after those that they are painted over.

    Args:
        owned: The ID of the segment of each label value.
        inside: For each value that lies inside another, that one's value.
    """
    return {owned[value]: value for value in sorted(owned, key=lambda one: (_depth(one, inside), one))}


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
