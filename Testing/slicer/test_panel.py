"""The panel: what a person sees and clicks, from the choice of a model to the end of a run."""

from dataclasses import replace

import numpy as np
import pytest
from built_in import BUILT_IN_NAMES, int8_copy

from recorded_logic import RecordedLogic, a_box, a_tracklet

pytest_plugins = ["panel_fixtures"]


def test_opening_the_panel_computes_and_installs_nothing(panel):
    import slicer

    assert panel.widget.logic.request is None
    assert panel.widget.logic.links == []
    assert slicer.packaging.asked == []


def test_apply_says_what_is_missing_until_it_is_there(panel, flair, slicer_app):
    ui = panel.widget.ui
    assert not ui.applyButton.enabled
    assert ui.statusLabel.text == ui.applyButton.toolTip == "Load a FLAIR image first: drop it on the window."
    flair()
    slicer_app.processEvents()
    assert ui.applyButton.enabled
    assert ui.statusLabel.text == ""
    panel.widget.inputs.volume_selectors[0].setCurrentNode(None)
    assert not ui.applyButton.enabled
    assert ui.statusLabel.text == "Choose the FLAIR volume."


def test_image_that_is_loaded_is_chosen_by_itself(ready):
    assert ready.inputs.volume_selectors[0].currentNode().GetName() == "FLAIR"


def test_among_several_images_the_one_named_like_the_modality_is_chosen(panel, flair, slicer_app):
    flair("T1")
    flair("patient flair 2")
    panel.widget.parameters.set_volume(0, None)
    slicer_app.processEvents()
    panel.widget.inputs.choose_defaults()
    assert panel.widget.parameters.volume(0).GetName() == "patient flair 2"


def test_label_maps_are_not_offered_as_images(panel, scene):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "FLAIR labels")
    assert panel.widget.inputs.volume_selectors[0].nodeCount() == 0


def test_model_names_its_modality_and_says_what_it_finds(panel):
    ui = panel.widget.ui
    names = [ui.modelSelector.itemText(n) for n in range(ui.modelSelector.count)]
    assert names == BUILT_IN_NAMES
    assert "glioma" in ui.modelTaskLabel.text
    ui.modelSelector.currentIndex = 1
    ui.modelSelector.activated.emit(1)
    assert panel.widget.parameters.model == "hippocampus"
    assert "ippocamp" in ui.modelTaskLabel.text
    label = ui.inputsForm.labelForField(panel.widget.inputs.volume_selectors[0])
    assert label.text == f"{panel.widget.inputs.model.modalities[0]}:"


def test_folder_that_is_no_model_is_told_and_changes_nothing(panel, tmp_path):
    panel.widget.inputs.use_model_folder(tmp_path)
    assert "bundle.json" in panel.widget.ui.statusLabel.text
    assert panel.widget.parameters.model == "glioma"


def test_model_of_ones_own_can_be_used(panel, tmp_path):
    import shutil

    from AutoMedSAMLib.model.bundle_info import BUILT_IN

    shutil.copytree(BUILT_IN / "glioma", tmp_path / "mine")
    shutil.copytree(BUILT_IN / "segmenters", tmp_path / "segmenters")
    panel.widget.inputs.use_model_folder(tmp_path / "mine")
    assert panel.widget.parameters.model == str(tmp_path / "mine")
    assert panel.widget.inputs.model.folder == tmp_path / "mine"
    assert panel.widget.ui.modelSelector.count == len(BUILT_IN_NAMES) + 1


def test_model_that_is_gone_is_never_replaced_by_another(ready, tmp_path):
    ready.parameters.model = str(tmp_path / "gone")
    assert "gone" in ready.ui.statusLabel.text
    assert not ready.ui.applyButton.enabled
    assert ready.inputs.model is None
    ready.ui.modelSelector.currentIndex = 0
    ready.ui.modelSelector.activated.emit(0)
    assert ready.ui.applyButton.enabled


def test_model_of_two_modalities_asks_for_both_in_its_order(module, scene, monkeypatch, flair, slicer_app):
    from AutoMedSAMLib import widget
    from AutoMedSAMLib.model.bundle_info import find_model

    both = replace(find_model("glioma"), modalities=("T1", "FLAIR"))
    monkeypatch.setattr(RecordedLogic, "models", lambda _self: [both])
    monkeypatch.setattr(widget, "AutoMedSAMLogic", RecordedLogic)
    opened = module.open_panel()
    for name in ("FLAIR of today", "T1 of today"):
        flair(name)
    slicer_app.processEvents()
    form = opened.widget.ui.inputsForm
    selectors = opened.widget.inputs.volume_selectors
    assert [form.labelForField(selector).text for selector in selectors] == ["T1:", "FLAIR:"]
    opened.widget.ui.applyButton.click()
    assert [node.GetName() for node in opened.widget.logic.request.volumes] == ["T1 of today", "FLAIR of today"]
    opened.close()


