"""The panel over the real engine: what a person corrects in the box table is what the segmentation then shows."""

import numpy as np
import pytest

from runs import labels_in

SECONDS = 60


@pytest.fixture
def widget(module_widget, add_volume, slicer_app, wait_until):
    """The panel with a part of the phantom head chosen and checked."""
    from phantoms import two_lesions

    volume, _ = two_lesions()
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(volume.direction, (3, 3)) * volume.spacing
    matrix[:3, 3] = np.array([-1, -1, 1]) * volume.origin
    add_volume(volume.array, matrix, "FLAIR")
    slicer_app.processEvents()
    wait_until(lambda: module_widget.widget.warnings.are_known, SECONDS)
    return module_widget.widget


@pytest.fixture
def done(widget, wait_until):
    """The panel after Apply."""
    widget.ui.applyButton.click()
    # The image is compared with the training images first.
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert len(widget.boxes.table.objects()) >= 2, widget.ui.statusLabel.text
    return widget


def propagate(widget, wait_until):
    assert widget.ui.propagateButton.enabled, widget.ui.propagateButton.toolTip
    widget.ui.propagateButton.click()
    wait_until(lambda: not widget.logic.is_running, SECONDS)


def mask(widget):
    """The segmentation's voxels on the volume's grid (K, J, I)."""
    segmentation = widget.parameters.segmentation
    ids = {value + 1: one for value, one in enumerate(segmentation.GetSegmentation().GetSegmentIDs())}
    return labels_in(segmentation, widget.boxes.volume, ids) > 0


def middle_of(box):
    """Voxels in the inner half of a box, as slices of (K, J, I)."""
    low, high = np.array(box.bounds[0::2]), np.array(box.bounds[1::2])
    center, quarter = (low + high) / 2, (high - low) / 4
    return tuple(slice(int(c - q), int(np.ceil(c + q))) for c, q in zip(center[::-1], quarter[::-1], strict=True))


def seed_box(group):
    return next(box for box in group.boxes if box.slice == group.seed and box.id in group.accepted)


def test_rejected_object_is_gone_and_the_others_stay(done, wait_until):
    before = mask(done)
    kept, gone = done.boxes.table.objects()[:2]
    assert before[middle_of(seed_box(gone))].any()
    done.boxes.tree.select(seed_box(gone).id)
    done.ui.boxTree.setCurrentItem(done.ui.boxTree.currentItem().parent())
    done.ui.rejectButton.click()
    propagate(done, wait_until)
    after = mask(done)
    assert not after[middle_of(seed_box(gone))].any()
    there = middle_of(seed_box(kept))
    assert after[there].any() and (after[there] == before[there]).all()
    assert not (after & ~before).any()
    assert done.ui.propagateButton.toolTip.startswith("The segmentation shows these boxes already")


def test_object_taken_back_looks_as_it_did(done, wait_until):
    before = mask(done)
    ids = [box.id for box in done.boxes.table.objects()[1].boxes]
    done.boxes.table.reject(ids)
    done.boxes.refresh()
    propagate(done, wait_until)
    assert (mask(done) != before).any()
    done.boxes.table.accept(ids)
    done.boxes.refresh()
    propagate(done, wait_until)
    assert (mask(done) == before).all()


def test_box_drawn_by_hand_is_followed(done, wait_until):
    drawn = seed_box(done.boxes.table.objects()[1])
    done.boxes.table.reject(box.id for box in done.boxes.table.objects()[1].boxes)
    done.boxes.refresh()
    propagate(done, wait_until)
    done.boxes.table.add(drawn.slice, drawn.bounds, drawn.label)
    done.boxes._linker.link_soon()
    done.boxes.refresh()
    wait_until(lambda: not done.logic.is_running and linked(done), SECONDS)
    propagate(done, wait_until)
    assert mask(done)[middle_of(drawn)].any()


def linked(widget):
    """Whether the box that was drawn last belongs to an object of the engine's linking."""
    return any(group.boxes[-1].drawn for group in widget.boxes.table.objects())


