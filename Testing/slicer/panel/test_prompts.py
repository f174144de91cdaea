"""Boxes, points and what else the user shows of an object: by mouse and keys, over a logic that answers as told."""

import numpy as np
import pytest

from prompt_fixtures import draw, go_to, point, tracklets
from prompts import click, drag, view

pytest_plugins = ["panel_fixtures", "prompt_fixtures"]


def test_a_box_without_any_run_is_an_object_and_is_previewed(shown):
    draw(shown, 12, (10, 20), (30, 44))
    boxes, (tracklet,) = shown.boxes.table.propagation()
    assert boxes[0]["slice"] == tracklet["seed"] == 12 and boxes[0]["drawn"]
    # From the first voxel's centre to the last one's, counted from voxel edges.
    np.testing.assert_allclose(boxes[0]["bounds"], [10.5, 30.5, 20.5, 44.5, 12, 13], atol=0.35)
    (question,) = shown.logic.previews
    assert question.slice == 12 and question.tracklet == tracklet and question.boxes == boxes
    assert question.request.plane == "axial" and shown.ui.propagateButton.enabled
    shown.ui.propagateButton.click()
    assert shown.logic.propagated == (boxes, [tracklet]) and shown.logic.request.beside


def test_the_mouse_is_slicers_again_when_the_tool_is_put_away(shown):
    slice_view = view().sliceView()
    shown.ui.drawBoxButton.checked = True
    assert slice_view.cursor is not None
    drag(shown.parameters.volume(0), (10, 10, 5), (20, 20, 5))
    assert slice_view.reached_slicer == [], "neither window and level nor a markup is to move"
    shown.ui.drawBoxButton.checked = False
    assert slice_view.cursor is None
    drag(shown.parameters.volume(0), (10, 10, 5), (20, 20, 5))
    assert len(slice_view.reached_slicer) == 4
    assert len(tracklets(shown)) == 1


def test_a_click_with_ctrl_stays_slicers(shown):
    shown.ui.drawBoxButton.checked = True
    drag(shown.parameters.volume(0), (10, 10, 5), (20, 20, 5), control=True)
    assert len(view().sliceView().reached_slicer) == 4 and tracklets(shown) == []


def test_a_click_without_a_drag_draws_no_box(shown):
    shown.ui.drawBoxButton.checked = True
    click(shown.parameters.volume(0), (10, 10, 5))
    assert len(shown.boxes.table) == 0


def test_the_mask_is_outlined_until_the_prompts_change(shown, scene):
    draw(shown, 12, (10, 20), (30, 44))
    mask = np.zeros((60, 50), bool)
    mask[22:40, 12:28] = True
    from AutoMedSAMLib.engine.slice_preview import PreviewMask

    shown.logic.previews[-1].done(PreviewMask(12, mask, 0.93, 0.2))
    outline = shown.prompts.preview.outline.node
    assert outline is not None and not outline.GetSaveWithScene()
    from runs import labels_in

    labels = labels_in(outline, shown.boxes.volume, {1: outline.GetSegmentation().GetNthSegmentID(0)})
    assert (labels[12] == mask).all() and labels.sum() == mask.sum()
    assert "Slice 12: 2.88 cm²" in shown.ui.statusLabel.text
    shown.ui.undoStepButton.click()
    assert shown.prompts.preview.outline.node is None and "Slice 12" not in shown.ui.statusLabel.text
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_escape_puts_the_tool_away_and_takes_the_outline_out(shown, panel):
    import qt
    from PySide6.QtTest import QTest

    from AutoMedSAMLib.engine.slice_preview import PreviewMask

    panel.show()
    draw(shown, 12, (10, 20), (30, 44))
    shown.logic.previews[-1].done(PreviewMask(12, np.ones((60, 50), bool), 0.9, 0.2))
    QTest.keyClick(shown.ui.boxTree, qt.Qt.Key_Escape)
    assert not shown.ui.drawBoxButton.checked and shown.prompts.preview.outline.node is None


