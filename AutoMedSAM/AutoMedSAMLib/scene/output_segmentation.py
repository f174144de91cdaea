"""The segmentation node that a run writes into, new or given, and what is written about the run on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import arrayFromVTKMatrix

from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.provenance import BOXES, PROVENANCE, encode, encode_boxes, read_boxes

_SAME_MM = 1e-3


class OutputNode:
    """A segmentation node for a run.

    A new one gets the volume's parent transform, the volume's grid as its reference geometry, and a place beside
    the volume in the subject hierarchy. A given one that is empty and has no such geometry yet gets geometry and
    place as well; all else of a given one stays as it is.

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
        self._volume = volume
        self.node = given or new_segmentation(volume, name_of_result(volume, model))
        self._before = {name: self.node.GetAttribute(name) for name in (PROVENANCE, BOXES)}
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        if not self.node.GetSegmentation().GetNumberOfSegments() and self.node.GetNodeReference(role) is None:
            self.node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            put_beside(volume, self.node)

    def describe(
        self,
        provenance: Mapping[str, Any],
        boxes: list[Message],
        tracklets: list[Message],
        crops: Message,
        *,
        again: bool = False,
    ) -> None:
        """Writes where the run's segments come from, their boxes, and the engine's crop of each object.

        Args:
            provenance: see `AutoMedSAMLib.scene.provenance.provenance_of`.
            boxes: the boxes of the run; those that belong to no object are left out.
            tracklets: the objects.
            crops: the engine's, for Propagate again.
            again: whether the run was a correction of the last one: what it lacks of that one's boxes was rejected.
        """
        members = {number for tracklet in tracklets for number in tracklet["boxes"]}
        kept = [box for box in boxes if box["id"] in members]
        rejected = []
        if again:
            last = read_boxes(self.node)
            before = {number for tracklet in last.get("tracklets", []) for number in tracklet["boxes"]}
            accepted = [box for box in last.get("boxes", []) if box["id"] in before]
            rejected = [box for box in (*accepted, *last.get("rejected", [])) if box["id"] not in members]
        self.node.SetAttribute(PROVENANCE, encode(dict(provenance)))
        self.node.SetAttribute(BOXES, encode_boxes(kept, tracklets, rejected, crops))

    def warning(self) -> str:
        """A sentence where the segmentation's grid is not the volume's, so that exports resample; empty if it is."""
        other = self._other_geometry()
        if not other:
            return ""
        message = _("{node} has the geometry of {other}: exports and the Segment Editor resample the result to it.")
        return message.format(other=other, node=self.node.GetName())

    def remove_if_new(self) -> None:
        """Removes a node that was made for the run, unless it has segments now."""
        scene = slicer.mrmlScene
        if self._is_new and scene.IsNodePresent(self.node) and not self.node.GetSegmentation().GetNumberOfSegments():
            scene.RemoveNode(self.node)

    def restore(self) -> None:
        """Restores the node's attributes from before the run."""
        for name, value in self._before.items():
            if value is None:
                self.node.RemoveAttribute(name)
            else:
                self.node.SetAttribute(name, value)
        self.remove_if_new()

    def _other_geometry(self) -> str:
        """The name of the geometry that the segmentation has instead of the volume's; empty if it has the volume's."""
        converter = slicer.vtkSegmentationConverter
        text = self.node.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
        image, role = slicer.vtkOrientedImageData(), self.node.GetReferenceImageGeometryReferenceRole()
        if not text or not converter.DeserializeImageGeometry(text, image):
            return ""
        own = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(own)
        own, wanted = arrayFromVTKMatrix(own), ijk_to_segmentation(self._volume, self.node)
        first = [own @ [*image.GetExtent()[0::2], 1.0], own @ [*image.GetExtent()[1::2], 1.0]]
        last = [count - 1 for count in reversed(shape_of(self._volume))]
        if np.allclose(own[:3, :3], wanted[:3, :3], atol=_SAME_MM) and np.allclose(
            first, [wanted @ [0, 0, 0, 1.0], wanted @ [*last, 1.0]], atol=_SAME_MM
        ):
            return ""
        reference = self.node.GetNodeReference(role)
        return reference.GetName() if reference is not None else _("another volume")


def name_of_result(volume: slicer.vtkMRMLScalarVolumeNode, model: Model) -> str:
    """What a new segmentation of this volume by this model is called."""
    return f"{volume.GetName()} {model.name}"


def new_segmentation(volume: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation with a display, under the volume's transform."""
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def put_beside(volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLNode) -> None:
    """Moves a node from the root of the subject hierarchy to the volume's folder, such as its DICOM study.

    As the Segment Editor does (vtkSlicerSegmentEditorLogic): without it, DICOM export does not find its study.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    of_volume, of_node = hierarchy.GetItemByDataNode(volume), hierarchy.GetItemByDataNode(node)
    if of_volume and of_node and hierarchy.GetItemParent(of_node) == hierarchy.GetSceneItemID():
        hierarchy.SetItemParent(of_node, hierarchy.GetItemParent(of_volume))