def test_slider_and_engine_agree_on_the_objects(done, wait_until):
    scores = [group.score for group in done.boxes.table.objects()]
    done.ui.thresholdSlider.value = round(min(scores) + 0.02, 2)
    at_once = None
    asked = []
    original = done.logic.link

    def link(request, boxes, threshold, answer):
        def noted(tracklets):
            asked.append(tracklets)
            answer(tracklets)

        original(request, boxes, threshold, noted)

    done.logic.link = link
    at_once = [group.score for group in done.boxes.table.objects()]
    wait_until(lambda: asked, SECONDS)
    assert [group.score for group in done.boxes.table.objects()] == at_once
    assert len(at_once) < len(scores)


def test_undo_takes_the_run_back(done):
    assert mask(done).any()
    done.ui.undoButton.click()
    segmentation = done.parameters.segmentation
    assert segmentation is None or segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert len(done.boxes.table) == 0


@pytest.mark.parametrize("text", ["Detecting", "Segmenting"])
def test_scene_closed_in_the_middle_of_a_run_leaves_a_panel_that_works(widget, scene, wait_until, slicer_app, text):
    widget.ui.applyButton.click()
    wait_until(lambda: text in widget.ui.statusLabel.text, SECONDS)
    scene.Clear(False)
    wait_until(lambda: not widget.logic.is_running, 2)
    slicer_app.processEvents()
    assert len(widget.boxes.table) == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert widget.ui.applyButton.text == "Apply" and not widget.ui.applyButton.enabled


def test_cancel_keeps_what_is_finished_and_the_boxes(widget, wait_until):
    widget.ui.applyButton.click()
    wait_until(lambda: widget.confidence.strip._written, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: not widget.logic.is_running, 2)
    assert mask(widget).any()
    assert widget.boxes.table.objects()
    assert widget.ui.propagateButton.enabled


def apply(widget, wait_until):
    """Apply to the end; at once after a run, when a second click is taken for a double click, it would do nothing."""
    widget.run_panel._changed = -1e9
    widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)


def answer(monkeypatch, choice):
    """Answers every question of the panel."""
    from AutoMedSAMLib.panel import questions

    monkeypatch.setattr(questions, "ask", lambda *_: choice)


def erase_by_hand(widget, slices):
    """Empties slices of the result as the Segment Editor does."""
    import slicer

    node, volume = widget.parameters.segmentation, widget.boxes.volume
    edited = mask(widget).astype(np.uint8)
    edited[slices] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, node.GetSegmentation().GetNthSegmentID(0), volume)


def test_each_of_two_patients_with_the_same_name_and_grid_keeps_a_result(
    done, add_volume, scene, slicer_app, wait_until
):
    import slicer

    from runs import ijk_to_ras

    first, result, before = done.boxes.volume, done.parameters.segmentation, mask(done)
    mirrored = np.ascontiguousarray(slicer.util.arrayFromVolume(first)[:, :, ::-1])
    second = add_volume(mirrored, ijk_to_ras(first), first.GetName())
    slicer_app.processEvents()
    done.inputs.volume_selectors[0].setCurrentNode(second)
    wait_until(lambda: done.warnings.are_known, SECONDS)
    apply(done, wait_until)
    other = done.parameters.segmentation
    assert other is not result and mask(done).any() and (mask(done) != before).any()
    assert other.GetName() != result.GetName() and other.GetName().startswith("FLAIR glioma")
    ids = {1: result.GetSegmentation().GetNthSegmentID(0)}
    assert (labels_in(result, first, ids) == before).all()


def test_cancel_while_detecting_leaves_boxes_corrections_and_mask(done, monkeypatch, wait_until):
    answer(monkeypatch, "replace")
    done.boxes.tree.select(seed_box(done.boxes.table.objects()[1]).id)
    done.ui.rejectButton.click()
    table, before = done.boxes.table.to_text(), mask(done)
    done.run_panel._changed = -1e9
    done.ui.applyButton.click()
    wait_until(lambda: "Detecting" in done.ui.statusLabel.text, SECONDS)
    done.run_panel._changed = -1e9
    done.ui.applyButton.click()
    wait_until(lambda: not done.logic.is_running, 2)
    assert "nothing was changed" in done.ui.statusLabel.text
    assert done.boxes.table.to_text() == table and (mask(done) == before).all()
    assert done.ui.propagateButton.enabled and done.ui.undoStepButton.enabled
    done.ui.undoButton.click()
    assert len(done.boxes.table) == 0, "what Undo run takes back is the run that wrote"


