"""The animated picture: a box, two points, propagation and a correction on a real hippocampus, with the real engine.

Every frame is taken of what the panel and the views show at that moment.
"""

from itertools import pairwise

import numpy as np
import pytest

from prompts import click, drag, pixel, show, view
from runs import labels_in

pytest_plugins = ["picture_fixtures"]

SECONDS = 60
# A patient whom no training saw.
CASE = "hippocampus_023"
# The view of the sagittal slices, whose axis of (K, J, I) is I.
VIEW, AXIS = "Yellow", 2
# Of the file.
WIDTH, QUALITY = 1000, 80


@pytest.fixture
def truth(shared_data):
    """The expert's hippocampus, both parts (K, J, I)."""
    import SimpleITK as sitk

    file = shared_data / "msd_task04_hippocampus" / "labelsTr" / f"{CASE}.nii.gz"
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0


@pytest.fixture
def panel(module_widget, shared_data, load_volume, slicer_app, wait_until):
    """The panel with the image and the model `anything` chosen, and its inputs folded away."""
    volume = load_volume(shared_data / "msd_task04_hippocampus" / "imagesTr" / f"{CASE}.nii.gz", "T1")
    show(volume)
    widget = module_widget.widget
    widget.parameters.model = "anything"
    slicer_app.processEvents()
    widget.inputs.choose_defaults()
    widget.ui.planeSelector.currentIndex = widget.ui.planeSelector.findText("Sagittal")
    module_widget.show(440, 700)
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    widget.ui.inputsButton.collapsed = True
    slicer_app.processEvents()
    module_widget.window.resize(440, 700)
    slicer_app.processEvents()
    return module_widget


class Scenes:
    """What a user does, with a frame of each step."""

    def __init__(self, panel, film, wait_until):
        self.panel, self.film, self.wait_until = panel, film, wait_until
        self.widget = panel.widget
        self.volume = panel.widget.parameters.volume(0)
        self.caption = ""

    def take(self, seconds, voxel=None, shift=False):
        from AutoMedSAMLib.scene.slice_views import to_world

        mouse = None if voxel is None else to_world(self.volume, voxel)
        return self.film.take(self.caption, seconds, mouse, shift)

    def go_to(self, at):
        from AutoMedSAMLib.scene.slice_views import jump_to_slice

        jump_to_slice(self.volume, AXIS, at)

    def press_and_drag(self, first, last):
        """Drags a box, with a frame of the rubber band half of the way."""
        half = tuple((np.array(first) + last) / 2)
        interactor = view(VIEW).sliceView().interactor()

        def mouse(event, voxel):
            interactor.SetEventInformation(*(round(at) for at in pixel(self.volume, voxel, VIEW)))
            interactor.InvokeEvent(event)

        mouse("LeftButtonPressEvent", first)
        mouse("MouseMoveEvent", half)
        frame = self.take(0.7, half)
        # The large view has another size now, and the button is still down.
        mouse("MouseMoveEvent", last)
        mouse("LeftButtonReleaseEvent", last)
        return frame

    def drag(self, first, last):
        drag(self.volume, first, last, VIEW)

    def preview(self):
        """The mask of the slice in view, as it is outlined (rows, columns)."""
        outline = self.widget.prompts.preview.outline
        self.wait_until(lambda: outline.node is not None, SECONDS)
        segment = outline.node.GetSegmentation().GetNthSegmentID(0)
        return np.moveaxis(labels_in(outline.node, self.volume, {1: segment}) > 0, AXIS, 0)

    def mask(self):
        """The result (slices, rows, columns)."""
        segmentation = self.widget.parameters.segmentation
        ids = {value + 1: one for value, one in enumerate(segmentation.GetSegmentation().GetSegmentIDs())}
        return np.moveaxis(labels_in(segmentation, self.volume, ids) > 0, AXIS, 0)

    def propagate(self, seconds):
        """Clicks Propagate; a frame while it runs."""
        ui = self.widget.ui
        assert ui.propagateButton.enabled, ui.propagateButton.toolTip
        ui.propagateButton.click()
        self.wait_until(lambda: ui.progressBar.value >= 40 or not self.widget.logic.is_running, SECONDS)
        assert self.widget.logic.is_running
        frame = self.take(seconds)
        self.wait_until(lambda: not self.widget.logic.is_running, SECONDS)
        segmentation = self.widget.parameters.segmentation
        segment = segmentation.GetSegmentation().GetNthSegmentID(0)
        self.wait_until(lambda: segmentation.GetClosedSurfaceInternalRepresentation(segment), SECONDS)
        return frame


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / max(np.count_nonzero(one) + np.count_nonzero(other), 1)