def test_points_show_where_the_object_is_and_where_not(shown):
    go_to(shown, 8)
    point(shown, (21, 33, 8))
    point(shown, (40, 33, 8), shift=True)
    (tracklet,) = tracklets(shown)
    assert tracklet["boxes"] == [] and tracklet["seed"] == 8
    assert [one["positive"] for one in tracklet["points"]] == [True, False]
    np.testing.assert_allclose(tracklet["points"][0]["position"], [21, 33, 8], atol=0.3)
    assert len(shown.logic.previews) == 2
    positive, negative = (shown.prompts.points.nodes[sign] for sign in (True, False))
    assert positive.GetNumberOfControlPoints() == negative.GetNumberOfControlPoints() == 1
    assert positive.GetLocked() and not positive.GetSaveWithScene()


def test_the_first_point_must_be_on_the_object(shown):
    point(shown, (21, 33, 5), shift=True)
    assert len(shown.boxes.table) == 0 and "on the object first" in shown.ui.statusLabel.text


def test_a_point_in_another_view_is_a_voxel_of_the_runs_slices(found):
    volume = found.boxes.volume
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    jump_to_slice(volume, 2, 15)
    point(found, (15, 22, 11), "Yellow")
    tracklet = tracklets(found)[0]
    np.testing.assert_allclose(tracklet["points"][0]["position"], [15, 22, 11], atol=0.5)
    assert found.logic.previews[-1].slice == 11


def test_a_box_in_another_view_of_a_result_is_refused_with_the_reason(found):
    found.ui.drawBoxButton.checked = True
    before = found.boxes.table.to_text()
    drag(found.boxes.volume, (15, 10, 8), (15, 30, 14), "Yellow")
    assert "axial" in found.ui.statusLabel.text and found.boxes.table.to_text() == before


def test_without_a_result_the_view_that_is_drawn_in_sets_the_plane(shown):
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    volume = shown.parameters.volume(0)
    jump_to_slice(volume, 2, 15)
    shown.ui.drawBoxButton.checked = True
    drag(volume, (15, 10, 8), (15, 30, 14), "Yellow")
    table = shown.boxes.table
    assert table.plane == "sagittal" and table.axis == 2
    np.testing.assert_allclose(table.propagation()[0][0]["bounds"], [15, 16, 10.5, 30.5, 8.5, 14.5], atol=0.35)


def test_a_box_that_touches_the_selected_object_refines_it_and_another_starts_one(found):
    draw(found, 14, (12, 12), (28, 28))
    first = tracklets(found)[0]
    assert len(first["boxes"]) == 3 and len(tracklets(found)) == 2
    draw(found, 14, (38, 40), (48, 55))
    assert len(tracklets(found)) == 3 and tracklets(found)[-1]["seed"] == 14
    assert found.boxes.selection.group().boxes[0].bounds[0] > 38, "the new object is selected"


def test_a_box_drawn_again_on_a_slice_takes_the_place_of_the_first(found):
    draw(found, 10, (12, 12), (20, 20))
    draw(found, 10, (14, 14), (22, 22))
    boxes = [box for box in found.boxes.table.propagation()[0] if box["slice"] == 10]
    assert len(boxes) == 1 and boxes[0]["bounds"][0] == pytest.approx(14.5, abs=0.35)


def test_new_object_is_started_by_the_next_point(found):
    found.ui.newObjectButton.click()
    point(found, (40, 40, 10))
    assert len(tracklets(found)) == 3 and tracklets(found)[-1]["boxes"] == []


def test_no_lesion_here_empties_the_slice_and_is_taken_back_by_a_second_click(found):
    found.ui.emptyButton.click()
    first = tracklets(found)[0]
    assert first["empty"] == [10] and first["seed"] == 12 and first["boxes"] == [2]
    assert "tracking stops here" in found.ui.statusLabel.text
    found.ui.emptyButton.click()
    assert "empty" not in tracklets(found)[0] and tracklets(found)[0]["boxes"] == [1, 2]


