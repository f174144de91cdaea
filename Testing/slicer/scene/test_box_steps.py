"""Steps of the box table are undone and redone one by one, and a run never takes them along in silence."""

import numpy as np
import pytest

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]


def used(panel):
    """The numbers of the boxes that would be segmented."""
    return [box["id"] for box in panel.boxes.table.propagation()[0]]


def choose(panel, box_id):
    panel.boxes.tree.select(box_id)


def ignore(panel, box_id):
    choose(panel, box_id)
    panel.ui.rejectButton.click()


def find_other_boxes(panel):
    """A second run that finds one other box, up to where its boxes are linked."""
    panel.ui.applyButton.click()
    panel.logic.tell_started()
    panel.logic.listener.on_boxes([a_box(1, 5, 0.9)])
    panel.logic.listener.on_tracklets([a_tracklet([1], 5)])


def test_each_step_is_undone_and_redone_and_named(done):
    ui = done.ui
    assert not ui.undoStepButton.enabled and not ui.redoStepButton.enabled
    ignore(done, 2)
    choose(done, 1)
    done.boxes.table.edit(1, [0, 9, 0, 9, 10, 11])
    ui.seedButton.click()
    assert used(done) == [1, 3] and "seed" not in ui.redoStepButton.toolTip
    ui.undoStepButton.click()
    assert "ignore" in ui.undoStepButton.toolTip and ui.redoStepButton.enabled
    ui.undoStepButton.click()
    assert used(done) == [1, 2, 3] and not ui.undoStepButton.enabled
    ui.redoStepButton.click()
    assert used(done) == [1, 3]
    ignore(done, 3)
    assert not ui.redoStepButton.enabled, "a new step ends what could be redone"