def test_device_is_asked_for_once_a_backend(module, monkeypatch, scene):
    from AutoMedSAMLib import widget
    from AutoMedSAMLib.model.bundle_info import find_model

    both = replace(find_model("glioma"), precisions=frozenset(("int8", "fp32")))
    monkeypatch.setattr(RecordedLogic, "models", lambda _self: [both])
    monkeypatch.setattr(widget, "AutoMedSAMLogic", RecordedLogic)
    opened = module.open_panel()
    logic, ui = opened.widget.logic, opened.widget.ui
    assert logic.devices == ["int8"]
    ui.backendSelector.currentIndex = 1
    assert logic.devices == ["int8", "fp32"]
    assert ui.deviceLabel.text == "CPU: fp32"
    opened.close()


def test_backend_without_its_files_cannot_be_applied(ready, tmp_path):
    ready.inputs.use_model_folder(int8_copy(tmp_path))
    ready.ui.backendSelector.currentText = "FP32"
    ready.ui.backendSelector.currentIndex = 1
    assert not ready.ui.applyButton.enabled
    assert "no FP32 files" in ready.ui.statusLabel.text
    assert ready.ui.deviceLabel.text == "Files not installed"


def test_what_is_chosen_is_what_is_asked_for(ready):
    ready.ui.planeSelector.currentIndex = 2
    ready.ui.slicesRange.setValues(5, 20)
    ready.ui.thresholdSlider.value = 0.3
    ready.ui.applyButton.click()
    request = ready.logic.request
    assert (request.backend, request.plane, request.slices, request.threshold) == ("int8", "coronal", (5, 20), 0.3)
    assert request.model.name == "glioma" and request.segmentation is None
    assert [volume.GetName() for volume in request.volumes] == ["FLAIR"]


def test_untouched_settings_leave_all_to_the_model_and_the_volume(ready):
    ready.ui.applyButton.click()
    request = ready.logic.request
    assert (request.plane, request.slices, request.threshold) == (None, None, None)


@pytest.mark.parametrize(("plane", "last"), [(1, 39), (2, 59), (3, 49)])
def test_slice_range_is_that_of_the_plane(ready, plane, last):
    ready.ui.planeSelector.currentIndex = plane
    assert ready.ui.slicesRange.maximum == last
    assert ready.parameters.slices is None


def test_thick_slices_name_their_plane_of_acquisition(panel, add_volume, slicer_app):
    add_volume(np.zeros((40, 12, 40), np.int16), np.diag([1.0, 4.0, 1.0, 1.0]), "FLAIR")
    slicer_app.processEvents()
    assert panel.widget.ui.planeSelector.itemText(0) == "As acquired (coronal)"
    assert panel.widget.ui.slicesRange.maximum == 11


def test_apply_becomes_cancel_and_the_settings_wait(running):
    ui = running.ui
    assert ui.applyButton.text == "Cancel" and ui.applyButton.enabled
    assert not ui.inputsButton.enabled
    running.logic.listener.on_progress(0.5, "Detecting slice 20 of 40, 2 s left")
    assert ui.progressBar.value == 50
    assert ui.statusLabel.text == "Detecting slice 20 of 40, 2 s left"
    ui.applyButton.click()
    assert running.logic.cancelled == 1
    assert not ui.applyButton.enabled
    running.logic.tell_finished("cancelled", "Cancelled: 12 slices are kept.")
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled
    assert ui.inputsButton.enabled
    assert ui.statusLabel.text == "Cancelled: 12 slices are kept."


def test_result_goes_into_the_same_segmentation_next_time(done):
    assert done.ui.segmentationSelector.currentNode().GetName() == "Result"
    done.ui.applyButton.click()
    assert done.logic.request.segmentation.GetName() == "Result"


def test_details_tell_millilitres_and_times(done):
    ui = done.ui
    assert ui.detailsButton.enabled and ui.detailsText.isHidden()
    ui.detailsButton.click()
    assert not ui.detailsText.isHidden()
    assert "Glioma, whole tumour: 23.46 ml" in ui.detailsText.plainText
    assert "detect 1.8 s" in ui.detailsText.plainText


def test_failure_is_one_sentence_and_its_details(running):
    running.logic.tell_finished("failed", "The engine ended.", details="Killed by signal 9")
    assert running.ui.statusLabel.text == "The engine ended."
    assert "signal 9" in running.ui.detailsText.plainText
    assert running.ui.applyButton.enabled


def test_run_that_is_refused_says_why_and_leaves_the_panel_free(ready):
    from AutoMedSAMLib.errors import AutoMedSAMError

    ready.logic.refusal = AutoMedSAMError("Harden the transform first.", "more")
    ready.ui.applyButton.click()
    assert ready.ui.statusLabel.text == "Harden the transform first."
    assert ready.ui.applyButton.text == "Apply" and ready.ui.applyButton.enabled
    assert ready.ui.inputsButton.enabled
    assert ready.ui.detailsText.plainText == "more"