def farthest(region, other):
    """The voxel (row, column) of a region that is farthest from another one, and not on its own edge."""
    from scipy import ndimage

    reach = ndimage.distance_transform_edt(~other) + 0.1 * ndimage.distance_transform_edt(region)
    return np.unravel_index(np.where(region, reach, 0).argmax(), region.shape)


def corners(region, at, front=0):
    """Two corners (i, j, k) of the box around a region (rows, columns) of a slice, without the rear `front` percent."""
    rows, columns = np.nonzero(region)
    begin = np.percentile(columns, front)
    return (at, begin - 0.5, rows.max() + 0.5), (at, columns.max() + 0.5, rows.min() - 0.5)


def test_box_points_propagation_and_a_correction_as_an_animated_picture(panel, truth, album, wait_until):
    from harness.film import Film

    film = Film(panel.window, VIEW, ("3D", "Red"))
    scenes, ui = Scenes(panel, film, wait_until), panel.widget.ui
    expert = np.moveaxis(truth, AXIS, 0)

    def agreement(at, found):
        return dice(found, expert[at])

    at, doubtful = 14, 20
    scenes.go_to(at)
    scenes.caption = "1   Box: drag it around a part of any structure"
    first, last = corners(expert[at], at, 40)
    ui.drawBoxButton.checked = True
    nothing = scenes.take(1.2, first)
    band = scenes.press_and_drag(first, last)
    boxed = scenes.preview()[at]
    assert boxed.any() and agreement(at, boxed) > 0.5
    outlined = scenes.take(1.8, last)
    assert differ(nothing, band) and differ(band, outlined)

    scenes.caption = "2   Points: a click adds what is missing"
    ui.pointButton.checked = True
    row, column = farthest(expert[at] & ~boxed, boxed)
    click(scenes.volume, (at, column, row), VIEW)
    added = scenes.preview()[at]
    assert agreement(at, added) > agreement(at, boxed) + 0.1
    assert differ(outlined, scenes.take(1.8, (at, column, row)))

    scenes.caption = "3   Points: a click with Shift takes away what is too much"
    row, column = farthest(added & ~expert[at], expert[at])
    click(scenes.volume, (at, column, row), VIEW, shift=True)
    taken = scenes.preview()[at]
    assert (added & ~taken).any() and agreement(at, taken) > agreement(at, added)
    pointed = scenes.take(1.8, (at, column, row), shift=True)

    scenes.caption = "4   Propagate: the object is tracked through the volume"
    ui.pointButton.checked = False
    scenes.propagate(0.9)
    result = scenes.mask()
    assert np.count_nonzero(result) > 5 * np.count_nonzero(taken) and dice(result, expert) > 0.8
    assert differ(pointed, scenes.take(2.4))

    assert doubtful in panel.widget.confidence.strip.uncertain
    scenes.caption = f"5   Correct: slice {doubtful} is uncertain"
    scenes.go_to(doubtful)
    looked = scenes.take(1.6)
    scenes.caption = "6   Correct: another box, and its mask at once"
    ui.drawBoxButton.checked = True
    first, last = corners(expert[doubtful], doubtful)
    scenes.drag(first, last)
    corrected = scenes.preview()[doubtful]
    assert agreement(doubtful, corrected) > agreement(doubtful, result[doubtful])
    assert differ(looked, scenes.take(1.8, last))

    scenes.caption = "7   Propagate again"
    ui.drawBoxButton.checked = False
    scenes.propagate(0.9)
    again = scenes.mask()
    assert agreement(doubtful, again[doubtful]) > agreement(doubtful, result[doubtful])
    assert dice(again, expert) > dice(result, expert)
    scenes.take(1.5)
    scenes.caption = f"8   The whole hippocampus: Dice with the expert's {dice(again, expert):.2f}"
    scenes.go_to(at)
    scenes.take(3.5)

    path = album.folder / "prompts.webp"
    film.save(path, WIDTH, QUALITY)
    check_film(path, len(film.frames))


def check_film(path, count):
    """The file has these frames, which differ from each other, and is small enough for a README."""
    from PIL import Image

    with Image.open(path) as film:
        assert film.is_animated and film.n_frames == count and film.width == WIDTH
        frames = []
        for number in range(count):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
    assert all(differ(one, next_one) for one, next_one in pairwise(frames))
    assert path.stat().st_size < 800_000


def differ(one, other):
    """Whether two frames differ below their captions in more than a few pixels."""
    below = one.shape[0] // 10
    apart = np.abs(one[below:].astype(int) - other[below:]).max(axis=2)
    return np.count_nonzero(apart > 40) > 50
