"""The Boxes part of the panel: rows, ticks, the slider, edits, and what is propagated."""

import time

import pytest

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]

SLICE, LABEL, SCORE, NOTE, ACCEPTED = range(5)


def rows(tree):
    """Text of each row, group by group: `{"Object 1": [[slice, label, score, note], ...]}`."""
    groups = {}
    for n in range(tree.topLevelItemCount):
        group = tree.topLevelItem(n)
        children = [group.child(m) for m in range(group.childCount())]
        groups[group.text(SLICE)] = [[item.text(column) for column in range(4)] for item in children]
    return groups


def row(tree, slice_text):
    """The row of a slice."""
    for n in range(tree.topLevelItemCount):
        group = tree.topLevelItem(n)
        for m in range(group.childCount()):
            if group.child(m).text(SLICE) == slice_text:
                return group.child(m)
    raise AssertionError(slice_text)


def choose(done, slice_text):
    done.ui.boxTree.setCurrentItem(row(done.ui.boxTree, slice_text))


def tick(item, checked):
    import qt

    item.setCheckState(ACCEPTED, qt.Qt.Checked if checked else qt.Qt.Unchecked)


def test_boxes_are_grouped_by_object_with_seed_and_gap(done):
    assert rows(done.ui.boxTree) == {
        "Object 1": [
            ["10", "", "0.90", "seed"],
            ["11", "no box", "", "gap"],
            ["12", "", "0.80", ""],
        ],
        "Object 2": [["20", "", "0.60", "seed"]],
        "Other boxes": [["30", "", "0.55", ""]],
    }
    assert done.ui.boxHintLabel.text == "2 objects from 3 boxes; 1 not used."


def test_ignored_box_has_one_row_that_says_so(done, slicer_app):
    tick(row(done.ui.boxTree, "12"), False)
    boxes = [a_box(10 + n, 10 + n, 0.9, at=40.0) for n in (0, 1, 2, 4)]
    done.boxes.table.receive_boxes(boxes)
    done.boxes.table.receive_tracklets([a_tracklet([10, 11, 12, 14], 10)])
    done.boxes.table.reject([12])
    done.boxes.refresh()
    assert rows(done.ui.boxTree)["Object 1"] == [
        ["10", "", "0.90", "seed"],
        ["11", "", "0.90", ""],
        ["12", "", "0.90", "ignored"],
        ["13", "no box", "", "gap"],
        ["14", "", "0.90", ""],
    ]


def test_box_by_hand_has_no_score_of_the_detector(done):
    done.boxes.table.edit(1, [0, 9, 0, 9, 10, 11])
    done.boxes.table.add(20, [0, 9, 0, 9, 20, 21], 1, done.boxes.table.objects()[1])
    done.boxes.refresh()
    assert rows(done.ui.boxTree)["Object 1"][0] == ["10", "", "", "seed, drawn"]
    assert done.ui.boxTree.topLevelItem(0).text(SCORE) == "0.80"


def test_boxes_that_still_come_in_are_neither_ticked_nor_refused(running, slicer_app):
    import qt

    for number in range(3):
        running.logic.listener.on_boxes([a_box(number + 1, 10 + number, 0.9)])
    running.logic.listener.on_boxes([a_box(4, 13, 0.1)])
    slicer_app.processEvents()
    item = running.ui.boxTree.topLevelItem(0)
    assert item.data(ACCEPTED, qt.Qt.CheckStateRole) is None
    assert item.child(0).data(ACCEPTED, qt.Qt.CheckStateRole) is None
    assert running.ui.boxHintLabel.text.startswith("3 boxes found so far,")


def test_rows_sort_by_number_and_not_by_letter(done):
    import qt

    boxes = [a_box(10 + n, 98 + n, 0.9, at=40.0) for n in range(5)]
    done.boxes.table.receive_boxes(boxes)
    done.boxes.table.receive_tracklets([a_tracklet(range(10, 15), 100)])
    done.boxes.refresh()
    assert [line[0] for line in rows(done.ui.boxTree)["Object 1"]] == ["98", "99", "100", "101", "102"]
    done.ui.boxTree.sortByColumn(SLICE, qt.Qt.DescendingOrder)
    done.boxes.refresh()
    assert [line[0] for line in rows(done.ui.boxTree)["Object 1"]] == ["102", "101", "100", "99", "98"]