def test_limits_are_dragged_on_the_strip(found, panel, slicer_app):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    label, strip = found.ui.stripLabel, found.confidence.strip
    handles = found.prompts.limits
    assert handles.limits == (0, 39)

    def pull(number, to):
        QTest.mousePress(label, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(handles.places()[number], 5))
        QTest.mouseMove(label, qt.QPoint(to, 5))
        QTest.mouseRelease(label, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(to, 5))
        slicer_app.processEvents()

    middle = (strip.edge(5) + strip.edge(6)) // 2
    pull(0, middle)
    assert tracklets(found)[0]["limits"] == [5, 39]
    pull(1, (strip.edge(11) + strip.edge(12)) // 2)
    assert tracklets(found)[0]["limits"] == [5, 11] and tracklets(found)[0]["boxes"] == [1], "12 is beyond"
    found.ui.undoStepButton.click()
    assert handles.limits == (5, 39) and tracklets(found)[0]["boxes"] == [1, 2]
    pull(0, 0)
    assert "limits" not in tracklets(found)[0]


def test_every_prompt_is_a_step(found):
    texts = [found.boxes.table.to_text()]

    def note():
        texts.append(found.boxes.table.to_text())

    draw(found, 14, (12, 12), (28, 28))
    note()
    point(found, (20, 20, 14), shift=True)
    note()
    found.ui.emptyButton.click()
    note()
    for expected in reversed(texts[:-1]):
        found.ui.undoStepButton.click()
        assert found.boxes.table.to_text() == expected == found.parameters.boxes
    for expected in texts[1:]:
        found.ui.redoStepButton.click()
        assert found.boxes.table.to_text() == expected


def test_prompts_come_back_with_the_scene_and_after_another_volume(found, flair, slicer_app):
    draw(found, 14, (12, 12), (28, 28))
    point(found, (20, 20, 14))
    before, text = found.boxes.table.propagation(), found.parameters.boxes
    other, own = flair("other"), found.boxes.volume
    slicer_app.processEvents()
    found.inputs.volume_selectors[0].setCurrentNode(other)
    slicer_app.processEvents()
    assert not found.ui.propagateButton.enabled
    found.inputs.volume_selectors[0].setCurrentNode(own)
    slicer_app.processEvents()
    assert found.boxes.table.propagation() == before and found.ui.propagateButton.enabled
    found.boxes.clear()
    found.update()
    assert found.boxes.table.propagation() == before and found.parameters.boxes == text


def test_prompts_on_another_volume_start_a_table_of_their_own_that_undo_takes_back(found, flair, slicer_app):
    before, own = found.boxes.table.to_text(), found.boxes.volume
    other = flair("other")
    slicer_app.processEvents()
    found.inputs.volume_selectors[0].setCurrentNode(other)
    slicer_app.processEvents()
    draw(found, 12, (10, 20), (30, 44))
    assert found.boxes.volume is other and len(tracklets(found)) == 1
    assert found.logic.previews[-1].request.volumes == (other,)
    found.ui.undoStepButton.click()
    assert found.boxes.volume is own and found.boxes.table.to_text() == before


def test_a_prompted_object_is_recognized_after_boxes_are_linked_again(found):
    from recorded_logic import a_tracklet

    point(found, (20, 20, 12))
    found.boxes.table.receive_tracklets([a_tracklet([3], 20), a_tracklet([2, 1], 12)])
    found.boxes.refresh()
    assert [len(one.get("points", [])) for one in tracklets(found)] == [0, 1]


def test_rows_of_prompts_are_ignored_one_by_one_and_objects_as_a_whole(found):
    tree = found.ui.boxTree
    draw(found, 14, (12, 12), (28, 28))
    go_to(found, 13)
    point(found, (20, 20, 13))
    point(found, (40, 20, 13), shift=True)
    rows = [tree.topLevelItem(0).child(n) for n in range(tree.topLevelItem(0).childCount())]
    item = next(row for row in rows if row.text(1) == "2 points")
    assert item.text(0) == "13"
    tree.clearSelection()
    tree.setCurrentItem(item)
    assert found.ui.rejectButton.enabled
    found.ui.rejectButton.click()
    assert "points" not in tracklets(found)[0]
    found.ui.undoStepButton.click()
    tree.setCurrentItem(tree.topLevelItem(0))
    found.ui.rejectButton.click()
    assert len(tracklets(found)) == 1
    tree.setCurrentItem(tree.topLevelItem(0))
    assert found.ui.rejectButton.text == "Use"
    found.ui.rejectButton.click()
    assert len(tracklets(found)) == 2 and "points" in tracklets(found)[0]


def test_propagate_at_once_needs_no_click(shown):
    shown.ui.propagateAtOnceBox.checked = True
    draw(shown, 12, (10, 20), (30, 44))
    assert shown.logic.propagated is not None and shown.logic.previews == []
    shown.ui.propagateAtOnceBox.checked = False


def test_no_prompts_are_given_during_a_run(found):
    found.ui.pointButton.checked = True
    found.boxes.tree.select(2)
    found.boxes.table.reject([1])
    found.boxes.refresh()
    found.ui.propagateButton.click()
    assert not found.ui.pointButton.checked and not found.ui.pointButton.enabled
    before = found.boxes.table.to_text()
    click(found.boxes.volume, (20, 20, 12))
    found.ui.emptyButton.click()
    assert found.boxes.table.to_text() == before


KEYS = {
    "E": "editButton",
    "N": "uncertainButton",
    "P": "propagateButton",
    "S": "seedButton",
    "X": "emptyButton",
}


@pytest.mark.parametrize("key", KEYS)
def test_keys_click_their_buttons_wherever_the_focus_is_while_the_module_is_open(found, panel, key):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    found.boxes.tree.select(2)
    found.boxes.table.reject([3])
    found.boxes.table.confidence = [{"slice": 12, "confidence": 0.1, "reason": "box and mask disagree"}]
    found.confidence.update()
    found.boxes.refresh()
    clicked = []
    getattr(found.ui, KEYS[key]).connect("clicked(bool)", lambda *_: clicked.append(key))
    QTest.keyClick(found.ui.applyButton, getattr(qt.Qt, f"Key_{key}"))
    assert clicked == [key]
    assert f" {key}" in getattr(found.ui, KEYS[key]).toolTip or key == "P", "the tool tip names it"
    panel.exit()
    QTest.keyClick(found.ui.applyButton, getattr(qt.Qt, f"Key_{key}"))
    panel.enter()
    assert clicked == [key]


def test_b_is_left_to_the_slice_views(found, panel):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    QTest.keyClick(found.ui.boxTree, qt.Qt.Key_B)
    assert found.ui.drawBoxButton.checked
    outside = next(one for one in found.prompts._keys._shortcuts if one.key.toString() == "B")
    assert outside.context == qt.Qt.WidgetWithChildrenShortcut


def test_typing_into_a_field_of_the_panel_is_no_key(found, panel):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    field = qt.QLineEdit(found.ui.boxesButton)
    field.show()
    field.setFocus()
    QTest.keyClicks(field, "px")
    assert field.text == "px" and found.logic.propagated is None and "empty" not in tracklets(found)[0]


def test_accepting_a_slice_ends_the_doubt_and_is_a_step(found, panel):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    doubt = {"slice": 12, "confidence": 0.1, "reason": "box and mask disagree"}
    found.boxes.table.confidence = [doubt]
    found.confidence.update()
    found.ui.uncertainButton.click()
    QTest.keyClick(found.ui.applyButton, qt.Qt.Key_A)
    assert found.confidence.strip.uncertain == [] and not found.ui.uncertainButton.enabled
    found.ui.undoStepButton.click()
    assert found.confidence.strip.uncertain == [12]


def test_choosing_a_tool_loads_the_model_before_the_first_prompt(ready):
    ready.ui.drawBoxButton.checked = True
    assert ready.logic.warmed == ["glioma"]
    ready.ui.drawBoxButton.checked = False
    assert ready.logic.warmed == ["glioma"]
