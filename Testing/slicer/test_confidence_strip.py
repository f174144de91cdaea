"""The confidence strip: where a click goes, and which slices deserve a look."""

import pytest

from recorded_logic import a_box

pytest_plugins = ["panel_fixtures"]

ENTRIES = [
    {"slice": 10, "confidence": 0.9, "reason": ""},
    {"slice": 11, "confidence": 0.3, "reason": "box and mask disagree"},
    {"slice": 12, "confidence": 0.8, "reason": ""},
    {"slice": 25, "confidence": 0.1, "reason": "the area jumps"},
]


@pytest.fixture
def judged(running):
    """The panel after a run over slices 0 to 39 with two doubtful slices."""
    running.logic.listener.on_slices([10, 11, 12])
    running.logic.tell_finished(confidence=ENTRIES)
    return running


def color_at(label, x, y):
    pixel = label.pixmap.toImage().pixelColor(int(x), int(y))
    return pixel.red(), pixel.green(), pixel.blue()


def test_next_doubtful_goes_round_and_says_why(judged):
    from AutoMedSAMLib import slice_views

    volume = judged.boxes.volume
    slice_views.jump_to_slice(volume, 0, 5)
    assert judged.ui.doubtfulButton.text == "Next of 2 doubtful"
    seen = []
    for _ in range(3):
        judged.ui.doubtfulButton.click()
        seen.append(slice_views.current_slice(volume, 0))
    assert seen == [11, 25, 11]
    assert judged.ui.statusLabel.text == "Slice 11: confidence 30%, box and mask disagree."


def test_without_doubt_there_is_nothing_to_go_to(running):
    running.logic.tell_finished(confidence=ENTRIES[:1])
    assert not running.ui.doubtfulButton.enabled


def test_click_jumps_to_the_slice_beneath(judged, panel):
    import qt
    from PySide6.QtTest import QTest

    from AutoMedSAMLib import slice_views

    panel.show()
    label = judged.ui.stripLabel
    where = qt.QPoint(int(label.width * 25.5 / 40), 10)
    QTest.mouseClick(label, qt.Qt.LeftButton, qt.Qt.NoModifier, where)
    assert slice_views.current_slice(judged.boxes.volume, 0) == 25
    assert label.toolTip == "Slice 25: confidence 10%, the area jumps"


def test_every_pixel_belongs_to_a_slice(judged, panel):
    panel.show()
    strip, width = judged.confidence.strip, judged.ui.stripLabel.width
    assert strip.slice_at(0) == 0
    assert strip.slice_at(width - 1) == 39
    assert strip.slice_at(-5) == 0 and strip.slice_at(width + 5) == 39


def test_doubtful_and_sure_slices_differ_in_colour(judged, panel):
    panel.show()
    label = judged.ui.stripLabel
    bottom = label.height - 4
    at = {n: color_at(label, label.width * (n + 0.4) / 40, bottom) for n in (10, 11, 30)}
    assert len(set(at.values())) == 3


def test_strip_follows_the_slice_views(judged, panel):
    from AutoMedSAMLib import slice_views

    panel.show()
    label = judged.ui.stripLabel
    before = color_at(label, label.width * 35.5 / 40, 4)
    slice_views.jump_to_slice(judged.boxes.volume, 0, 35)
    assert color_at(label, label.width * 35.5 / 40, 4) != before
    panel.exit()
    slice_views.jump_to_slice(judged.boxes.volume, 0, 3)
    assert color_at(label, label.width * 35.5 / 40, 4) != before
    panel.enter()
    assert color_at(label, label.width * 35.5 / 40, 4) == before


def test_strip_never_makes_the_panel_wider(judged, panel):
    panel.show(width=900)
    panel.show(width=420)
    assert judged.ui.stripLabel.width < 420
    assert panel.window.width == 420


def test_saved_confidence_comes_back(running, module):
    running.logic.listener.on_boxes([a_box(1, 10)])
    running.logic.tell_finished(confidence=ENTRIES)
    other = module.open_panel()
    assert other.widget.confidence.strip.doubtful == [11, 25]
    assert other.widget.ui.doubtfulButton.enabled
    other.close()
