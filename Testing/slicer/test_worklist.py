"""The worklist over the real engine: cases of a cohort are opened, corrected and saved; a folder becomes a cohort."""

import numpy as np
import pytest
import SimpleITK as sitk

from runs import labels_in

SECONDS = 120


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two heads, of which one is mirrored and lies elsewhere."""
    from phantoms import two_lesions

    folder = tmp_path_factory.mktemp("study")
    head, _ = two_lesions()
    image = head.to_image(head.array)
    sitk.WriteImage(image, str(folder / "anna_flair.nii.gz"))
    moved = sitk.GetImageFromArray(head.array[:, :, ::-1].copy())
    moved.SetSpacing(head.spacing)
    moved.SetOrigin((30.0, -20.0, 7.5))
    sitk.WriteImage(moved, str(folder / "berta_flair.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    """The output folder of a cohort of them, made by the command line."""
    from typer.testing import CliRunner

    from automedsam.cli.app import app

    folder = tmp_path_factory.mktemp("out") / "results"
    ran = CliRunner().invoke(app, ["cohort", str(study), "-o", str(folder), "--workers", "1"])
    assert ran.exit_code == 0, ran.output
    return folder


@pytest.fixture
def widget(module_widget):
    return module_widget.widget


@pytest.fixture
def listed(widget, results, wait_until):
    """The panel with the worklist filled."""
    widget.worklist.open_folder(results)
    wait_until(lambda: widget.worklist.cases, SECONDS)
    return widget


def open_case(widget, name, wait_until):
    widget.worklist.open_case(name)
    wait_until(lambda: widget.worklist.shown == name and not widget.logic.is_running, SECONDS)
    wait_until(lambda: widget.ui.saveCaseButton.enabled, SECONDS)


def rows(widget):
    tree = widget.ui.worklistTree
    return [[tree.topLevelItem(n).text(column) for column in range(4)] for n in range(tree.topLevelItemCount)]


def stored(folder, name):
    """Labels (K, J, I) of a case's file."""
    from automedsam.io.segmentation_reader import read_labels

    return read_labels(folder / "segmentations" / f"{name}.seg.nrrd").mask(0)


def shown(widget):
    volume, segmentation = widget.parameters.volume(0), widget.parameters.segmentation
    ids = {1: segmentation.GetSegmentation().GetNthSegmentID(0)}
    return labels_in(segmentation, volume, ids) > 0


def test_cases_are_listed_and_open_with_their_boxes_in_their_place(listed, results, study, wait_until):
    assert [row[0] for row in rows(listed)] and {row[1] for row in rows(listed)} == {"not reviewed"}
    assert "2 cases, 2 not reviewed" in listed.ui.statusLabel.text
    for name in ("anna", "berta"):
        open_case(listed, name, wait_until)
        volume = listed.parameters.volume(0)
        image = sitk.ReadImage(str(study / f"{name}_flair.nii.gz"))
        i, j, k = 40, 50, 6
        x, y, z = image.TransformIndexToPhysicalPoint((i, j, k))
        from runs import ijk_to_ras

        assert (ijk_to_ras(volume) @ [i, j, k, 1])[:3] == pytest.approx([-x, -y, z], abs=1e-3)
        assert stored(results, name).any()
        np.testing.assert_array_equal(shown(listed), stored(results, name))
        assert len(listed.boxes.table.objects()) >= 2
        assert listed.ui.statusLabel.text.startswith("Found ")
        # What was opened can be corrected as after a run.
        group = listed.boxes.table.objects()[0]
        listed.boxes.table.reject(box.id for box in group.boxes)
        listed.boxes.refresh()
        assert listed.ui.propagateButton.enabled


def test_a_corrected_case_is_saved_and_the_next_one_opens(listed, results, scene, wait_until):
    import slicer

    before = stored(results, "anna").copy()
    open_case(listed, "anna", wait_until)
    segmentation, volume = listed.parameters.segmentation, listed.parameters.volume(0)
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    edited = before.copy()
    edited[10:14, 100:120, 90:110] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), segmentation, segment, volume)
    listed.ui.saveCaseButton.click()
    wait_until(lambda: listed.ui.statusLabel.text.startswith("Saved:"), SECONDS)
    np.testing.assert_array_equal(stored(results, "anna"), edited)
    assert [row[0] for row in rows(listed)] == ["berta"]
    listed.ui.nextCaseButton.click()
    wait_until(lambda: listed.worklist.shown == "berta" and not listed.logic.is_running, SECONDS)
    # The saved case has left the scene.
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert not scene.IsNodePresent(volume) and not scene.IsNodePresent(segmentation)
    # The review page sees it.
    from automedsam.review.results import Results

    decisions = {one["name"]: one["decision"] for one in Results(results).summary()["cases"]}
    assert decisions == {"anna": "accept", "berta": ""}


