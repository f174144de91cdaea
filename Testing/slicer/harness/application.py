"""`slicer.app`, `slicer.modules` and `slicer.mrmlScene`, on slicer-core's own scene and module logics."""

import types
from pathlib import Path
from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .layout import LayoutManager
from .subject_hierarchy import SubjectHierarchyFiler

# Module and the class of its logic, as far as a module that segments volumes meets them.
_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}


class CoreModule:
    """One of Slicer's own modules, of which there is the logic alone."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class ModuleManager(QtCore.QObject):
    """Tells when a module is about to be unloaded."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    cpp_signals: ClassVar = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded"}


class qSlicerApplication(QtWidgets.QApplication):
    """The application: its scene, its folders, its settings. It runs in testing mode unless a test ends that."""

    startupCompleted = QtCore.Signal()

    def __init__(self, temporary_folder: Path) -> None:
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self._temporary_path = str(temporary_folder)
        self._testing = True
        # `qt.QSettings()` means the same file, as in Slicer.
        self.setOrganizationName("Slicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(temporary_folder))
        self._settings = QtCore.QSettings()
        self._module_manager = ModuleManager()
        self._scene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetTemporaryPath(self._temporary_path)
        self._logic.SetMRMLScene(self._scene)
        self._core_modules = _core_modules(self._logic, self._scene)
        self._subject_hierarchy = SubjectHierarchyFiler(self._scene)
        self._layout_manager = LayoutManager(self._logic, self._scene)

    def _set_temporary_path(self, path: str) -> None:
        self._temporary_path = path
        self._logic.SetTemporaryPath(path)

    temporaryPath = QtCore.Property(str, lambda self: self._temporary_path, _set_temporary_path)
    cachePath = QtCore.Property(str, lambda self: self._temporary_path)
    majorVersion = QtCore.Property(int, lambda _self: 5)
    minorVersion = QtCore.Property(int, lambda _self: 12)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> LayoutManager:
        return self._layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def testingEnabled(self) -> bool:
        return self._testing

    def settings(self) -> QtCore.QSettings:
        return self._settings

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """The environment Slicer was started from; here nothing has been added to it."""
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        """Nothing is rendered until a test asks for a picture."""

    resumeRender = pauseRender


def _core_modules(application_logic: Any, scene: Any) -> dict[str, CoreModule]:
    modules = {}
    # The tables of colours and terms that come with the application are not in slicer-core: they complain of it.
    vtk.vtkObject.GlobalWarningDisplayOff()
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name, logic)
        modules[name.lower()] = CoreModule(name, logic)
    # A logic asks others for help as soon as it has a scene, so all are there before.
    for module in modules.values():
        module.logic().SetMRMLScene(scene)
    vtk.vtkObject.GlobalWarningDisplayOn()
    return modules


def install(temporary_folder: Path) -> qSlicerApplication:
    """Starts the application and puts it where Slicer has it."""
    application = qSlicerApplication(temporary_folder)
    application.setStyle("Fusion")
    slicer.app = application
    slicer.mrmlScene = application.mrmlScene()
    slicer.modules = types.SimpleNamespace(**application._core_modules)
    slicer.moduleNames = types.SimpleNamespace()
    slicer.selfTests = {}
    return application
