"""Where results go: each patient's into one of its own, and what is seen when a result is changed elsewhere."""

from recorded_logic import a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]


def test_next_patient_that_chooses_itself_gets_an_output_of_its_own(done, scene, flair, slicer_app):
    result = done.ui.segmentationSelector.currentNode()
    scene.RemoveNode(done.parameters.volume(0))
    slicer_app.processEvents()
    flair("FLAIR")
    slicer_app.processEvents()
    assert done.parameters.volume(0).GetName() == "FLAIR"
    assert done.ui.segmentationSelector.currentNode() is None
    done.ui.applyButton.click()
    assert done.logic.request.segmentation is None and scene.IsNodePresent(result)


def test_volume_chosen_by_a_script_gets_an_output_of_its_own(done, flair, slicer_app):
    done.parameters.set_volume(0, flair("another"))
    slicer_app.processEvents()
    assert done.ui.segmentationSelector.currentNode() is None


def test_same_volume_chosen_again_keeps_the_output(done, slicer_app):
    done.parameters.set_volume(0, done.parameters.volume(0))
    slicer_app.processEvents()
    assert done.ui.segmentationSelector.currentNode().GetName() == "Result"


def test_back_at_the_first_patient_the_output_is_a_new_one(done, flair, slicer_app):
    first, other = done.parameters.volume(0), flair("other")
    for volume in (other, first):
        slicer_app.processEvents()
        done.inputs.volume_selectors[0].setCurrentNode(volume)
    slicer_app.processEvents()
    assert done.ui.segmentationSelector.currentNode() is None
    assert done.ui.segmentationSelector.noneDisplay == "New: FLAIR glioma"


def test_corrections_go_into_the_result_that_they_correct(done, flair, slicer_app):
    """Also after another patient was looked at in between, and whatever the selector shows."""
    first, other = done.parameters.volume(0), flair("other")
    slicer_app.processEvents()
    result = done.parameters.segmentation
    for volume in (other, first):
        done.inputs.volume_selectors[0].setCurrentNode(volume)
        slicer_app.processEvents()
    done.boxes.table.reject([2])
    done.boxes.refresh()
    done.ui.propagateButton.click()
    assert done.logic.request.segmentation is result


def test_another_model_gets_an_output_of_its_own(done, slicer_app):
    done.ui.modelSelector.currentIndex = 1
    done.ui.modelSelector.activated.emit(1)
    slicer_app.processEvents()
    assert done.ui.segmentationSelector.currentNode() is None
    assert done.ui.segmentationSelector.noneDisplay == "New: FLAIR hippocampus"


def test_result_that_the_segment_editor_has_undone_is_noticed(done, slicer_app):
    import slicer

    node = done.parameters.segmentation
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    for number in range(2):
        done.ui.applyButton.click()
        run = done.logic.tell_started()
        run.provenance["run"] = f"run {number}"
        done.logic.listener.on_boxes([a_box(1, 10, 0.9)])
        done.logic.listener.on_tracklets([a_tracklet([1], 10)])
        done.logic.tell_finished()
    assert not done.ui.propagateButton.enabled
    assert history.RestorePreviousState()
    slicer_app.processEvents()
    assert done.ui.propagateButton.enabled
    assert "now show another result" in done.ui.propagateButton.toolTip


def test_segmentation_that_was_deleted_can_be_made_anew(done, scene, slicer_app):
    scene.RemoveNode(done.parameters.segmentation)
    slicer_app.processEvents()
    assert done.ui.propagateButton.enabled
    assert "was deleted" in done.ui.propagateButton.toolTip