def test_boxes_appear_while_the_run_goes_on(running, slicer_app):
    running.logic.listener.on_boxes([a_box(1, 10, 0.9)])
    slicer_app.processEvents()
    assert rows(running.ui.boxTree) == {"Found": [["10", "", "0.90", ""]]}
    assert not running.ui.rejectButton.enabled


def test_unticked_box_is_left_out_when_propagating_again(done, slicer_app):
    assert not done.ui.propagateButton.enabled
    tick(row(done.ui.boxTree, "12"), False)
    slicer_app.processEvents()
    assert done.ui.propagateButton.enabled
    done.ui.propagateButton.click()
    boxes, tracklets = done.logic.propagated
    assert [box["id"] for box in boxes] == [1, 3]
    assert [one["boxes"] for one in tracklets] == [[1], [3]]
    request = done.logic.request
    assert (request.plane, request.slices) == ("axial", (0, 39))


def test_table_stays_as_it_is_through_propagating_again(done, slicer_app):
    tick(row(done.ui.boxTree, "12"), False)
    slicer_app.processEvents()
    done.ui.propagateButton.click()
    done.logic.tell_started()
    done.logic.listener.on_tracklets([a_tracklet([1], 10), a_tracklet([3], 20)])
    done.logic.tell_finished()
    assert [line[0] for line in rows(done.ui.boxTree)["Object 1"]] == ["10", "12"]
    assert not done.ui.propagateButton.enabled


def test_propagation_that_was_cancelled_can_be_done_again(done, slicer_app):
    tick(row(done.ui.boxTree, "12"), False)
    slicer_app.processEvents()
    done.ui.propagateButton.click()
    done.logic.tell_started()
    done.logic.tell_finished("cancelled", "Cancelled.")
    assert done.ui.propagateButton.enabled


def test_untick_of_an_object_rejects_all_its_boxes(done, slicer_app):
    import qt

    tick(done.ui.boxTree.topLevelItem(0), False)
    slicer_app.processEvents()
    assert done.boxes.table.propagation()[1] == [{"label": 1, "seed": 20, "boxes": [3]}]
    tick(row(done.ui.boxTree, "10"), True)
    slicer_app.processEvents()
    assert done.ui.boxTree.topLevelItem(0).checkState(ACCEPTED) == qt.Qt.PartiallyChecked


def test_reject_button_rejects_and_takes_back(done):
    choose(done, "12")
    assert done.ui.rejectButton.text == "Ignore"
    done.ui.rejectButton.click()
    assert [box["id"] for box in done.boxes.table.propagation()[0]] == [1, 3]
    assert done.ui.rejectButton.text == "Use"
    done.ui.rejectButton.click()
    assert [box["id"] for box in done.boxes.table.propagation()[0]] == [1, 2, 3]


def test_delete_key_rejects_the_selected_box(done, panel):
    import qt
    from PySide6.QtTest import QTest

    panel.show()
    choose(done, "12")
    done.ui.boxTree.setFocus()
    QTest.keyClick(done.ui.boxTree, qt.Qt.Key_Delete)
    assert [box["id"] for box in done.boxes.table.propagation()[0]] == [1, 3]


def test_selected_row_stays_in_sight_when_rows_come_above_it(done, panel):
    boxes = [a_box(100 + n, n, 0.3 if n < 20 else 0.9, at=40.0) for n in range(40)]
    done.boxes.table.receive_boxes(boxes)
    done.boxes.table.receive_tracklets([a_tracklet(range(120, 140), 30)])
    done.boxes.refresh()
    panel.show()
    choose(done, "25")
    tree = done.ui.boxTree
    tree.scrollToItem(tree.currentItem())
    done.boxes.table.receive_tracklets([a_tracklet(range(100, 140), 30)])
    done.boxes.refresh()
    assert tree.currentItem().text(SLICE) == "25"
    assert tree.viewport().rect.intersects(tree.visualItemRect(tree.currentItem()))


