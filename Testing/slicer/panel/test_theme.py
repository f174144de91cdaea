"""What the panel draws in colors of its own is seen in Slicer's light and in its dark style."""

import pytest

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]

SLICE, LABEL, SCORE, NOTE, ACCEPTED = range(5)


def row(tree, slice_text):
    """The row of a slice."""
    groups = [tree.topLevelItem(n) for n in range(tree.topLevelItemCount)]
    rows = [group.child(n) for group in groups for n in range(group.childCount())]
    return next(one for one in rows if one.text(SLICE) == slice_text)


def color_at(label, x, y):
    pixel = label.pixmap.toImage().pixelColor(int(x), int(y))
    return pixel.red(), pixel.green(), pixel.blue()


def test_rows_of_unused_boxes_are_read_in_the_theme_that_is_chosen_later(done, panel):
    import qt

    from harness.legibility import faint_texts
    from harness.pictures import widget_picture
    from harness.themes import dark

    panel.show()
    tree = done.ui.boxTree
    tree.setCurrentItem(row(tree, "10"))
    done.ui.rejectButton.click()
    tree.clearSelection()
    assert row(tree, "10").foreground(SCORE).color().alphaF() == pytest.approx(0.6, abs=0.01)
    assert not faint_texts(panel.window, widget_picture(panel.window))
    with dark():
        assert row(tree, "10").foreground(SCORE).color().rgb() == qt.QColor("white").rgb()
        assert not faint_texts(panel.window, widget_picture(panel.window))
        assert not done.boxes.running and row(tree, "10").checkState(ACCEPTED) == qt.Qt.Unchecked


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_slices_of_a_run_that_is_not_judged_yet_are_seen_in_each_theme(running, panel, theme):
    import contextlib

    from harness.themes import dark

    panel.show()
    label = running.ui.stripLabel
    with dark() if theme == "dark" else contextlib.nullcontext():
        running.logic.listener.on_boxes([a_box(1, 20)])
        running.logic.listener.on_tracklets([a_tracklet([1], 20)])
        running.logic.listener.on_slices([20])
        y = running.confidence.strip.bars_height - 6
        written, empty = (sum(color_at(label, label.width * (at + 0.4) / 40, y)) for at in (20, 30))
    assert abs(written - empty) > 3 * 40