def test_what_was_not_saved_stays_in_the_scene(listed, scene, wait_until):
    listed.ui.worklistFilter.currentIndex = 2
    open_case(listed, "anna", wait_until)
    listed.worklist.cases = [{**one, "decision": ""} for one in listed.worklist.cases]
    volume, segmentation = listed.parameters.volume(0), listed.parameters.segmentation
    open_case(listed, "berta", wait_until)
    assert scene.IsNodePresent(volume) and scene.IsNodePresent(segmentation)


def test_decisions_are_saved_and_filter_the_list(listed, results, wait_until):
    listed.ui.worklistFilter.currentIndex = 2
    tree = listed.ui.worklistTree
    item = next(tree.topLevelItem(n) for n in range(tree.topLevelItemCount) if tree.topLevelItem(n).text(0) == "berta")
    item.setSelected(True)
    listed.ui.fixCaseButton.click()
    wait_until(lambda: listed.ui.statusLabel.text.startswith("Saved: berta, to fix"), SECONDS)
    listed.ui.worklistFilter.currentIndex = 1
    assert [row[:2] for row in rows(listed)] == [["berta", "to fix"]]
    from automedsam.review.results import Results

    assert Results(results).decisions.of("berta")["decision"] == "fix"


def test_a_folder_becomes_a_cohort_and_a_worklist(widget, study, tmp_path, wait_until):
    out = tmp_path / "new"
    widget.worklist.run_on(study, out)
    assert widget.ui.applyButton.text == "Cancel" and not widget.ui.openWorklistButton.enabled
    wait_until(lambda: widget.worklist.cases, SECONDS)
    assert {row[0] for row in rows(widget)} == {"anna", "berta"}
    assert widget.ui.applyButton.text == "Apply" and widget.ui.openWorklistButton.enabled
    assert (out / "cohort.csv").is_file()


def test_a_cohort_is_stopped_and_what_is_done_stays(widget, study, tmp_path, wait_until, monkeypatch):
    from AutoMedSAMLib.panel import run_controls

    monkeypatch.setattr(run_controls, "_DOUBLE_CLICK_SECONDS", 0.0)
    widget.worklist.run_on(study, tmp_path / "stopped")
    wait_until(lambda: "1 of 2" in widget.ui.statusLabel.text, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: not widget.cohorts.is_running, SECONDS)
    wait_until(lambda: widget.ui.applyButton.text == "Apply", SECONDS)
    widget.worklist.run_on(study, tmp_path / "stopped")
    wait_until(lambda: len(rows(widget)) == 2, SECONDS)


def test_a_folder_without_results_is_refused_in_one_sentence(widget, tmp_path, wait_until):
    widget.worklist.open_folder(tmp_path)
    wait_until(lambda: "is not the output folder of a cohort" in widget.ui.statusLabel.text, SECONDS)
    assert not widget.worklist.cases and not widget.ui.nextCaseButton.enabled


def test_all_images_of_the_scene_are_segmented_one_after_the_other(widget, add_volume, scene, wait_until):
    from phantoms import two_lesions

    head, _ = two_lesions()
    names = ["anna FLAIR", "berta FLAIR"]
    for name in names:
        add_volume(head.array, name=name)
    add_volume(head.array, name="anna T1")
    widget.worklist.scene_action.trigger()
    wait_until(lambda: "2 of 2 images" in widget.ui.statusLabel.text, SECONDS)
    results = [node.GetName() for node in (scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode") for n in range(2))]
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    assert all(name in result for name, result in zip(names, results, strict=True))
    table = scene.GetFirstNodeByClass("vtkMRMLTableNode").GetTable()
    column = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert column == ["image", "state", "objects", "Glioma, whole tumour (ml)", "warnings"]
    assert [table.GetValue(n, 0).ToString() for n in range(2)] == names
    assert all(float(table.GetValue(n, 3).ToString()) > 1 for n in range(2))
    # Again there is nothing to do.
    widget.worklist.scene_action.trigger()
    assert widget.ui.statusLabel.text.startswith("Every FLAIR image of the scene has a result")


def test_cancel_ends_the_images_of_the_scene_too(widget, add_volume, scene, wait_until, monkeypatch):
    from phantoms import two_lesions

    from AutoMedSAMLib.panel import run_controls

    monkeypatch.setattr(run_controls, "_DOUBLE_CLICK_SECONDS", 0.0)
    head, _ = two_lesions()
    for name in ("anna FLAIR", "berta FLAIR"):
        add_volume(head.array, name=name)
    widget.worklist.scene_action.trigger()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: not widget.logic.is_running and not widget.scene_runs.is_active, SECONDS)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") <= 1
