"""`slicer.ScriptedLoadableModule`: the four base classes of a scripted module, as far as a module meets them."""

import os
import types
import unittest
from typing import Any

import ctk
import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """What the application knows of a module before its panel is opened."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = self.moduleName
        icon = self.resourcePath(os.path.join("Icons", f"{self.moduleName}.png"))
        if os.path.isfile(icon):
            parent.icon = qt.QIcon(icon)

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)


class ScriptedLoadableModuleWidget:
    """The panel. Its `setup` is called once; `enter` and `exit` as a person comes and goes; `cleanup` at the end."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()

    def setup(self) -> None:
        """In developer mode, the "Reload & Test" section; of its buttons there is Reload alone."""
        if self.developerMode:
            section = ctk.ctkCollapsibleButton()
            section.text = "Reload && Test"
            self.layout.addWidget(section)
            self.reloadButton = qt.QPushButton("Reload")
            self.reloadButton.connect("clicked()", self.onReload)
            qt.QVBoxLayout(section).addWidget(self.reloadButton)

    def onReload(self) -> None:
        """The button's slot, which a module may extend."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def cleanup(self) -> None:
        """A module that has something to end ends it here."""

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)


class ScriptedLoadableModuleLogic:
    """What the module does, with or without its panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's one parameter node in the scene, made if there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.AddNode(self.createParameterNode())
        # Closing the scene empties a singleton without removing it.
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self-test that "Reload & Test" runs."""

    def runTest(self) -> None:
        """Slicer calls this; a module's own test calls its steps from it."""

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        print(message)
        slicer.app.processEvents()


def as_module() -> types.ModuleType:
    """These classes as the module that `from slicer.ScriptedLoadableModule import *` reads."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    module.__all__ = __all__
    for name in __all__:
        setattr(module, name, globals()[name])
    return module
