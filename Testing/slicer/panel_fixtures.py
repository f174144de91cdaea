"""The panel before, during and after a run, over a logic that only a test lets speak."""

import numpy as np
import pytest

from recorded_logic import RecordedLogic, a_box, a_tracklet

REPORT = {
    "volume_ml": {"Glioma, whole tumour": 23.456},
    "seconds": {"detect": 1.8, "segment": 1.2},
    "objects": 2,
    "segmented_slices": 12,
    "slices": 40,
    "peak_memory_mb": 400.0,
    "device": "CPU",
}


@pytest.fixture
def panel(module, scene, monkeypatch):
    """The panel over a recorded logic."""
    from AutoMedSAMLib import widget
    from AutoMedSAMLib.panel import run_controls

    monkeypatch.setattr(widget, "AutoMedSAMLogic", RecordedLogic)
    # Tests click faster than a double click.
    monkeypatch.setattr(run_controls, "_DOUBLE_CLICK_SECONDS", 0.0)
    opened = module.open_panel()
    yield opened
    opened.close()


@pytest.fixture
def flair(add_volume):
    return lambda name="FLAIR": add_volume(np.zeros((40, 60, 50), np.int16), name=name)


@pytest.fixture
def ready(panel, flair, slicer_app):
    """The panel with a volume chosen."""
    flair()
    slicer_app.processEvents()
    return panel.widget


@pytest.fixture
def running(ready):
    """The panel in the middle of a run."""
    ready.ui.applyButton.click()
    ready.logic.tell_started()
    return ready


@pytest.fixture
def done(running):
    """The panel after a run that found two objects and a box that stands alone."""
    for box in (a_box(1, 10, 0.9), a_box(2, 12, 0.8), a_box(3, 20, 0.6, at=30.0), a_box(4, 30, 0.55)):
        running.logic.listener.on_boxes([box])
    running.logic.listener.on_tracklets([a_tracklet([1, 2], 10), a_tracklet([3], 20)])
    running.logic.tell_finished(message="2 objects, 23.5 ml.", report=REPORT)
    return running
