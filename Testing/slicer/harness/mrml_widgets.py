"""Stand-ins for the widgets of Slicer's that know the scene; this is the real scene of slicer-core."""

from collections.abc import Iterator
from typing import Any, ClassVar

import shiboken6
import slicer
from PySide6 import QtCore, QtWidgets


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that hands its scene on to those within it."""

    _scene_changed = QtCore.Signal(object)
    cpp_signals: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "_scene_changed"}
    cpp_slots = ("setMRMLScene(vtkMRMLScene*)",)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._scene_changed.emit(scene)


def _setting(name: str, kind: Any, initial: Any) -> QtCore.Property:
    """A Qt property that is only kept, and that refreshes the list of nodes."""

    def read(self: Any) -> Any:
        return self.__dict__.get(name, initial)

    def write(self: Any, value: Any) -> None:
        self.__dict__[name] = list(value) if kind == "QStringList" else value
        self._refresh()

    return QtCore.Property(kind, read, write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The list of a scene's nodes of given types, of which one or none is current.

    Like Slicer's: disabled until it has a scene; without `noneEnabled` the first node is current, with it none is,
    until one is chosen. Unlike Slicer's, a node that is not in the list cannot be made current: it is an error.
    Items to rename and edit are not shown, since they open windows.
    """

    _node_changed = QtCore.Signal(object)
    _validity_changed = QtCore.Signal(bool)
    _node_activated = QtCore.Signal(object)
    _node_added = QtCore.Signal(object)
    _node_added_by_user = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    cpp_signals: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_validity_changed",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "_node_activated",
        "nodeAdded(vtkMRMLNode*)": "_node_added",
        "nodeAddedByUser(vtkMRMLNode*)": "_node_added",
        "nodeAddedByUserAction(vtkMRMLNode*)": "_node_added_by_user",
    }
    cpp_slots = (
        "setMRMLScene(vtkMRMLScene*)",
        "setCurrentNode(vtkMRMLNode*)",
        "setCurrentNodeID(QString)",
        "setCurrentNodeIndex(int)",
        "addNode()",
        "addNode(QString)",
        "removeCurrentNode()",
    )

    nodeTypes = _setting("_node_types", "QStringList", [])
    showHidden = _setting("_show_hidden", bool, False)
    showChildNodeTypes = _setting("_show_child_node_types", bool, True)
    hideChildNodeTypes = _setting("_hide_child_node_types", "QStringList", [])
    baseName = _setting("_base_name", str, "")
    noneEnabled = _setting("_none_enabled", bool, False)
    noneDisplay = _setting("_none_display", str, "None")
    addEnabled = _setting("_add_enabled", bool, True)
    removeEnabled = _setting("_remove_enabled", bool, True)
    editEnabled = _setting("_edit_enabled", bool, False)
    renameEnabled = _setting("_rename_enabled", bool, False)
    selectNodeUponCreation = _setting("_select_node_upon_creation", bool, True)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None
        self._current_id = ""
        self._observed: list[tuple[Any, int]] = []
        self._observed_nodes: dict[Any, int] = {}
        self._attributes: list[tuple[str, str, Any]] = []
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.activated.connect(self._on_activated)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self.setEnabled(False)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._stop_observing()
        self._scene = scene
        self.setEnabled(scene is not None)
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._observed.append((scene, scene.AddObserver(event, self._on_scene_changed)))
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not (hasattr(node, "GetID") and self._offers(node)):
            message = f"{self.objectName or 'the node selector'} offers {self.nodeTypes}, not {node!r}"
            raise TypeError(message)
        self._make_current("" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str | None) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if self._scene and node_id else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    currentNodeID = QtCore.Property(str, lambda self: self._current_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def addNode(self, node_type: str | None = None) -> Any:
        """A new node, made without display nodes, as by Slicer's factory of nodes."""
        kind = node_type or self.nodeTypes[0]
        if kind not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GetUniqueNameByString(self.baseName or self._scene.GetTagByClassName(kind)))
        for _, name, value in (item for item in self._attributes if item[0] == kind):
            node.SetAttribute(name, str(value))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._offers(node)]

    def _offers(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        for kind, name, value in self._attributes:
            if node.IsA(kind) and (node.GetAttribute(name) is None or value not in (None, node.GetAttribute(name))):
                return False
        if self.showChildNodeTypes:
            return any(node.IsA(kind) for kind in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes

    def _items(self, nodes: list[Any]) -> Iterator[tuple[str, str]]:
        if self.noneEnabled:
            yield self.noneDisplay, ""
        for node in nodes:
            yield node.GetName() or "", node.GetID()
        if self.addEnabled:
            for kind in self.nodeTypes:
                yield f"Create new {self._scene.GetTagByClassName(kind)}", f"add {kind}"
        if self.removeEnabled and self.currentNode():
            yield f"Delete current {self.currentNode().GetNodeTagName()}", "remove"

    def _refresh(self) -> None:
        if self._scene is None:
            return
        nodes = self._nodes()
        self._observe_names(nodes)
        ids = [node.GetID() for node in nodes]
        if self._current_id not in ids:
            self._make_current(ids[0] if ids and not self.noneEnabled else "", refresh=False)
        blocked = self._box.blockSignals(True)
        self._box.clear()
        for text, data in self._items(nodes):
            self._box.addItem(text, data)
        self._box.setCurrentIndex(self._box.findData(self._current_id))
        self._box.blockSignals(blocked)

    def _make_current(self, node_id: str, refresh: bool = True) -> None:
        if node_id == self._current_id:
            return
        self._current_id = node_id
        if refresh:
            self._refresh()
        self._node_changed.emit(self.currentNode())
        self.currentNodeIDChanged.emit(node_id)
        self._validity_changed.emit(bool(node_id))

    @QtCore.Slot(int)
    def _on_activated(self, index: int) -> None:
        data = self._box.itemData(index)
        if data.startswith("add "):
            self._node_added_by_user.emit(self.addNode(data.removeprefix("add ")))
        elif data == "remove":
            self.removeCurrentNode()
        else:
            self._make_current(data)
            self._node_activated.emit(self.currentNode())

    def _observe_names(self, nodes: list[Any]) -> None:
        for node in [node for node in self._observed_nodes if node not in nodes]:
            node.RemoveObserver(self._observed_nodes.pop(node))
        for node in nodes:
            if node not in self._observed_nodes:
                self._observed_nodes[node] = node.AddObserver("ModifiedEvent", self._on_node_modified)

    def _on_node_modified(self, node: Any, _event: str) -> None:
        if not shiboken6.isValid(self):
            self._stop_observing()
            return
        index = self._box.findData(node.GetID())
        if index >= 0 and self._box.itemText(index) != node.GetName():
            self._box.setItemText(index, node.GetName())

    def _on_scene_changed(self, _scene: Any, _event: str) -> None:
        if shiboken6.isValid(self):
            self._refresh()
        else:
            self._stop_observing()

    def _stop_observing(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()
        self._observe_names([])


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox)


def install() -> None:
    """Puts the stand-ins where Slicer has them, in `slicer`."""
    for widget in WIDGETS:
        setattr(slicer, widget.__name__, widget)
