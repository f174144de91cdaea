"""The Segment Editor without its widget: effects in Python over slicer-core's own editor logic.

What an effect changes goes through `vtkSlicerSegmentEditorLogic`, the real one: masks, overwriting and undo are its.
"""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import qt
import slicer
import vtk

from .layout import SliceWidget

_LOGIC = slicer.vtkSlicerSegmentEditorLogic


class qSlicerSegmentEditorAbstractEffect:
    """The constants that effects look up."""

    ModificationModeSet = _LOGIC.ModificationModeSet
    ModificationModeAdd = _LOGIC.ModificationModeAdd
    ModificationModeRemove = _LOGIC.ModificationModeRemove
    ModificationModeRemoveAll = _LOGIC.ModificationModeRemoveAll
    NotConfirmed, ConfirmedWithoutDialog, ConfirmedWithDialog = range(3)


class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    """The C++ half of an effect. It has the properties and methods here, and takes no others."""

    __slots__ = (
        "_editor",
        "_frame",
        "_python",
        "_source",
        "name",
        "perSegment",
        "requireSegments",
        "showEffectCursorInSliceView",
        "showEffectCursorInThreeDView",
        "title",
    )

    def __init__(self, parent: Any = None) -> None:
        self.name = self.title = ""
        self.perSegment = self.requireSegments = True
        self.showEffectCursorInSliceView, self.showEffectCursorInThreeDView = True, False
        self._python: Any = None
        self._source = ""
        self._editor: SegmentEditor | None = None
        self._frame = qt.QFrame()
        self._frame.setLayout(qt.QFormLayout())

    def setPythonSource(self, source: str) -> bool:
        """Makes the Python half: the class named like the file, in a module named like the file's folder.

        Raises:
            ValueError: if the file is not there, or its name does not say what class is in it.
        """
        path = Path(source)
        if path.suffix != ".py" or not path.is_file() or "\\" in source:
            message = f"{source} is no Python file, with slashes in its path"
            raise ValueError(message)
        class_name = path.stem if path.stem.endswith("Effect") else f"{path.stem}Effect"
        name = path.parent.name
        if not hasattr(sys.modules.get(name), class_name):
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        self._source = source
        self._python = getattr(sys.modules[name], class_name)(self)
        if not self.name:
            message = f"{source}: an effect has a name"
            raise ValueError(message)
        return True

    def self(self) -> Any:
        return self._python

    def parameterSetNode(self) -> Any:
        return None if self._editor is None else self._editor.node

    def confirmCurrentSegmentVisible(self) -> int:
        return self.ConfirmedWithoutDialog

    def saveStateForUndo(self) -> None:
        self._editor.logic.SaveStateForUndo()

    def defaultModifierLabelmap(self) -> Any:
        self._editor.logic.UpdateReferenceGeometryImage()
        self._editor.logic.ResetModifierLabelmapToDefault()
        return self._editor.logic.GetModifierLabelmap()

    def modifySelectedSegmentByLabelmap(self, labelmap: Any, mode: int, bypassMasking: bool = False) -> None:
        node = self._editor.node
        self._editor.logic.ModifySegmentByLabelmap(
            node.GetSegmentationNode(), node.GetSelectedSegmentID(), labelmap, mode, self.perSegment, bypassMasking
        )

    def optionsFrame(self) -> Any:
        return self._frame

    def addOptionsWidget(self, widget: Any) -> None:
        self._frame.layout().addRow(widget)

    def addLabeledOptionsWidget(self, label: str, widget: Any) -> None:
        self._frame.layout().addRow(label, widget)


class qSlicerSegmentEditorEffectFactory:
    """Where effects are registered, by name."""

    registered: ClassVar[dict[str, qSlicerSegmentEditorScriptedEffect]] = {}

    @staticmethod
    def instance() -> "qSlicerSegmentEditorEffectFactory":
        return qSlicerSegmentEditorEffectFactory()

    def registerEffect(self, effect: qSlicerSegmentEditorScriptedEffect) -> bool:
        if effect.name in self.registered:
            return False
        self.registered[effect.name] = effect
        return True


class AbstractScriptedSegmentEditorEffect:
    """The base class of effects in Python."""

    def __init__(self, scriptedEffect: qSlicerSegmentEditorScriptedEffect) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        qSlicerSegmentEditorEffectFactory().instance().registerEffect(self.scriptedEffect)


class SegmentEditor:
    """The editor with one effect active, on one segment.

    Args:
        effect_name: the effect; a clone of the registered one is used, as Slicer does.
        segmentation: the node to edit.
        volume: the source volume.
        segment_id: the segment.

    Attributes:
        node: the vtkMRMLSegmentEditorNode.
        logic: the vtkSlicerSegmentEditorLogic.
        effect: the active effect's C++ half; `.self()` is its Python half.
    """

    _EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent")

    def __init__(self, effect_name: str, segmentation: Any, volume: Any, segment_id: str) -> None:
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.node.SetAndObserveSegmentationNode(segmentation)
        self.node.SetAndObserveSourceVolumeNode(volume)
        self.node.SetSelectedSegmentID(segment_id)
        self.logic = _LOGIC()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentationHistory(slicer.vtkSegmentationHistory())
        self.logic.SetSegmentEditorNode(self.node)
        self.effect = qSlicerSegmentEditorEffectFactory.registered[effect_name].self().clone()
        self.effect._editor = self
        python = self.effect.self()
        python.setMRMLDefaults()
        python.setupOptionsFrame()
        python.activate()
        self._tags: list[tuple[Any, int]] = []
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            self._watch(layout.sliceWidget(name))

    def select(self, segment_id: str) -> None:
        """A person selects another segment."""
        self.node.SetSelectedSegmentID(segment_id)
        self.effect.self().updateGUIFromMRML()

    def close(self) -> None:
        """The editor is left, and cleaned up."""
        while self._tags:
            interactor, tag = self._tags.pop()
            interactor.RemoveObserver(tag)
        self.effect.self().deactivate()
        if hasattr(self.effect.self(), "cleanup"):
            self.effect.self().cleanup()
        slicer.mrmlScene.RemoveNode(self.node)

    def _watch(self, widget: SliceWidget) -> None:
        interactor = widget.sliceView().interactor()

        def observe(_caller: Any, event: str) -> None:
            number = vtk.vtkCommand.GetEventIdFromString(event)
            taken = self.effect.self().processInteractionEvents(interactor, number, widget)
            if not isinstance(taken, bool):
                message = f"processInteractionEvents returns a bool, not {taken!r}"
                raise TypeError(message)
            if taken:
                for _, tag in self._tags:
                    command = interactor.GetCommand(tag)
                    if command is not None:
                        command.SetAbortFlag(1)

        for event in self._EVENTS:
            self._tags.append((interactor, interactor.AddObserver(event, observe, 1.0)))


def install() -> None:
    """Makes the modules importable, and the constants available, as in Slicer."""
    effects = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    effects.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect
    effects.qSlicerSegmentEditorEffectFactory = qSlicerSegmentEditorEffectFactory
    sys.modules[effects.__name__] = effects
    base = types.ModuleType("SegmentEditorEffects")
    base.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
    sys.modules[base.__name__] = base
    slicer.qSlicerSegmentEditorAbstractEffect = qSlicerSegmentEditorAbstractEffect
