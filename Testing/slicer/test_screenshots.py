"""The panel's pictures, of a real case: idle, running, done, and with the views beside it.

They are written to the folder in AUTOMEDSAM_SCREENSHOTS, or to a temporary one. The tests hold what a picture would
give away: that there is something to be seen.
"""

import os
from pathlib import Path

import numpy as np
import pytest

WIDTH, HEIGHT = 440, 900


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return Path(os.environ.get("AUTOMEDSAM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture
def case(module_widget, load_volume, shared_data, slicer_app):
    """The panel with a glioma's FLAIR in the views, as a person has it before Apply."""
    import slicer

    volume = load_volume(shared_data / "brats2017" / "unnamed_flair" / "flair.nii.gz", "FLAIR")
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume.GetID())
    slicer_app.layoutManager().resetSliceViews()
    slicer_app.processEvents()
    module_widget.show(WIDTH, HEIGHT)
    return module_widget


def colors_in(path):
    """How many colours the picture has, out of a few thousand pixels."""
    import qt

    image = qt.QImage(str(path))
    places = np.linspace(0.001, 0.999, 64)
    return len({image.pixel(int(x * image.width()), int(y * image.height())) for x in places for y in places})


def test_panel_before_during_and_after_a_run(case, pictures, wait_until):
    from harness.pictures import save_composition, save_widget

    widget, ui = case.widget, case.widget.ui
    save_widget(case.window, pictures / "panel-idle.png")
    assert ui.applyButton.enabled

    ui.applyButton.click()
    wait_until(lambda: ui.progressBar.value >= 75, 60)
    save_widget(case.window, pictures / "panel-running.png")
    assert ui.applyButton.text == "Cancel"

    wait_until(lambda: not widget.logic.is_running, 60)
    assert widget.boxes.table.objects(), ui.statusLabel.text
    wait_until(lambda: has_surface(widget.parameters.segmentation), 20)
    best = widget.boxes.table.objects()[0]
    widget.boxes.tree.select(next(box.id for box in best.boxes if box.slice == best.seed))
    save_widget(case.window, pictures / "panel-done.png")
    save_composition(case.window, pictures / "composed.png")
    sizes = {path.name: colors_in(path) for path in sorted(pictures.glob("*.png"))}
    assert set(sizes) >= {"panel-idle.png", "panel-running.png", "panel-done.png", "composed.png"}
    assert sizes["panel-idle.png"] > 10
    assert sizes["composed.png"] > 200


def has_surface(segmentation):
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return any(segmentation.GetClosedSurfaceInternalRepresentation(one) for one in ids)
