"""The views of the harness show what Slicer's would, so that its pictures can be believed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

RED, GRAY = (255, 0, 0), (128, 128, 128)


@pytest.fixture
def a_red_ball(scene: Any, add_volume: Any) -> Any:
    """A grey volume of 40 mm, of which a red segment fills the ball of 10 mm about (20, 20, 20), in all views."""
    import slicer

    volume = add_volume(np.full((40, 40, 40), 50, np.uint8))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("ball", "ball", [1, 0, 0])
    distance = np.linalg.norm(np.indices((40, 40, 40)) - 20, axis=0)
    slicer.util.updateSegmentBinaryLabelmapFromArray((distance <= 10).astype(np.uint8), segmentation, segment, volume)
    segmentation.CreateClosedSurfaceRepresentation()
    for name in slicer.app.layoutManager().sliceViewNames():
        widget = slicer.app.layoutManager().sliceWidget(name)
        widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        widget.mrmlSliceNode().JumpSliceByOffsetting(20, 20, 20)
    return segmentation


@pytest.mark.parametrize("name", ["Red", "Yellow", "Green"])
def test_a_segment_is_drawn_over_the_volume(slicer_app: Any, a_red_ball: Any, name: str) -> None:
    from harness.views import slice_picture

    picture = slice_picture(slicer_app.layoutManager().sliceWidget(name), (200, 200)).astype(int)
    inside, outside = picture[100, 100], picture[100, 20]
    assert np.allclose(outside, GRAY, atol=4)
    # Slicer fills segments with half their colour.
    assert np.allclose(inside, np.add(RED, GRAY) / 2, atol=6)
    reddish = picture[..., 0] - picture[..., 2] > 40
    # The ball's disc: a radius of 10 mm where 40 mm are 200 pixels.
    assert reddish.sum() == pytest.approx(np.pi * 50**2, rel=0.1)


def test_another_slice_shows_another_disc(slicer_app: Any, a_red_ball: Any) -> None:
    from harness.views import slice_picture

    widget = slicer_app.layoutManager().sliceWidget("Red")
    widget.mrmlSliceNode().JumpSliceByOffsetting(20, 20, 35)
    picture = slice_picture(widget, (200, 200)).astype(int)
    assert not (picture[..., 0] - picture[..., 2] > 40).any()


def test_the_surface_is_drawn_in_the_3d_view(slicer_app: Any, a_red_ball: Any) -> None:
    from harness.views import three_d_picture

    widget = slicer_app.layoutManager().threeDWidget(0)
    picture = three_d_picture(widget, (200, 200)).astype(int)
    assert picture[100, 100, 0] > 150 and picture[100, 100, 1] < 90
    a_red_ball.GetDisplayNode().SetVisibility3D(False)
    assert three_d_picture(widget, (200, 200))[100, 100, 1] > 90


def test_a_composition_is_sharp_and_whole(scene: Any, slicer_app: Any, a_red_ball: Any, tmp_path: Path) -> None:
    import qt

    from harness.pictures import SCALE, composition, save

    panel = qt.QLabel("A panel")
    panel.resize(300, 200)
    panel.show()
    save(composition(panel, (220, 240)), tmp_path / "folder" / "composed.png")
    image = qt.QImage(str(tmp_path / "folder" / "composed.png"))
    assert (image.width(), image.height()) == (SCALE * (300 + 2 * 220), SCALE * 2 * 240)
    # The bars above the slice views have their names' colours.
    bars = [image.pixelColor(SCALE * x, SCALE * y).name() for x, y in ((510, 5), (510, 245), (730, 245))]
    assert bars == ["#f34a33", "#6eb04b", "#edd54c"]
    # The dark one is the same but for the panel.
    dark = qt.QImage(str(tmp_path / "folder" / "composed-dark.png"))
    assert dark.pixelColor(SCALE * 2, SCALE * 2).name() == "#323232" != image.pixelColor(SCALE * 2, SCALE * 2).name()
    assert dark.copy(SCALE * 300, 0, 880, 960) == image.copy(SCALE * 300, 0, 880, 960)
    assert panel.palette.color(qt.QPalette.Window).name() != "#323232"
    panel.hide()


def test_a_text_that_cannot_be_read_is_found(slicer_app: Any) -> None:
    import qt

    from harness.legibility import faint_texts
    from harness.pictures import in_both_themes

    panel = qt.QWidget()
    layout = qt.QVBoxLayout(panel)
    for text, style in {"plain": "", "gray": "color: #505050", "amber": "background: #ffd27f; color: #3d2a00"}.items():
        label = qt.QLabel(text)
        label.setStyleSheet(style)
        layout.addWidget(label)
    panel.show()
    taken = in_both_themes(panel)
    assert not faint_texts(panel, taken["light"])
    assert list(faint_texts(panel, taken["dark"])) == ["gray"]
    panel.hide()


def test_published_pictures_are_small_and_keep_the_colors_of_segments(tmp_path: Path) -> None:
    from PIL import Image

    from harness.publish import publish

    taken, root = tmp_path / "taken", tmp_path / "root"
    (taken / "hippocampus").mkdir(parents=True)
    (root / "Resources" / "Screenshots").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 120, (200, 2640, 1), dtype=np.uint8)
    pixels = np.repeat(noise, 3, axis=2)
    pixels[90:110, 100:140] = (232, 113, 10)
    Image.fromarray(pixels).save(taken / "hippocampus" / "composed-dark.png")
    (path,) = publish(taken, root)
    assert path == root / "Resources" / "Screenshots" / "hippocampus-dark.png"
    with Image.open(path) as small:
        assert small.size == (1320, 100) and len(small.getcolors()) <= 256
        assert np.abs(np.subtract(small.convert("RGB").getpixel((60, 50)), (232, 113, 10))).max() < 10
