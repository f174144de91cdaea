"""The module's settings, kept in its parameter node, so that a saved scene reopens as it was.

Why not Slicer's `parameterNodeWrapper`: slicer-core, against which this module is tested, does not contain it, and a
stand-in written for the tests would only test itself. It also fits badly: it wants a fixed set of parameters, and the
number of volumes here is the model's; it is bound to one node, which closing the scene replaces; and it writes all
defaults when it is made, so that opening the module would change the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote

import slicer
import vtk

from automedsam.contract.backends import Backend

MODULE_NAME = "AutoMedSAM"
_VOLUME_ROLE = "InputVolume"
_SEGMENTATION_ROLE = "OutputSegmentation"


class Parameters:
    """Typed settings over the scene's singleton `vtkMRMLScriptedModuleNode` of this module.

    The node is looked up at each access, so that it is the right one after the scene was closed or loaded.
    Setting a value to what it is already changes nothing and invokes no event.
    """

    @property
    def node(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The parameter node of the current scene, made on first use."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(MODULE_NAME, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(MODULE_NAME)
            node.SetModuleName(MODULE_NAME)
            node.SetName(MODULE_NAME)
            node = scene.AddNode(node)
        return node

    def observe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back after any setting has changed, also when a scene is closed or loaded.

        Returns:
            A function that ends it.
        """
        return _Observation(self, callback).stop

    def volume(self, index: int) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume chosen for the model's modality of this index, from 0."""
        return self.node.GetNodeReference(f"{_VOLUME_ROLE}{index}")

    def set_volume(self, index: int, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Chooses the volume for the model's modality of this index, from 0.

        Each volume has its own output: choosing another volume resets the segmentation, so that one patient's result
        is never written into another's. The first volume of a further modality does not.
        """
        role = f"{_VOLUME_ROLE}{index}"
        with slicer.util.NodeModify(self.node):
            if volume is not None and volume is not self.volume(index) and (index == 0 or self.volume(index)):
                self.segmentation = None
            self._refer(role, volume)

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The output segmentation; None makes a new one."""
        return self.node.GetNodeReference(_SEGMENTATION_ROLE)

    @segmentation.setter
    def segmentation(self, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
        self._refer(_SEGMENTATION_ROLE, segmentation)

    @property
    def model(self) -> str:
        """A built-in model's name, or a bundle's folder; empty if none was chosen yet."""
        return self._get("Model")

    @model.setter
    def model(self, name_or_folder: str) -> None:
        self._set("Model", str(name_or_folder))

    @property
    def backend(self) -> str:
        """What computes: "int8" or "fp32"."""
        return (Backend.FP32_TORCH if self._get("Backend") == Backend.FP32_TORCH else Backend.INT8).value

    @backend.setter
    def backend(self, backend: str) -> None:
        self._set("Backend", backend.lower())

    @property
    def threshold(self) -> float | None:
        """The score from which a box is accepted; None for the model's own."""
        return self._number("Threshold")

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self._set("Threshold", "" if threshold is None else repr(float(threshold)))

    @property
    def plane(self) -> str | None:
        """The slices' plane, "axial", "coronal" or "sagittal"; None for the volume's plane of acquisition."""
        plane = self._get("Plane")
        return plane if plane in ("axial", "coronal", "sagittal") else None

    @plane.setter
    def plane(self, plane: str | None) -> None:
        self._set("Plane", plane or "")

    @property
    def slices(self) -> tuple[int, int] | None:
        """First and last slice to look at, inclusive voxel indices along the slice axis; None for all."""
        first, last = self._number("FirstSlice"), self._number("LastSlice")
        return None if first is None or last is None else (int(first), int(last))

    @slices.setter
    def slices(self, slices: tuple[int, int] | None) -> None:
        first, last = ("", "") if slices is None else (str(int(slices[0])), str(int(slices[1])))
        with slicer.util.NodeModify(self.node):
            self._set("FirstSlice", first)
            self._set("LastSlice", last)

    @property
    def boxes(self) -> str:
        """The box table as text, whatever form the panel gives it (JSON); empty if there is none."""
        # Percent-encoded: quotes and angle brackets do not survive in every version's scene files.
        return unquote(self._get("Boxes"))

    @boxes.setter
    def boxes(self, text: str) -> None:
        self._set("Boxes", quote(text, safe=",:[]"))

    def _get(self, name: str) -> str:
        return self.node.GetParameter(name) or ""

    def _number(self, name: str) -> float | None:
        try:
            return float(self._get(name))
        except ValueError:
            return None

    def _set(self, name: str, value: str) -> None:
        node = self.node
        if value != (node.GetParameter(name) or ""):
            node.SetParameter(name, value)

    def _refer(self, role: str, referred: slicer.vtkMRMLNode | None) -> None:
        node, reference = self.node, None if referred is None else referred.GetID()
        if reference != node.GetNodeReferenceID(role):
            node.SetNodeReferenceID(role, reference)


class _Observation:
    """Follows the parameter node, from scene to scene."""

    def __init__(self, parameters: Parameters, callback: Callable[[], None]) -> None:
        self._parameters, self._callback = parameters, callback
        scene = slicer.mrmlScene
        self._scene_tags = [
            (scene, scene.AddObserver(event, self._follow))
            # Slicer reads a scene file within one batch (`Connect`), at whose end alone the nodes are to be looked at.
            for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent)
        ]
        self._node_tag: tuple[vtk.vtkObject, int] | None = None
        self._attach()

    def stop(self) -> None:
        self._detach()
        while self._scene_tags:
            scene, tag = self._scene_tags.pop()
            scene.RemoveObserver(tag)

    def _follow(self, _caller: vtk.vtkObject, _event: str) -> None:
        self._attach()
        self._callback()

    def _attach(self) -> None:
        self._detach()
        node = self._parameters.node
        self._node_tag = (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._callback()))

    def _detach(self) -> None:
        if self._node_tag is not None:
            node, tag = self._node_tag
            node.RemoveObserver(tag)
            self._node_tag = None
