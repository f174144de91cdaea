"""A model of two modalities and nested segments in the panel, over the real engine."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from built_in import int8_copy

from runs import Recorder, ijk_to_ras, labels_in

pytestmark = pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="the lab is not installed")
SECONDS = 60
SEGMENTS = ["Whole tumor", "Tumor core", "Enhancing tumor"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from two_modalities import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "two")


@pytest.fixture(scope="module")
def phantom():
    from two_modalities import phantom

    return phantom()


def grid(volume):
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(volume.direction, (3, 3)) * volume.spacing
    matrix[:3, 3] = np.array([-1, -1, 1]) * volume.origin
    return matrix


@pytest.fixture
def images(phantom, add_volume):
    """The two images, the one with contrast first in the scene."""
    volume, _ = phantom
    dye = add_volume(volume.array[1], grid(volume), "AX T1 POST GD")
    return {"FLAIR": add_volume(volume.array[0], grid(volume), "T2 FLAIR"), "T1ce": dye}


@pytest.fixture(scope="module")
def expected(bundle, phantom):
    """The engine's own result, in this process."""
    from automedsam.bundle import load_bundle
    from automedsam.pipeline.run import segment

    return segment(phantom[0], load_bundle(bundle))


def masks(segmentation, volume):
    segments = segmentation.GetSegmentation()
    by_name = {segments.GetSegment(one).GetName(): one for one in segments.GetSegmentIDs()}
    assert list(by_name) == SEGMENTS
    return {name: labels_in(segmentation, volume, {1: one}) > 0 for name, one in by_name.items()}


def test_script_gives_volumes_by_modality_and_gets_overlapping_segments(
    module_logic, images, bundle, expected, scene, tmp_path
):
    segmentation = module_logic.process({"t1ce": images["T1ce"], "flair": images["FLAIR"]}, model=bundle)
    found = masks(segmentation, images["FLAIR"])
    for segment in expected.segments:
        np.testing.assert_array_equal(found[segment.name], expected.mask(segment.value), segment.name)
    whole, core, enhancing = (found[name] for name in SEGMENTS)
    assert 0 < enhancing.sum() < core.sum() < whole.sum()
    assert not (core & ~whole).any() and not (enhancing & ~core).any()
    segments = segmentation.GetSegmentation()
    assert segments.GetNumberOfLayers() == 3
    opacity = [segmentation.GetDisplayNode().GetSegmentOpacity3D(one) for one in segments.GetSegmentIDs()]
    assert opacity[0] == opacity[1] < opacity[2] == 1


def test_modality_that_the_model_does_not_take_is_named(module_logic, images, bundle):
    from AutoMedSAMLib.errors import AutoMedSAMError

    with pytest.raises(AutoMedSAMError, match="T2 is not one of the modalities"):
        module_logic.process({"FLAIR": images["FLAIR"], "T2": images["T1ce"]}, model=bundle)
    with pytest.raises(AutoMedSAMError, match="Choose the T1ce volume first"):
        module_logic.process({"FLAIR": images["FLAIR"]}, model=bundle)


def test_undo_and_propagating_again_keep_the_nesting(module_logic, images, bundle, wait_until):
    from AutoMedSAMLib.model.bundle_info import read_model
    from AutoMedSAMLib.model.run import RunRequest

    volumes = (images["FLAIR"], images["T1ce"])
    request, first = RunRequest(volumes, None, read_model(bundle)), Recorder()
    module_logic.start(request, first)
    wait_until(lambda: first.outcome, SECONDS)
    assert first.outcome.status == "finished", first.outcome
    whole = first.outcome.report["volume_ml"]["Whole tumor"]
    assert f"Found 3 objects, {whole:.1f} ml" in first.outcome.message
    before = masks(first.run.segmentation, volumes[0])
    # Without the core's own object, the enhancing part still belongs to core and whole.
    kept = [one for one in first.tracklets if one["label"] != 2]
    numbers = {number for one in kept for number in one["boxes"]}
    boxes = [box for box in first.boxes if box["id"] in numbers]
    again, second = RunRequest(volumes, first.run.segmentation, request.model), Recorder()
    module_logic.propagate(again, boxes, kept, second)
    wait_until(lambda: second.outcome, SECONDS)
    assert second.outcome.status == "finished", second.outcome
    after = masks(first.run.segmentation, volumes[0])
    np.testing.assert_array_equal(after["Tumor core"], after["Enhancing tumor"])
    np.testing.assert_array_equal(after["Enhancing tumor"], before["Enhancing tumor"])
    assert not (after["Tumor core"] & ~after["Whole tumor"]).any()
    assert module_logic.undo()
    restored = masks(first.run.segmentation, volumes[0])
    for name in SEGMENTS:
        np.testing.assert_array_equal(restored[name], before[name], name)


