"""The module in the harness: an application, a scene, volumes, the logic and the panel."""

import atexit
import functools
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "AutoMedSAM" / "AutoMedSAM.py"
WHEELS = {"slicer_core": "slicer-core", "PySide6": "PySide6-Essentials"}
MISSING = [wheel for package, wheel in WHEELS.items() if importlib.util.find_spec(package) is None]


class SkippedFile(pytest.Module):
    """A file of tests that cannot even be read here."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(f"the harness needs {' and '.join(MISSING)}: pip install '.[test]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> SkippedFile | None:
    """Sees to it that `slicer`, `qt` and `AutoMedSAMLib` are there when a test is read, as they are in Slicer."""
    if MISSING:
        return SkippedFile.from_parent(parent, path=module_path)
    import harness

    harness.start(_temporary_folder())
    if str(MODULE.parent) not in sys.path:
        # Behind an installed engine, which is the one to test.
        sys.path.append(str(MODULE.parent))
    return None


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="slicer-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@pytest.fixture(scope="session")
def slicer_app() -> Any:
    """`slicer.app` of the harness, one for all tests."""
    import slicer

    return slicer.app


@pytest.fixture
def scene(slicer_app: Any) -> Iterator[Any]:
    """The application's scene, empty but for what Slicer starts with; the test fails for a fault behind its back."""
    from harness import faults

    _empty(slicer_app)
    faults.begin()
    yield slicer_app.mrmlScene()
    slicer_app.processEvents()
    _empty(slicer_app)
    slicer_app.processEvents()
    found = faults.take()
    assert not found, "behind the event loop:\n" + "\n".join(found)


@pytest.fixture
def load_volume(scene: Any) -> Callable[..., Any]:
    """A function that loads an image file as Slicer does: `load_volume(path, name=None)`."""

    def load(path: Path | str, name: str | None = None) -> Any:
        import slicer

        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name or Path(path).name.split(".")[0])
        assert node is not None, f"{path} could not be loaded"
        return node

    return load


@pytest.fixture
def add_volume(scene: Any) -> Callable[..., Any]:
    """A function that adds a volume node: `add_volume(array (K, J, I), ijk_to_ras 4x4 in mm = identity, name)`."""

    def add(array: np.ndarray, ijk_to_ras: np.ndarray | None = None, name: str = "volume") -> Any:
        import slicer

        matrix = np.eye(4) if ijk_to_ras is None else np.asarray(ijk_to_ras, dtype=float)
        return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)

    return add


@pytest.fixture(scope="session")
def module(slicer_app: Any) -> Any:
    """The shipped module as Slicer has it once it has started; an error at that start fails every test."""
    from harness import faults
    from harness.modules import Module

    faults.begin()
    loaded = Module(MODULE)
    slicer_app.startupCompleted.emit()
    slicer_app.processEvents()
    found = faults.take()
    assert not found, "at Slicer's start:\n" + "\n".join(found)
    return loaded


@pytest.fixture
def module_logic(module: Any, scene: Any) -> Iterator[Any]:
    """An `AutoMedSAMLogic`, closed afterwards."""
    logic = module.new_logic()
    yield logic
    logic.close()


@pytest.fixture
def module_widget(module: Any, scene: Any) -> Iterator[Any]:
    """The shipped panel, set up and entered: `.widget` is the module's own object, `.window` the Qt widget."""
    panel = module.open_panel()
    yield panel
    panel.close()


@pytest.fixture
def wait_until(slicer_app: Any) -> Callable[..., None]:
    """A function that turns the event loop until something holds: `wait_until(predicate, seconds=10)`."""
    from harness.waiting import wait_until

    return wait_until


def _empty(app: Any) -> None:
    """Closes the scene, and takes out what closing one keeps of the modules' parameters."""
    scene = app.mrmlScene()
    scene.Clear(False)
    for node in list(_nodes(scene, "vtkMRMLScriptedModuleNode")):
        scene.RemoveNode(node)
    app.layoutManager().restore()


def _nodes(scene: Any, kind: str) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass(kind)):
        yield scene.GetNthNodeByClass(index, kind)
