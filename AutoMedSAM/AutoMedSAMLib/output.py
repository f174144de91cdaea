"""The segmentation node that a run writes into, new or given, and what is written about the run on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

from AutoMedSAMLib.models import Model
from AutoMedSAMLib.provenance import BOXES, PROVENANCE, encode
from AutoMedSAMLib.run import Message


class OutputNode:
    """A segmentation node for a run.

    A new one gets the volume's parent transform, and the volume's grid as its reference geometry. A given one that
    is empty and has no such geometry yet gets it as well; all else of a given one stays as it is.

    Args:
        given: the node to write into; None makes one.
        volume: the volume that is segmented.
        model: the model that segments it.
    """

    def __init__(
        self,
        given: slicer.vtkMRMLSegmentationNode | None,
        volume: slicer.vtkMRMLScalarVolumeNode,
        model: Model,
    ) -> None:
        self._is_new = given is None
        self.node = given or _new_node(volume, f"{volume.GetName()} {model.name}")
        self._before = {name: self.node.GetAttribute(name) for name in (PROVENANCE, BOXES)}
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        if not self.node.GetSegmentation().GetNumberOfSegments() and self.node.GetNodeReference(role) is None:
            self.node.SetReferenceImageGeometryParameterFromVolumeNode(volume)

    def describe(
        self, provenance: Mapping[str, Any], boxes: list[Message], tracklets: list[Message], views: Message
    ) -> None:
        """Writes where the run's segments come from, the boxes behind them, and what the engine saw of each object."""
        self.node.SetAttribute(PROVENANCE, encode(dict(provenance)))
        self.node.SetAttribute(BOXES, encode({"boxes": boxes, "tracklets": tracklets, "views": views}))

    def remove_if_new(self) -> None:
        """Removes a node that was made for the run, unless somebody has put something into it."""
        scene = slicer.mrmlScene
        if self._is_new and scene.IsNodePresent(self.node) and not self.node.GetSegmentation().GetNumberOfSegments():
            scene.RemoveNode(self.node)

    def restore(self) -> None:
        """Puts back what was known of the node before the run."""
        for name, value in self._before.items():
            if value is None:
                self.node.RemoveAttribute(name)
            else:
                self.node.SetAttribute(name, value)
        self.remove_if_new()


def _new_node(volume: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLSegmentationNode:
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node