def test_slice_edited_by_hand_is_kept(module_logic, images, bundle, wait_until):
    import slicer

    from AutoMedSAMLib.model.bundle_info import read_model
    from AutoMedSAMLib.model.run import RunRequest

    volumes = (images["FLAIR"], images["T1ce"])
    first = Recorder()
    module_logic.start(RunRequest(volumes, None, read_model(bundle)), first)
    wait_until(lambda: first.outcome, SECONDS)
    node = first.run.segmentation
    core = first.run.segment_ids[2]
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(node, core, volumes[0])
    edited[15] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, core, volumes[0])
    second = Recorder()
    module_logic.propagate(RunRequest(volumes, node, read_model(bundle)), [], [], second)
    wait_until(lambda: second.outcome, SECONDS)
    after = masks(node, volumes[0])
    assert "1 slice edited by hand was kept" in second.outcome.message
    assert after["Whole tumor"][15].any() and not after["Tumor core"][15].any()
    assert not after["Whole tumor"][14].any()


@pytest.fixture
def widget(module_widget, images, bundle, slicer_app, monkeypatch):
    """The panel with the model and, by their names, its volumes chosen."""
    from AutoMedSAMLib.panel import run_controls

    # Tests click faster than a double click.
    monkeypatch.setattr(run_controls, "_DOUBLE_CLICK_SECONDS", 0.0)
    module_widget.widget.inputs.use_model_folder(bundle)
    slicer_app.processEvents()
    return module_widget.widget


def test_each_volume_goes_where_its_name_belongs(widget, images):
    assert [widget.parameters.volume(index) for index in range(2)] == [images["FLAIR"], images["T1ce"]]
    assert widget.ui.applyButton.enabled, widget.ui.statusLabel.text


def test_volume_on_another_grid_is_named_and_resampled_with_one_click(widget, images, phantom, add_volume, slicer_app):
    volume, _ = phantom
    coarse = grid(volume) @ np.diag([2.0, 2.0, 1.0, 1.0])
    half = add_volume(volume.array[1][:, ::2, ::2].copy(), coarse, "T1ce coarse")
    assert not widget.inputs.resample.widget.isVisibleTo(widget.inputs.resample.widget.parent())
    widget.inputs.volume_selectors[1].setCurrentNode(half)
    slicer_app.processEvents()
    assert not widget.ui.applyButton.enabled
    assert "T1ce coarse does not have the same voxel grid as T2 FLAIR" in widget.ui.statusLabel.text
    button = widget.inputs.resample.widget
    assert button.text == "Resample T1ce coarse onto T2 FLAIR"
    button.click()
    slicer_app.processEvents()
    resampled = widget.parameters.volume(1)
    assert resampled.GetName() == "T1ce coarse resampled"
    assert widget.ui.applyButton.enabled, widget.ui.statusLabel.text
    np.testing.assert_allclose(ijk_to_ras(resampled), ijk_to_ras(images["FLAIR"]))
    import slicer

    found = slicer.util.arrayFromVolume(resampled)
    inside = volume.array[1][2:-2, 10:-10, 10:-10]
    assert np.abs(found[2:-2, 10:-10, 10:-10] - inside).mean() < 5


def test_volumes_that_do_not_overlap_are_not_resampled(widget, phantom, add_volume, slicer_app):
    import slicer

    volume, _ = phantom
    away = grid(volume)
    away[0, 3] += 1000
    far = add_volume(volume.array[1].copy(), away, "T1ce elsewhere")
    widget.inputs.volume_selectors[1].setCurrentNode(far)
    slicer_app.processEvents()
    before = slicer.mrmlScene.GetNumberOfNodes()
    widget.inputs.resample.widget.click()
    assert "do not overlap" in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before and widget.parameters.volume(1) is far