def test_undo_takes_the_boxes_back_too(done):
    assert done.ui.undoButton.enabled
    assert len(done.boxes.table) == 4
    done.ui.undoButton.click()
    assert len(done.boxes.table) == 0
    assert done.parameters.boxes == ""
    assert not done.ui.undoButton.enabled


def test_closing_the_scene_during_a_run_cancels_it_and_writes_nothing_more(running, scene, slicer_app):
    listener = running.logic.listener
    listener.on_boxes([a_box(1, 9)])
    scene.Clear(False)
    assert running.logic.cancelled == 1
    listener.on_boxes([a_box(1, 10)])
    listener.on_tracklets([a_tracklet([1], 10)])
    listener.on_slices([10])
    running.logic.tell_finished("cancelled", "Cancelled.")
    slicer_app.processEvents()
    assert len(running.boxes.table) == 0
    assert running.parameters.boxes == ""
    assert running.parameters.segmentation is None
    assert not running.ui.applyButton.enabled
    assert running.ui.inputsButton.enabled


def test_next_scene_starts_with_the_defaults(done, scene, flair, slicer_app):
    done.ui.thresholdSlider.value = 0.9
    scene.Clear(False)
    slicer_app.processEvents()
    assert len(done.boxes.table) == 0 and done.ui.boxTree.topLevelItemCount == 0
    flair()
    slicer_app.processEvents()
    assert done.ui.applyButton.enabled
    assert done.ui.thresholdSlider.value == pytest.approx(done.inputs.model.threshold, abs=0.01)


def test_removed_volume_is_noticed(ready, scene, slicer_app):
    scene.RemoveNode(ready.parameters.volume(0))
    slicer_app.processEvents()
    assert not ready.ui.applyButton.enabled


@pytest.mark.parametrize("how", ["Connect", "Import"])
def test_saved_scene_reopens_as_it_was(done, scene, tmp_path, slicer_app, how):
    done.boxes.table.reject([3])
    done.boxes.save()
    done.ui.planeSelector.currentIndex = 1
    done.ui.slicesRange.setValues(3, 30)
    done.boxes.table.confidence = [{"slice": 12, "confidence": 0.2, "reason": "the area jumps"}]
    done.boxes.save()
    before = done.boxes.table.to_text()
    write_to(tmp_path / "FLAIR.nrrd", done.parameters.volume(0))
    path = str(tmp_path / "scene.mrml")
    scene.SetURL(path)
    assert scene.Commit(path)
    if how == "Import":
        scene.Clear(False)
        slicer_app.processEvents()
        assert len(done.boxes.table) == 0
    scene.SetURL(path)
    # Slicer opens a scene file with Connect, which clears and imports within one batch.
    getattr(scene, how)()
    slicer_app.processEvents()
    assert done.boxes.table.to_text() == before
    assert done.confidence.strip.uncertain == [12]
    assert done.ui.propagateButton.enabled
    assert done.ui.boxTree.topLevelItemCount == 3
    assert done.ui.planeSelector.currentIndex == 1
    assert (done.ui.slicesRange.minimumValue, done.ui.slicesRange.maximumValue) == (3, 30)
    assert done.logic.links == []


def test_box_table_of_a_scene_that_cannot_be_read_is_reported_in_one_sentence(ready, slicer_app):
    ready.parameters.boxes = "nonsense"
    slicer_app.processEvents()
    assert ready.ui.statusLabel.text == "The box table of this scene cannot be read: click Apply to make it again."
    assert len(ready.boxes.table) == 0 and ready.ui.applyButton.enabled


def write_to(path, volume):
    volume.AddDefaultStorageNode()
    volume.GetStorageNode().SetFileName(str(path))
    assert volume.GetStorageNode().WriteData(volume)


def test_another_panel_over_the_same_scene_shows_the_same(done, module):
    text = done.boxes.table.to_text()
    other = module.open_panel()
    assert other.widget.boxes.table.to_text() == text
    other.close()
    assert other.widget.logic.closed


def test_closed_panel_is_deaf(panel, scene, flair, slicer_app):
    extra = type(panel)(panel_module(panel))
    widget = extra.widget
    extra.close()
    flair()
    slicer_app.processEvents()
    widget.parameters.backend = "fp32"
    assert widget.logic.closed


def panel_module(_panel):
    import types

    import AutoMedSAM

    return types.SimpleNamespace(description=types.SimpleNamespace(name="AutoMedSAM"), python=AutoMedSAM)


def test_not_for_clinical_use_is_said_once(panel):
    import qt

    texts = [label.text for label in panel.window.findChildren(qt.QLabel)]
    assert sum("clinical" in text for text in texts) == 1


def test_everything_to_click_has_a_tool_tip(done):
    import qt

    for kind in (qt.QPushButton, qt.QToolButton, qt.QComboBox):
        for widget in done.ui.inputsButton.parentWidget().findChildren(kind):
            named = widget.objectName and not widget.objectName.startswith("qt_")
            assert not named or widget.toolTip, widget.objectName