def test_slider_filters_at_once_and_then_asks_the_engine(done, slicer_app, wait_until):
    done.ui.thresholdSlider.value = 0.7
    slicer_app.processEvents()
    assert list(rows(done.ui.boxTree)) == ["Object 1"]
    assert done.logic.links == []
    done.ui.thresholdSlider.value = 0.5
    wait_until(lambda: done.logic.links, 2)
    assert len(done.logic.links) == 1
    boxes, threshold, answer = done.logic.links[0]
    assert threshold == 0.5 and len(boxes) == 4
    answer([a_tracklet([1, 2], 10), a_tracklet([3], 20), a_tracklet([4], 30)])
    assert list(rows(done.ui.boxTree)) == ["Object 1", "Object 2", "Object 3"]
    assert done.parameters.threshold == 0.5


def test_reset_goes_back_to_the_models_own_threshold(done):
    done.ui.thresholdSlider.value = 0.7
    done.ui.thresholdResetButton.click()
    assert done.parameters.threshold is None
    assert done.boxes.table.threshold == done.inputs.model.threshold


def test_selection_edits_and_rejections_survive_a_slider_move(done, slicer_app, wait_until):
    done.boxes.table.edit(2, [5, 9, 5, 9, 12, 13])
    tick(row(done.ui.boxTree, "20"), False)
    slicer_app.processEvents()
    choose(done, "12")
    done.ui.thresholdSlider.value = 0.5
    wait_until(lambda: done.logic.links, 2)
    boxes, _, answer = done.logic.links[0]
    assert [box["id"] for box in boxes] == [1, 2, 4]
    answer([a_tracklet([1, 2], 10)])
    assert done.boxes.tree.selected_boxes() == [2]
    assert done.boxes.table[2].bounds[:4] == (5, 9, 5, 9)
    assert 3 not in [box["id"] for box in done.boxes.table.propagation()[0]]


def test_selected_object_stays_the_one_selected_row(done):
    done.ui.boxTree.setCurrentItem(done.ui.boxTree.topLevelItem(0))
    done.boxes.refresh()
    assert [item.text(SLICE) for item in done.ui.boxTree.selectedItems()] == ["Object 1"]
    assert done.boxes.tree.selected_boxes() == [1, 2]


def test_groups_stay_open_or_closed_through_a_slider_move(done, slicer_app):
    tree = done.ui.boxTree
    assert tree.topLevelItem(0).isExpanded() and not tree.topLevelItem(1).isExpanded()
    tree.topLevelItem(0).setExpanded(False)
    tree.topLevelItem(1).setExpanded(True)
    done.ui.thresholdSlider.value = 0.55
    slicer_app.processEvents()
    assert not tree.topLevelItem(0).isExpanded() and tree.topLevelItem(1).isExpanded()


def test_late_answer_of_the_engine_does_not_touch_a_new_runs_table(done, wait_until):
    done.ui.thresholdSlider.value = 0.5
    wait_until(lambda: done.logic.links, 2)
    answer = done.logic.links[0][2]
    done.ui.applyButton.click()
    done.logic.tell_started()
    before = done.boxes.table.to_text()
    answer([a_tracklet([1, 2], 10)])
    assert done.boxes.table.to_text() == before
    done.logic.listener.on_tracklets([])
    assert done.boxes.table.objects() == []


def test_chosen_seed_is_shown_and_sent(done):
    choose(done, "12")
    done.ui.seedButton.click()
    assert row(done.ui.boxTree, "12").text(NOTE) == "seed"
    assert done.boxes.table.propagation()[1][0]["seed"] == 12
    assert done.ui.propagateButton.enabled


def test_click_on_a_row_jumps_the_slice_views_there(done):
    from AutoMedSAMLib.scene import slice_views

    choose(done, "20")
    box = done.boxes.table[3]
    volume = done.boxes.volume
    for axis, edge in ((0, 4), (1, 2), (2, 0)):
        middle = (box.bounds[edge] + box.bounds[edge + 1]) / 2 - 0.5
        assert slice_views.current_slice(volume, axis) == round(middle)
    choose(done, "11")
    assert slice_views.current_slice(volume, 0) == 11


def test_selected_box_is_outlined_and_edit_gives_it_handles(done):
    choose(done, "12")
    assert not done.boxes.editor.is_editing
    assert done.boxes.editor.node is not None
    done.ui.editButton.click()
    assert done.boxes.editor.is_editing
    done.boxes.editor.node.SetSize(10, 12, 1)
    assert done.boxes.table[2].bounds == (15, 25, 14, 26, 12, 13)
    assert row(done.ui.boxTree, "12").text(NOTE) == "drawn"
    assert done.ui.propagateButton.enabled