@pytest.mark.parametrize("which", ["volume", "reference", "both"])
def test_resampling_respects_parent_transforms(images, phantom, which):
    import slicer

    from AutoMedSAMLib.scene.resampling import resample_onto, same_grid

    turn = np.eye(4)
    turn[:3, 3] = (4.0, -3.0, 2.0)
    nodes = {}
    for name, amount in {"volume": 1.0, "reference": -1.0}.items():
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        matrix = np.eye(4)
        matrix[:3, 3] = amount * turn[:3, 3]
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        nodes[name] = node
    if which != "reference":
        images["T1ce"].SetAndObserveTransformNodeID(nodes["volume"].GetID())
    if which != "volume":
        images["FLAIR"].SetAndObserveTransformNodeID(nodes["reference"].GetID())
    resampled = resample_onto(images["T1ce"], images["FLAIR"])
    assert same_grid(resampled, images["FLAIR"])
    # In RAS the image has moved by whole voxels: I and J run against R and A here.
    steps = {"volume": 1, "reference": 1, "both": 2}[which]
    found, given = slicer.util.arrayFromVolume(resampled), phantom[0].array[1]
    moved = np.roll(given, (2 * steps, 3 * steps, -4 * steps), axis=(0, 1, 2))
    inner = (slice(6, -6), slice(10, -10), slice(10, -10))
    np.testing.assert_allclose(found[inner], moved[inner], atol=1e-3)


def test_compare_adds_a_table_and_the_difference_and_changes_nothing_else(widget, phantom, wait_until):
    import slicer

    from automedsam.pipeline.comparison import INT8_ONLY, OTHER_LABEL

    assert widget.compare.widget.enabled, widget.compare.widget.toolTip
    widget.compare.widget.click()
    assert widget.logic.is_running and widget.ui.applyButton.text == "Cancel"
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert [node.GetName() for node in tables] == ["T2 FLAIR two INT8 and FP32"], widget.ui.statusLabel.text
    table = tables[0]
    lines = {
        (table.GetCellText(row, 0), table.GetCellText(row, 1)): [table.GetCellText(row, column) for column in (3, 4, 5)]
        for row in range(table.GetNumberOfRows())
    }
    assert lines["Dice", "Whole tumor"] == ["", "", "1"]
    assert float(lines["Dice", "Tumor core"][2]) < 0.9
    int8, fp32, less = map(float, lines["Volume", "Tumor core"])
    assert int8 > fp32 > 0 and less == pytest.approx(int8 - fp32, abs=1e-3)
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in nodes] == ["T2 FLAIR two difference"]
    segments = nodes[0].GetSegmentation()
    ids = {segments.GetSegment(one).GetLabelValue(): one for one in segments.GetSegmentIDs()}
    labels = labels_in(nodes[0], widget.parameters.volume(0), ids)
    assert not (labels == INT8_ONLY).any()
    assert np.count_nonzero(labels == OTHER_LABEL) / 1000 == pytest.approx(
        float(lines["Disagreement", ""][2]), abs=1e-3
    )
    assert "lowest Dice 0." in widget.ui.statusLabel.text
    assert "Dice, Tumor core: 0." in widget.ui.detailsText.plainText
    assert widget.ui.applyButton.text == "Apply" and widget.ui.applyButton.enabled


def test_comparison_is_cancelled_without_a_trace(widget, wait_until):
    import slicer

    widget.compare.widget.click()
    wait_until(lambda: "detecting" in widget.ui.statusLabel.text, SECONDS)
    before = slicer.mrmlScene.GetNumberOfNodes()
    widget.logic.cancel()
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert "cancelled; nothing was added" in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_comparison_asks_for_the_terms_first(widget, monkeypatch):
    from AutoMedSAMLib.panel import questions
    from AutoMedSAMLib.scene import terms

    monkeypatch.setattr(terms, "must_be_shown", lambda _model: True)
    monkeypatch.setattr(questions, "accepts_terms", lambda *_: False)
    widget.compare.widget.click()
    assert not widget.logic.is_running
    assert "terms of the model two were not accepted: nothing was run" in widget.ui.statusLabel.text


