"""The status line: what it says ends with its cause, and nothing below it moves."""

import pytest

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]


def test_panel_below_does_not_move_with_the_sentence(ready, panel, slicer_app):
    panel.show(440, 900)
    places = set()
    for sentence in ("", "Short.", "A sentence of two lines, " * 3, "A sentence of three lines, " * 4):
        ready.run_panel.show_status(sentence)
        slicer_app.processEvents()
        places.add(ready.ui.boxesButton.y)
    assert len(places) == 1


def test_task_of_a_model_is_shown_whole(ready, panel, slicer_app):
    ready.ui.modelTaskLabel.text = "Enhancing tumour, necrosis and oedema of a glioma in four skull-stripped sequences"
    panel.show(440, 700)
    slicer_app.processEvents()
    label = ready.ui.modelTaskLabel
    assert label.height >= label.heightForWidth(label.width)


def test_sentence_about_a_slice_goes_when_another_is_looked_at(running):
    from AutoMedSAMLib.scene import slice_views

    for box in (a_box(1, 10), a_box(2, 12)):
        running.logic.listener.on_boxes([box])
    running.logic.listener.on_tracklets([a_tracklet([1, 2], 10)])
    running.logic.tell_finished(confidence=[{"slice": 11, "confidence": 0.1, "reason": "box and mask disagree"}])
    running.ui.uncertainButton.click()
    assert running.ui.statusLabel.text.startswith("Slice 11:")
    slice_views.jump_to_slice(running.boxes.volume, 0, 30)
    assert running.ui.statusLabel.text == ""


def test_why_a_run_was_stopped_stays_beside_what_is_missing(running, scene, slicer_app):
    scene.RemoveNode(running.parameters.volume(0))
    running.logic.tell_finished("cancelled", "The volume was deleted, so the run was stopped.")
    slicer_app.processEvents()
    assert running.ui.statusLabel.text == (
        "The volume was deleted, so the run was stopped. Load a FLAIR image first: drop it on the window."
    )


def test_next_scene_shows_nothing_of_the_last_run(done, scene, slicer_app):
    assert done.ui.detailsText.plainText
    scene.Clear(False)
    slicer_app.processEvents()
    assert done.ui.detailsText.plainText == "" and not done.ui.detailsButton.enabled
    assert done.ui.statusLabel.text == "Load a FLAIR image first: drop it on the window."


@pytest.mark.parametrize("sentence", ["", "Found 2 objects."])
def test_missing_input_gives_way_to_a_status_message(ready, slicer_app, sentence):
    ready.run_panel.show_status(sentence)
    volume = ready.parameters.volume(0)
    ready.inputs.volume_selectors[0].setCurrentNode(None)
    assert ready.ui.statusLabel.text == "Choose the FLAIR volume."
    ready.inputs.volume_selectors[0].setCurrentNode(volume)
    assert ready.ui.statusLabel.text == ""
