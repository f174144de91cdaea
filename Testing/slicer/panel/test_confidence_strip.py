"""The confidence strip: where a click goes, and which slices deserve a look."""

import pytest

from recorded_logic import a_box, a_tracklet

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
    running.logic.listener.on_tracklets([])
    running.logic.listener.on_slices([10, 11, 12])
    running.logic.tell_finished(confidence=ENTRIES)
    return running


def color_at(label, x, y):
    pixel = label.pixmap.toImage().pixelColor(int(x), int(y))
    return pixel.red(), pixel.green(), pixel.blue()


def test_next_doubtful_goes_round_and_says_why(judged):
    from AutoMedSAMLib.scene import slice_views

    volume = judged.boxes.volume
    slice_views.jump_to_slice(volume, 0, 5)
    assert judged.ui.uncertainButton.text == "Next of 2 uncertain"
    seen = []
    for _ in range(3):
        judged.ui.uncertainButton.click()
        seen.append(slice_views.current_slice(volume, 0))
    assert seen == [11, 25, 11]
    assert judged.ui.statusLabel.text == "Slice 11: confidence 30%, box and mask disagree."


def test_without_doubt_there_is_nothing_to_go_to(running):
    running.logic.tell_finished(confidence=ENTRIES[:1])
    assert not running.ui.uncertainButton.enabled


def test_click_jumps_to_the_slice_beneath(judged, panel):
    import qt
    from PySide6.QtTest import QTest

    from AutoMedSAMLib.scene import slice_views

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


ORANGE, TEAL = (0xE8, 0x71, 0x0A), (0x2F, 0x9E, 0x8F)


@pytest.fixture
def colors(judged, panel):
    """A function that gives the colours of a slice's bar from top to bottom, after a run over slices 0 to 39."""
    judged.boxes.table.receive_boxes([a_box(1, 10), a_box(2, 11)])
    judged.boxes.table.receive_tracklets([a_tracklet([1, 2], 10)])
    judged.confidence.update()
    panel.show()
    label, strip = judged.ui.stripLabel, judged.confidence.strip

    def colors(index):
        left, thick = strip._place(index, label.width)
        return [color_at(label, left + thick // 2, y) for y in range(2, strip.bars_height - 2)]

    return colors


def test_uncertain_slice_is_orange_over_the_whole_height_with_its_bar_in_it(colors):
    down = colors(11)
    assert down[0] == ORANGE
    assert down.count(ORANGE) > len(down) / 2, "its confidence is 30%"
    assert ORANGE not in down[-5:]
    assert len(set(down)) == 2


def test_confident_slice_has_a_bar_as_high_as_its_confidence(colors):
    down = colors(10)
    assert down.count(TEAL) == pytest.approx(0.9 * len(down), abs=3)
    assert down[0] != TEAL


def test_slice_that_was_tracked_without_a_box_is_hatched(judged, colors):
    down = colors(12)
    pale = down[-1]
    assert pale not in (TEAL, down[0]), "its confidence is 80%"
    assert down.count(pale) + down.count(TEAL) == pytest.approx(0.8 * len(down), abs=3)
    assert down.count(TEAL) > 0, "the lines of the hatch"
    assert colors(10)[-10:] == [TEAL] * 10, "one with a box is not"
    assert judged.confidence.strip.describe(12) == "Slice 12: confidence 80%, no box on this slice"


def test_uncertain_slice_without_a_box_is_as_orange_and_hatched_too(judged, colors):
    down = colors(25)
    assert down.count(ORANGE) > len(down) / 2, "its confidence is 10%"
    lines = [color for color in down[: len(down) // 2] if color != ORANGE]
    assert lines


def test_uncertain_slice_is_seen_among_hundreds(running, panel):
    running.confidence.strip.start(0, 799)
    running.confidence.strip.show_confidence([{"slice": 400, "confidence": 0.0, "reason": "x"}], [400])
    panel.show()
    label = running.ui.stripLabel
    orange = [x for x in range(label.width) if color_at(label, x, 5) == ORANGE]
    assert len(orange) >= 3


@pytest.mark.parametrize(
    ("first", "last", "most", "expected"),
    [(0, 39, 5, [0, 10, 20, 30]), (45, 110, 4, [60, 80, 100]), (0, 154, 7, [0, 50, 100, 150]), (7, 9, 5, [7, 8, 9])],
)
def test_slice_numbers_are_round_and_have_room(first, last, most, expected):
    from AutoMedSAMLib.panel.confidence_strip import ticks

    assert ticks(first, last, most) == expected


def test_numbers_and_legend_are_drawn_once_there_are_slices(judged, panel):
    panel.show()
    label, strip = judged.ui.stripLabel, judged.confidence.strip

    def below():
        return {color_at(label, x, y) for x in range(label.width) for y in range(strip.bars_height + 1, label.height)}

    assert {ORANGE, TEAL} <= below()
    strip.start(0, -1)
    assert len(below()) == 1


def test_strip_keeps_its_width_whatever_the_button_counts(judged, panel):
    panel.show()
    width = judged.ui.stripLabel.width
    assert judged.ui.uncertainButton.text == "Next of 2 uncertain"
    judged.boxes.table.confidence = []
    judged.confidence.update()
    panel.show()
    assert judged.ui.uncertainButton.text == "Next uncertain slice"
    assert judged.ui.stripLabel.width == width


def test_strip_follows_the_slice_views(judged, panel):
    from AutoMedSAMLib.scene import slice_views

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
    running.logic.listener.on_tracklets([a_tracklet([1], 10)])
    running.logic.tell_finished(confidence=ENTRIES)
    other = module.open_panel()
    assert other.widget.confidence.strip.uncertain == [11, 25]
    assert other.widget.ui.uncertainButton.enabled
    other.close()
