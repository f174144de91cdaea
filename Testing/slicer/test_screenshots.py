"""The panel's pictures, of a made-up head and of real cases: idle, running, done, and with the views beside it.

They are written to the folder in AUTOMEDSAM_SCREENSHOTS, or to a temporary one, light and dark. The tests hold what a
picture would give away: that there is something to be seen, and that every text can be read.
"""

import numpy as np
import pytest

pytest_plugins = ["picture_fixtures"]
SIZE = 440, 900

# Patients whom no training saw. Their pictures stay where their data's terms leave them: not in the repository.
_REAL = {
    "glioma": ("brats2017/unnamed_flair/flair.nii.gz", "FLAIR"),
    "hippocampus": ("msd_task04_hippocampus/imagesTr/hippocampus_023.nii.gz", "T1"),
}


@pytest.fixture(params=["phantom", "glioma", "hippocampus"])
def case(request, module_widget, load_volume, slicer_app):
    """The panel with an image in the views, as a person has it before Apply; and the name of the case."""
    import slicer

    from AutoMedSAMLib.sample_data import make_phantom

    if request.param == "phantom":
        volume = make_phantom()
    else:
        file, name = _REAL[request.param]
        volume = load_volume(request.getfixturevalue("shared_data") / file, name)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume.GetID())
    slicer_app.layoutManager().resetSliceViews()
    slicer_app.processEvents()
    module_widget.show(*SIZE)
    widget = module_widget.widget
    if request.param == "hippocampus":
        widget.parameters.model = "hippocampus"
        slicer_app.processEvents()
        widget.inputs.volume_selectors[0].setCurrentNode(volume)
        slicer_app.processEvents()
    return module_widget, request.param


def colors_in(path):
    """How many colours the picture has, out of a few thousand pixels."""
    import qt

    image = qt.QImage(str(path))
    places = np.linspace(0.001, 0.999, 64)
    return len({image.pixel(int(x * image.width()), int(y * image.height())) for x in places for y in places})


def test_panel_before_during_and_after_a_run(case, album, wait_until):
    panel, name = case
    widget, ui = panel.widget, panel.widget.ui
    wait_until(lambda: widget.warnings.are_known, 20)
    assert colors_in(album.take(panel.window, f"{name}/panel-idle")) > 10
    assert ui.applyButton.enabled

    ui.applyButton.click()
    # A run over a few small slices may be over before anybody looks.
    wait_until(lambda: ui.progressBar.value >= (75 if name != "hippocampus" else 1), 60)
    album.take(panel.window, f"{name}/panel-running")
    assert ui.applyButton.text == "Cancel"

    wait_until(lambda: not widget.logic.is_running, 60)
    assert widget.boxes.table.objects(), ui.statusLabel.text
    wait_until(lambda: has_surface(widget.parameters.segmentation), 20)
    best = widget.boxes.table.objects()[0]
    widget.boxes.tree.select(next(box.id for box in best.boxes if box.slice == best.seed))
    album.take(panel.window, f"{name}/panel-done")
    light = album.take_composition(panel.window, f"{name}/composed")
    dark = light.with_name("composed-dark.png")
    assert colors_in(light) > 200 and colors_in(dark) > 200
    assert brightness_of_the_panel(light) > 200 > 100 > brightness_of_the_panel(dark)


def brightness_of_the_panel(path):
    """The median brightness of the left fifth of a picture, 0 to 255."""
    import qt

    image = qt.QImage(str(path))
    xs, ys = np.linspace(1, image.width() / 5, 40), np.linspace(1, image.height() - 2, 80)
    return np.median([qt.QColor(image.pixel(int(x), int(y))).lightness() for x in xs for y in ys])


def has_surface(segmentation):
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return any(segmentation.GetClosedSurfaceInternalRepresentation(one) for one in ids)
