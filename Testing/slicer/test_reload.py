"""Slicer's Reload button: a change in any file of the library is there afterwards, and nothing of the old panel is."""

import gc
import importlib
import os
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from conftest import MODULE

OURS = ("AutoMedSAM", "AutoMedSAMLib", "automedsam")


def link_or_copy(source, target):
    """The weights are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture
def a_copy(module, tmp_path, monkeypatch):
    """The folder of the module, to be changed, in the place of the one that is loaded."""
    import slicer

    from harness import modules

    folder = tmp_path / "AutoMedSAM"
    unneeded = shutil.ignore_patterns("__pycache__", "automedsam_lab", "bundles")
    shutil.copytree(MODULE.parent, folder, ignore=unneeded)
    bundles = Path("automedsam") / "bundles"
    shutil.copytree(MODULE.parent / bundles, folder / bundles, copy_function=link_or_copy)
    saved, attributes, loaded = dict(sys.modules), dict(vars(slicer.modules)), dict(modules.LOADED)
    # Not `syspath_prepend`, which calls a function that the lab's stand-in for pkg_resources does not have.
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    importlib.invalidate_caches()
    forget()
    yield folder
    forget()
    sys.modules.update({name: one for name, one in saved.items() if name.split(".")[0] in OURS})
    vars(slicer.modules).clear()
    vars(slicer.modules).update(attributes)
    modules.LOADED.clear()
    modules.LOADED.update(loaded)


def forget():
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]


@pytest.fixture
def panel(a_copy, scene, slicer_app):
    """The copy's panel in developer mode, in which Slicer shows the Reload button."""
    from harness.modules import Module

    slicer_app.userSettings().setValue("Developer/DeveloperMode", "true")
    opened = Module(a_copy / "AutoMedSAM.py").open_panel()
    yield opened
    opened.close()
    slicer_app.userSettings().remove("Developer/DeveloperMode")


def change(file, before, after):
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, after), encoding="utf-8")
    # Python compares times, which may be the same within a second.
    shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)


def settle(app):
    import qt

    for _ in range(3):
        app.processEvents()
        app.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    gc.collect()


def observers(scene, *objects):
    """How many observers the scene and these VTK objects have."""
    # Deleted selectors of the harness notice at the next change that they are to let go; Slicer's do so at once.
    scene.RemoveNode(scene.AddNewNodeByClass("vtkMRMLTextNode"))
    objects = (scene, *objects)
    return [str(one).count("vtkObserver (") for one in objects]


def test_reload_brings_changes_in_every_part_of_the_library(panel, a_copy, slicer_app):
    height = panel.widget.ui.statusLabel.minimumHeight
    change(a_copy / "AutoMedSAMLib" / "panel" / "run_controls.py", "_STATUS_LINES = 3", "_STATUS_LINES = 6")
    change(a_copy / "AutoMedSAMLib" / "model" / "run.py", '_("Cancelled; the finished', '_("Stopped; the finished')
    change(a_copy / "automedsam" / "contract" / "protocol.py", 'Final = "CPU: INT8', 'Final = "Changed: INT8')
    change(a_copy / "Resources" / "UI" / "AutoMedSAM.ui", "<string>Apply</string>", "<string>Go</string>")
    panel.widget.reloadButton.click()
    settle(slicer_app)
    from AutoMedSAMLib.model.run import cancelled

    assert panel.widget.ui.statusLabel.minimumHeight == 2 * height
    assert cancelled(1).message.startswith("Stopped")
    assert panel.widget.ui.deviceLabel.text.startswith("Changed: ")
    assert panel.widget.ui.applyButton.text == "Go"


def test_reload_leaves_nothing_of_the_old_panel(panel, scene, add_volume, wait_until, slicer_app):
    import qt
    import slicer

    volume = add_volume(np.zeros((40, 60, 50), np.int16), name="FLAIR")
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    wait_until(lambda: panel.widget.warnings.are_known, 60)
    settle(slicer_app)
    old, watched = panel.widget, (scene, volume, panel.widget.parameters.node, *views)
    gone = [weakref.ref(one) for one in (old, old.logic, old.boxes, old.boxes.tree, old.inputs, old.confidence)]
    engine, folder = old.logic.engine.process.pid, old.logic.exchange.folder
    before, widgets = observers(*watched), len(panel.window.findChildren(qt.QWidget))
    assert engine and folder.exists()
    del old

    panel.widget.reloadButton.click()
    settle(slicer_app)
    # What is open is checked again, by another engine.
    wait_until(lambda: panel.widget.warnings.are_known, 60)
    settle(slicer_app)
    assert [one() for one in gone] == [None] * len(gone)
    assert observers(*watched) == before
    assert len(panel.window.findChildren(qt.QWidget)) == widgets
    assert not is_alive(engine)
    assert not folder.exists()
    assert panel.widget.logic.engine.process.pid not in (0, engine)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    # Ended, but nobody has asked for its exit code yet.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:1]


def test_reload_during_a_run_ends_it_and_the_next_run_works(panel, add_volume, wait_until, slicer_app):
    ui = panel.widget.ui
    rng = np.random.default_rng(1)
    add_volume(rng.integers(0, 100, (12, 40, 40)).astype(np.int16), name="FLAIR")
    slicer_app.processEvents()
    ui.applyButton.click()
    wait_until(lambda: panel.widget.logic.is_running, 60)
    panel.widget.reloadButton.click()
    settle(slicer_app)
    assert not panel.widget.logic.is_running
    assert panel.widget.ui.applyButton.enabled and panel.widget.ui.inputsButton.enabled
    assert panel.widget.parameters.volume(0).GetName() == "FLAIR"


@pytest.fixture
def earlier_timers(slicer_app):
    """What other tests have left to the application; asked for before the panel is made."""
    import qt

    return slicer_app.findChildren(qt.QTimer)


def test_closing_the_panel_leaves_no_timers(earlier_timers, panel, add_volume, slicer_app, wait_until):
    import qt

    panel.widget.reloadButton.click()
    settle(slicer_app)
    add_volume(np.zeros((40, 60, 50), np.int16), name="FLAIR")
    wait_until(lambda: panel.widget.warnings.are_known, 60)
    assert [timer for timer in slicer_app.findChildren(qt.QTimer) if timer not in earlier_timers]
    panel.exit()
    panel.widget.cleanup()
    settle(slicer_app)
    assert not [timer for timer in slicer_app.findChildren(qt.QTimer) if timer not in earlier_timers]