def test_keys_undo_and_redo(done, panel):
    import qt
    from PySide6.QtTest import QTest

    panel.enter()
    panel.show()
    ignore(done, 2)
    QTest.keyClick(done.ui.boxTree, qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert used(done) == [1, 2, 3]
    QTest.keyClick(done.ui.boxTree, qt.Qt.Key_Z, qt.Qt.ControlModifier | qt.Qt.ShiftModifier)
    assert used(done) == [1, 3]
    # Qt takes Ctrl and Shift for held down until another key comes.
    choose(done, 1)
    assert done.boxes.tree.selected_boxes() == [1]
    QTest.keyClick(done.ui.boxTree, qt.Qt.Key_F1)


def test_a_slider_on_its_way_is_one_step(done, slicer_app):
    for value in (0.55, 0.6, 0.65, 0.7):
        done.ui.thresholdSlider.value = value
    slicer_app.processEvents()
    done.ui.undoStepButton.click()
    assert done.ui.thresholdSlider.value == pytest.approx(done.inputs.model.threshold, abs=5e-3)
    assert not done.ui.undoStepButton.enabled


def test_cancelling_while_detecting_keeps_boxes_and_corrections(done):
    ignore(done, 2)
    before = done.boxes.table.to_text()
    done.ui.applyButton.click()
    done.logic.tell_started()
    done.logic.listener.on_boxes([a_box(1, 5, 0.9)])
    done.logic.tell_finished("cancelled", "Cancelled before a slice was finished; nothing was changed.")
    assert done.boxes.table.to_text() == before and done.parameters.boxes == before
    assert done.ui.undoStepButton.enabled, "the correction can still be undone"


def test_a_double_click_on_apply_does_not_cancel(done, monkeypatch):
    from AutoMedSAMLib.panel import run_controls

    monkeypatch.setattr(run_controls, "_DOUBLE_CLICK_SECONDS", 0.5)
    done.run_panel._changed = -1e9
    done.ui.applyButton.click()
    done.ui.applyButton.click()
    assert done.logic.cancelled == 0
    done.run_panel._changed = -1e9
    done.ui.applyButton.click()
    assert done.logic.cancelled == 1


def test_undo_run_gives_the_table_back_and_is_a_step_itself(done):
    ignore(done, 2)
    find_other_boxes(done)
    done.logic.listener.on_slices([5])
    done.logic.tell_finished()
    ignore(done, 1)
    edited = done.boxes.table.to_text()
    done.ui.undoButton.click()
    assert used(done) == [1, 3]
    done.ui.undoStepButton.click()
    assert done.boxes.table.propagation() == ([], []) and edited, "what was done since the run is not lost"


def test_undo_run_after_a_cancelled_run_takes_back_the_run_that_wrote(done):
    find_other_boxes(done)
    done.logic.listener.on_slices([5])
    done.logic.tell_finished()
    done.ui.applyButton.click()
    done.logic.tell_started()
    done.logic.tell_finished("cancelled", "Cancelled before a slice was finished; nothing was changed.")
    assert used(done) == [1] and done.boxes.table[1].slice == 5
    done.ui.undoButton.click()
    assert used(done) == [1, 2, 3], "the table of before the run that is taken back"


def test_edits_by_hand_are_asked_for_before_a_run_is_undone(done, monkeypatch):
    from AutoMedSAMLib.panel import questions

    asked = []
    monkeypatch.setattr(questions, "ask", lambda text, *_: asked.append(text))
    done.logic.edits = 3
    done.ui.undoButton.click()
    assert "3 slices were edited by hand" in asked[0] and done.logic.can_undo


def test_nothing_ticked_is_propagated_only_if_that_was_meant(done, monkeypatch):
    from AutoMedSAMLib.panel import questions

    for box_id in (1, 2, 3):
        ignore(done, box_id)
    answers = iter([None, "empty"])
    monkeypatch.setattr(questions, "ask", lambda *_: next(answers))
    done.ui.propagateButton.click()
    assert done.logic.propagated is None
    done.ui.propagateButton.click()
    assert done.logic.propagated == ([], [])


def test_a_segment_deleted_by_hand_can_be_made_anew(done, slicer_app):
    assert not done.ui.propagateButton.enabled
    segments = done.parameters.segmentation.GetSegmentation()
    segments.RemoveSegment(segments.GetNthSegmentID(0))
    slicer_app.processEvents()
    assert done.ui.propagateButton.enabled
    assert "was deleted: this makes it again" in done.ui.propagateButton.toolTip


def test_an_edited_box_stays_with_its_object_when_the_slider_moves(done):
    done.boxes.table.edit(2, [0, 3, 0, 3, 12, 13])
    linked = {box["id"]: box["bounds"] for box in done.boxes.table.link_boxes()}
    assert linked[2] == a_box(2, 12)["bounds"], "it is linked where the detector found it"
    moved = {box["id"]: box["bounds"] for box in done.boxes.table.propagation()[0]}
    assert moved[2][:4] == [0, 3, 0, 3]


def test_the_output_follows_the_volume(done, flair, slicer_app):
    assert done.ui.segmentationSelector.currentNode().GetName() == "Result"
    other = flair("FLAIR of somebody else")
    slicer_app.processEvents()
    done.inputs.volume_selectors[0].setCurrentNode(other)
    slicer_app.processEvents()
    assert done.ui.segmentationSelector.currentNode() is None
    assert done.ui.segmentationSelector.noneDisplay == "New: FLAIR of somebody else glioma"
    done.ui.applyButton.click()
    assert done.logic.request.segmentation is None


@pytest.mark.parametrize(("answer", "replaces"), [("replace", True), ("beside", False), (None, None)])
def test_replacing_a_result_asks(done, monkeypatch, answer, replaces):
    from AutoMedSAMLib.panel import questions

    asked = []
    monkeypatch.setattr(questions, "ask", lambda text, *_: asked.append(text) or answer)
    done.logic.has_a_result, done.logic.request = True, None
    done.ui.applyButton.click()
    assert asked[0].startswith("Replace the result of FLAIR?")
    request = done.logic.request
    assert request is None if replaces is None else request.replace is replaces


def test_a_new_box_lies_where_one_looks(done):
    import slicer

    from AutoMedSAMLib.scene import slice_views
    from AutoMedSAMLib.scene.geometry import ijk_to_ras

    volume = done.boxes.volume
    slice_views.jump_to_slice(volume, 0, 33)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLCrosshairNode"
    )
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
    crosshair.SetCrosshairRAS(*(ijk_to_ras(volume) @ [20, 30, 33, 1])[:3])
    done.boxes.tree._tree.clearSelection()
    done.ui.addButton.click()
    box = max((done.boxes.table.get(n) for n in range(1, 9) if done.boxes.table.get(n)), key=lambda one: one.id)
    middle = [(box.bounds[2 * n] + box.bounds[2 * n + 1]) / 2 for n in range(2)]
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)
    assert box.slice == 33 and np.allclose(middle, [20.5, 30.5])
    assert 2 <= box.bounds[1] - box.bounds[0] < 15
