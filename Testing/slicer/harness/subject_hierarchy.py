"""Files each data node in the subject hierarchy as it is added, which in Slicer the plugins of that module do.

The hierarchy itself is slicer-core's own. The segments of a segmentation get no items here.
"""

from typing import Any

import slicer
import vtk

# Slicer's plugins take these, and much that no test meets.
_DATA = "vtkMRMLStorableNode"


class SubjectHierarchyFiler:
    """Follows the scene, as `qSlicerSubjectHierarchyPluginLogic` does."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        for event, act in (
            (scene.NodeAddedEvent, self._added),
            (scene.NodeAboutToBeRemovedEvent, self._removed),
            (scene.EndImportEvent, self._file_all),
            (scene.EndCloseEvent, self._file_all),
        ):
            scene.AddObserver(event, act)
        self._file_all()

    def _hierarchy(self) -> Any:
        """The one of the scene; it is made where there is none."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _scene: Any, _event: str, node: Any) -> None:
        if not self._scene.IsImporting():
            self._file(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, _scene: Any, _event: str, node: Any) -> None:
        if self._scene.IsClosing() or node is None or not node.IsA(_DATA):
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _file_all(self, *_: Any) -> None:
        self._hierarchy()
        for index in range(self._scene.GetNumberOfNodesByClass(_DATA)):
            self._file(self._scene.GetNthNodeByClass(index, _DATA))

    def _file(self, node: Any) -> None:
        exclude = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyExcludeFromTreeAttributeName()
        if node is None or not node.IsA(_DATA) or node.GetHideFromEditors() or node.GetAttribute(exclude):
            return
        hierarchy = self._hierarchy()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
