"""Loads a scripted module from its file and opens its panel, in the order in which Slicer does."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import qt
import shiboken6
import slicer

# By name, those of this process.
LOADED: dict[str, "Module"] = {}

# Slicer's own modules that a panel may send the user to, and those that were chosen, the last one last.
_OF_SLICER = ("SegmentEditor", "Segmentations", "Data", "DICOM", "ExtensionManager", "Tables")
SELECTED: list[str] = []
# The panel that is entered, if there is one.
_entered: list["Panel"] = []


def select_module(module: Any) -> None:
    """`slicer.util.selectModule`: the panel that is open is left for another of Slicer's modules.

    Raises:
        RuntimeError: if Slicer has no such module.
    """
    name = module if isinstance(module, str) else module.name
    if name not in _OF_SLICER:
        message = f"Slicer has no module {name}"
        raise RuntimeError(message)
    SELECTED.append(name)
    for panel in list(_entered):
        panel.exit()


class ModuleDescription:
    """What Slicer knows of a module, and gives its constructor as `parent`. It takes no attributes but these."""

    __slots__ = (
        "_representation",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self.title = self.helpText = self.acknowledgementText = ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self.icon: Any = None
        self.hidden = False
        self.index = -1
        self.widgetRepresentationCreationEnabled = True
        self._representation: Any = None

    def widgetRepresentation(self) -> Any:
        """The Qt widget that holds the panel that was opened last."""
        return self._representation

    def logic(self) -> None:
        """None: the logic of a scripted module is Python's alone."""


class Module:
    """A loaded module.

    Attributes:
        python: the imported file.
        description: what it told Slicer of itself.
        instance: its `ScriptedLoadableModule`.
    """

    def __init__(self, path: Path) -> None:
        folder = str(path.parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        self.python = _import_file(path)
        self.description = ModuleDescription(path)
        setattr(slicer.modules, path.stem.lower(), self.description)
        setattr(slicer.moduleNames, path.stem, path.stem)
        self.instance = getattr(self.python, path.stem)(self.description)
        setattr(slicer.modules, f"{path.stem}Instance", self.instance)
        LOADED[path.stem] = self

    def open_panel(self) -> "Panel":
        return Panel(self)

    def new_logic(self) -> Any:
        return getattr(self.python, f"{self.description.name}Logic")()


class qSlicerScriptedLoadableModuleWidget(slicer.qMRMLWidget):
    """The Qt widget that holds a panel, and makes it from the module's Python class."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._python = name, None
        self.objectName = f"{name}ModuleWidget"
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> Any:
        """The module's own `...Widget` object."""
        return self._python

    def make(self, module: types.ModuleType) -> None:
        """Makes the panel and sets it up."""
        self._python = getattr(module, f"{self._name}Widget")(self)
        setattr(slicer.modules, f"{self._name}Widget", self._python)
        self._python.setup()

    def reload(self) -> None:
        """Makes the panel anew from the module as it is now. What is in the widget stays in it, and nobody enters."""
        self.make(sys.modules[self._name])


class Panel:
    """A module's panel as a person has it before them, set up and entered.

    Attributes:
        window: the Qt widget that holds it.
    """

    def __init__(self, module: Module) -> None:
        name = module.description.name
        self.window = qSlicerScriptedLoadableModuleWidget(name)
        getattr(slicer.modules, name.lower())._representation = self.window
        self.window.make(module.python)
        self.enter()

    @property
    def widget(self) -> Any:
        """The module's own `...Widget` object; another one after a reload."""
        return self.window.self()

    def enter(self) -> None:
        """A person comes to the module."""
        _entered[:] = [self]
        if hasattr(self.widget, "enter"):
            self.widget.enter()

    def exit(self) -> None:
        """A person goes to another module."""
        _entered.clear()
        if hasattr(self.widget, "exit"):
            self.widget.exit()

    def show(self, width: int = 420, height: int = 900) -> None:
        """Shows the panel in a window of its own and lets it lay itself out."""
        self.window.resize(width, height)
        self.window.show()
        slicer.app.processEvents()

    def close(self) -> None:
        """Slicer quits: the panel is left, cleaned up and deleted."""
        self.exit()
        self.widget.cleanup()
        slicer.app.moduleManager().disconnect(
            "moduleAboutToBeUnloaded(QString)", self.widget._onModuleAboutToBeUnloaded
        )
        self.window.hide()
        slicer.app.processEvents()
        shiboken6.delete(self.window)


def _import_file(path: Path) -> types.ModuleType:
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