def test_run_on_some_slices_keeps_the_others_and_the_segments_name_and_colour(done, monkeypatch, wait_until):
    answer(monkeypatch, "replace")
    node, before = done.parameters.segmentation, mask(done)
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetName("My tumour")
    segment.SetColor(1.0, 0.0, 0.0)
    filled = np.flatnonzero(before.any(axis=(1, 2)))
    first, last = int(filled[len(filled) // 3]), int(filled[len(filled) // 2])
    done.ui.slicesRange.setValues(first, last)
    apply(done, wait_until)
    assert done.parameters.segmentation is node and node.GetSegmentation().GetNumberOfSegments() == 1
    after = mask(done)
    segment = node.GetSegmentation().GetNthSegment(0)
    assert (segment.GetName(), segment.GetColor()) == ("My tumour", (1.0, 0.0, 0.0))
    outside = np.ones(len(before), bool)
    outside[first : last + 1] = False
    assert (after[outside] == before[outside]).all() and before[outside].any() and after[~outside].any()
    done.ui.undoButton.click()
    assert (mask(done) == before).all()


def test_slices_edited_by_hand_are_kept_and_counted(done, wait_until):
    group = done.boxes.table.objects()[0]
    slices = [group.seed, group.seed + 1]
    erase_by_hand(done, slices)
    seed = seed_box(group)
    low, high = np.array(seed.bounds[0::2]), np.array(seed.bounds[1::2])
    smaller = (3 * low + high) / 4, (low + 3 * high) / 4
    done.boxes.table.edit(seed.id, np.column_stack(smaller).ravel())
    done.boxes.refresh()
    propagate(done, wait_until)
    assert "2 slices edited by hand were kept." in done.ui.statusLabel.text
    assert not mask(done)[slices].any() and mask(done).any()


def test_what_was_corrected_comes_back_after_undo_run(done, wait_until):
    ids = [box.id for box in done.boxes.table.objects()[1].boxes]
    done.boxes.tree.select(ids[0])
    done.ui.boxTree.setCurrentItem(done.ui.boxTree.currentItem().parent())
    done.ui.rejectButton.click()
    propagate(done, wait_until)
    corrected = mask(done)
    done.ui.undoButton.click()
    assert done.ui.propagateButton.enabled and not (mask(done) == corrected).all()
    propagate(done, wait_until)
    assert (mask(done) == corrected).all()
    # The step before: the object is used again, and the segmentation does not show it yet.
    while done.boxes.table.rejected:
        done.ui.undoStepButton.click()
    propagate(done, wait_until)
    assert (mask(done) & ~corrected).any()


def test_dice_with_a_reference_is_that_of_the_voxels(done, scene, wait_until):
    import slicer

    volume, found = done.boxes.volume, mask(done)
    reference = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    reference.CreateDefaultDisplayNodes()
    reference.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = reference.GetSegmentation().AddEmptySegment("tumor", "tumor")
    known = np.roll(found, 3, 2)
    slicer.util.updateSegmentBinaryLabelmapFromArray(known.astype(np.uint8), reference, segment, volume)
    done.ui.referenceSelector.setCurrentNode(reference)
    expected = 2 * (found & known).sum() / (found.sum() + known.sum())
    wait_until(lambda: done.objects.measures[0]["dice"] is not None, SECONDS)
    whole = next(one for one in done.objects.measures if one["number"] is None)
    assert whole["dice"] == pytest.approx(expected, abs=1e-6)


def test_labels_for_the_engine_have_names_colors_and_codes(done, tmp_path):
    from AutoMedSAMLib.engine.label_export import LabelExport

    export = LabelExport(done.parameters.segmentation, done.boxes.volume, tmp_path / "labels.npy")
    assert export.write_chunk(SECONDS)
    assert (np.load(export.path) == mask(done)).all() and mask(done).any()
    (segment,) = export.segments
    assert (segment["value"], segment["name"]) == (1, "Glioma, whole tumour")
    assert "SCT^" in segment["terminology"] and len(segment["color"]) == 3