def test_scene_closed_during_a_comparison_ends_it_and_the_next_run_is_shown(
    widget, bundle, phantom, add_volume, slicer_app, wait_until
):
    widget.compare.widget.click()
    wait_until(lambda: "detecting" in widget.ui.statusLabel.text, SECONDS)
    slicer_app.mrmlScene().Clear(False)
    slicer_app.processEvents()
    assert not widget.logic.is_running and widget.ui.applyButton.text == "Apply"
    volume, _ = phantom
    for place, name in enumerate(("FLAIR", "T1ce")):
        add_volume(volume.array[place], grid(volume), name)
    widget.inputs.use_model_folder(bundle)
    slicer_app.processEvents()
    wait_until(lambda: widget.warnings.are_known, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert "Found 3 objects" in widget.ui.statusLabel.text
    assert len(widget.boxes.table.objects()) == 3


def test_volume_deleted_during_a_comparison_ends_it(widget, images, slicer_app, wait_until):
    import slicer

    widget.compare.widget.click()
    wait_until(lambda: "detecting" in widget.ui.statusLabel.text, SECONDS)
    slicer.mrmlScene.RemoveNode(images["T1ce"])
    slicer_app.processEvents()
    assert not widget.logic.is_running
    assert "The volume was deleted, so the comparison was stopped." in widget.ui.statusLabel.text
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")


def test_engine_that_dies_during_a_comparison_is_reported(widget, wait_until):
    widget.compare.widget.click()
    wait_until(lambda: "detecting" in widget.ui.statusLabel.text, SECONDS)
    import os
    import signal

    os.kill(widget.logic.engine.process.pid, signal.SIGKILL)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert "The engine stopped unexpectedly" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.enabled


def test_comparison_leaves_the_result_and_its_boxes(widget, wait_until):
    import slicer

    wait_until(lambda: widget.warnings.are_known, SECONDS)
    widget.ui.applyButton.click()
    wait_until(lambda: widget.logic.is_running, SECONDS)
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    result = widget.parameters.segmentation
    before, objects = masks(result, widget.parameters.volume(0)), len(widget.boxes.table.objects())
    widget.compare.widget.click()
    wait_until(lambda: not widget.logic.is_running, SECONDS)
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1
    assert widget.parameters.segmentation is result and len(widget.boxes.table.objects()) == objects
    for name, mask in masks(result, widget.parameters.volume(0)).items():
        np.testing.assert_array_equal(mask, before[name], name)
    # The run can still be taken back.
    widget.ui.undoButton.click()
    assert not slicer.mrmlScene.IsNodePresent(result)


def test_model_without_fp32_files_gives_the_reason(module_widget, images, slicer_app, tmp_path):
    module_widget.widget.inputs.use_model_folder(int8_copy(tmp_path))
    slicer_app.processEvents()
    button = module_widget.widget.compare.widget
    assert not button.enabled
    assert "The model glioma has no FP32 files here, so INT8 and FP32 cannot be compared." in button.toolTip


def test_segments_inside_others_survive_slicers_own_files(module_logic, images, bundle, scene, tmp_path):
    """Ours is read by Slicer, and Slicer's own by Slicer, with the same voxels in each segment."""
    import slicer
    from two_modalities import phantom

    from automedsam.bundle import load_bundle
    from automedsam.io.segmentation_writer import write_segmentation
    from automedsam.pipeline.run import segment

    tilt = np.deg2rad(20)
    direction = (np.cos(tilt), -np.sin(tilt), 0.0, np.sin(tilt), np.cos(tilt), 0.0, 0.0, 0.0, 1.0)
    volume, _ = phantom()
    oblique = replace(volume, direction=tuple(map(float, direction)), spacing=(1.0, 1.0, 1.0))
    result = segment(oblique, load_bundle(bundle))
    write_segmentation(result, tmp_path / "ours.seg.nrrd")
    reference = slicer.util.addVolumeFromArray(oblique.array[0], ijkToRAS=grid(oblique), name="oblique")
    for name in ("ours.seg.nrrd", "slicers.seg.nrrd"):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(tmp_path / name))
        assert storage.ReadData(node)
        found = masks(node, reference)
        for one in result.segments:
            np.testing.assert_array_equal(found[one.name], result.mask(one.value), f"{name}: {one.name}")
        storage.SetFileName(str(tmp_path / "slicers.seg.nrrd"))
        assert storage.WriteData(node)