def test_edit_is_saved_when_the_handle_is_let_go(done):
    import slicer

    choose(done, "12")
    done.ui.editButton.click()
    done.boxes.editor.node.SetSize(10, 12, 1)
    done.boxes.editor.node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert done.parameters.boxes == done.boxes.table.to_text()
    assert done.boxes.table[2].drawn


def test_box_added_in_a_gap_lies_between_its_neighbours(done):
    choose(done, "11")
    done.ui.addButton.click()
    assert row(done.ui.boxTree, "11").text(NOTE) == "drawn"
    assert done.boxes.table[5].bounds == (10, 30, 10, 30, 11, 12)
    assert done.boxes.table.objects()[0].gaps == ()
    assert done.boxes.editor.is_editing


def test_box_added_elsewhere_is_an_object_until_the_engine_says_otherwise(done, wait_until):
    from AutoMedSAMLib.scene import slice_views

    slice_views.jump_to_slice(done.boxes.volume, 0, 35)
    done.ui.addButton.click()
    box = done.boxes.table[5]
    assert box.slice == 35 and box.drawn
    assert [5] in [one["boxes"] for one in done.boxes.table.propagation()[1]]
    wait_until(lambda: done.logic.links, 2)
    assert 5 in [box["id"] for box in done.logic.links[0][0]]


def test_model_of_two_labels_asks_which_one_is_added(done):
    segments = [
        {"value": 1, "name": "Front", "color": (1, 0, 0), "terminology": ""},
        {"value": 2, "name": "Back", "color": (0, 1, 0), "terminology": ""},
    ]
    done.boxes._buttons.set_segments(segments)
    menu = done.ui.addButton.menu()
    assert [action.text for action in menu.actions()] == ["Front", "Back"]
    menu.actions()[1].trigger()
    assert done.boxes.table[5].label == 2


def test_each_row_names_its_label_where_there_are_several(done):
    group = done.ui.boxTree.topLevelItem(0)
    assert (group.text(LABEL), group.child(0).text(LABEL)) == ("Glioma, whole tumour", "")
    names = {1: "Front", 2: "Back"}
    segments = [{"value": value, "name": name, "color": (1, 0, 0)} for value, name in names.items()]
    done.boxes.tree.set_segments(segments)
    done.boxes.refresh()
    group = done.ui.boxTree.topLevelItem(0)
    assert (group.text(LABEL), group.child(0).text(LABEL)) == ("Front", "Front")


def test_boxes_of_another_volume_cannot_be_propagated(done, flair, slicer_app):
    other = flair("other")
    slicer_app.processEvents()
    done.boxes.table.reject([2])
    first = done.inputs.volume_selectors[0].currentNode()
    done.inputs.volume_selectors[0].setCurrentNode(other)
    assert not done.ui.propagateButton.enabled
    assert "another volume" in done.ui.propagateButton.toolTip
    done.inputs.volume_selectors[0].setCurrentNode(first)
    assert done.ui.propagateButton.enabled


def test_leaving_the_module_takes_the_box_out_of_the_views(done, panel, scene):
    choose(done, "12")
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 1
    panel.exit()
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    panel.enter()


def test_table_of_a_large_volume_fills_in_a_blink(done):
    boxes = [a_box(100 + n * 155 + k, k % 40, 0.9, at=20.0 * n) for n in range(6) for k in range(155)]
    done.boxes.table.receive_boxes(boxes)
    done.boxes.table.receive_tracklets([a_tracklet(range(100 + n * 155, 255 + n * 155), 20) for n in range(6)])
    seconds = []
    for _ in range(3):
        began = time.process_time()
        done.boxes.refresh()
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.05
    assert done.ui.boxTree.topLevelItemCount >= 6


@pytest.mark.parametrize("text", ["{", '{"format": 9}'])
def test_unreadable_table_in_a_scene_is_told_and_the_panel_works_on(done, text):
    done.parameters.boxes = text
    assert "cannot be read" in done.ui.statusLabel.text
    assert len(done.boxes.table) == 0
    assert done.ui.applyButton.enabled
