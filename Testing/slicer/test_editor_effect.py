"""The Segment Editor effect: prompts on the selected segment, and a result that keeps to the editor's mask."""

import numpy as np
import pytest

from prompts import click, drag, show
from runs import labels_in

SHAPE = (40, 60, 50)


@pytest.fixture
def volume(add_volume):
    return add_volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) % 900, name="FLAIR")


@pytest.fixture
def segmentation(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("one", "two"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


@pytest.fixture
def editor(module, volume, segmentation, monkeypatch):
    """The editor with the effect active on segment "one", over a logic that answers as told."""
    from AutoMedSAMLib.editor import effect
    from harness.segment_editor import SegmentEditor
    from recorded_logic import RecordedLogic

    monkeypatch.setattr(effect, "AutoMedSAMLogic", RecordedLogic)
    show(volume)
    opened = SegmentEditor("AutoMedSAM", segmentation, volume, "one")
    yield opened
    opened.close()


def options(editor):
    return editor.effect.self()._options


def logic(editor):
    return editor.effect.self()._logic


def go_to(volume, at):
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    jump_to_slice(volume, 0, at)


def finish(editor, mask):
    """The run ends with this mask (K, J, I)."""
    import slicer

    from AutoMedSAMLib.model.run import Outcome

    told = logic(editor)
    run = told.tell_started()
    told.is_running = False
    told._write_empty_segments()
    segment = run.segmentation.GetSegmentation().GetNthSegmentID(0)
    run.segment_ids[1] = segment
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), run.segmentation, segment, run.request.volumes[0]
    )
    told.listener.on_finished(Outcome("finished", "Found 1 object."))


def content(segmentation, volume, segment_id):
    return labels_in(segmentation, volume, {1: segment_id}) > 0


def test_effect_is_registered_when_slicer_starts(module):
    from harness.segment_editor import qSlicerSegmentEditorEffectFactory

    effect = qSlicerSegmentEditorEffectFactory.registered["AutoMedSAM"]
    assert effect.perSegment and effect.requireSegments and effect.self().helpText().startswith("<html>")
    assert not effect.self().icon().isNull()


def test_box_and_points_are_previewed_and_propagated_as_one_object(editor, volume):
    go_to(volume, 12)
    drag(volume, (10, 20, 12), (30, 44, 12))
    options(editor).point_button.checked = True
    click(volume, (20, 30, 12))
    click(volume, (40, 30, 12), shift=True)
    assert [question.slice for question in logic(editor).previews] == [12, 12, 12]
    options(editor).propagate_button.click()
    boxes, (tracklet,) = logic(editor).propagated
    assert len(boxes) == 1 and tracklet["seed"] == 12 and len(tracklet["points"]) == 2
    assert options(editor).propagate_button.text == "Cancel"


def test_views_and_keys_are_the_editors_otherwise(editor, volume):
    from prompts import view

    drag(volume, (10, 20, 5), (30, 44, 5), control=True)
    assert len(view().sliceView().reached_slicer) == 4
    drag(volume, (10, 20, 5), (30, 44, 5))
    assert len(view().sliceView().reached_slicer) == 4


def test_result_is_added_to_the_selected_segment_and_leaves_nothing_behind(editor, volume, segmentation, scene):
    go_to(volume, 12)
    drag(volume, (10, 20, 12), (30, 44, 12))
    options(editor).propagate_button.click()
    nodes = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    mask = np.zeros(SHAPE, bool)
    mask[10:15, 22:40, 12:28] = True
    finish(editor, mask)
    assert (content(segmentation, volume, "one") == mask).all()
    assert not content(segmentation, volume, "two").any()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == nodes - 1 == 1
    assert options(editor).status.text == "Found 1 object." and not options(editor).propagate_button.enabled
    editor.logic.Undo()
    assert not content(segmentation, volume, "one").any(), "one step of the editor's undo"


def test_result_keeps_to_the_editors_intensity_mask(editor, volume, segmentation):
    import slicer

    editor.node.SourceVolumeIntensityMaskOn()
    editor.node.SetSourceVolumeIntensityMaskRange(100, 500)
    go_to(volume, 12)
    drag(volume, (10, 20, 12), (30, 44, 12))
    options(editor).propagate_button.click()
    mask = np.zeros(SHAPE, bool)
    mask[10:15, 22:40, 12:28] = True
    finish(editor, mask)
    voxels = slicer.util.arrayFromVolume(volume)
    expected = mask & (voxels >= 100) & (voxels <= 500)
    found = content(segmentation, volume, "one")
    assert (found == expected).all() and expected.any() and (expected != mask).any()


def test_result_stays_out_of_other_segments_where_the_editor_says_so(editor, volume, segmentation):
    import slicer

    taken = np.zeros(SHAPE, np.uint8)
    taken[12, 25:30, 15:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(taken, segmentation, "two", volume)
    editor.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    go_to(volume, 12)
    drag(volume, (10, 20, 12), (30, 44, 12))
    options(editor).propagate_button.click()
    mask = np.zeros(SHAPE, bool)
    mask[10:15, 22:40, 12:28] = True
    finish(editor, mask)
    assert (content(segmentation, volume, "one") == (mask & (taken == 0))).all()
    assert (content(segmentation, volume, "two") == (taken > 0)).all()


def test_prompts_are_for_one_segment(editor, volume):
    go_to(volume, 12)
    drag(volume, (10, 20, 12), (30, 44, 12))
    assert options(editor).propagate_button.enabled
    editor.select("two")
    assert not options(editor).propagate_button.enabled


def test_leaving_the_effect_takes_the_prompts_out_of_the_views(editor, volume, scene):
    options(editor).point_button.checked = True
    go_to(volume, 12)
    click(volume, (20, 30, 12))
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1
    editor.effect.self().deactivate()
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0
    assert logic(editor).propagated is None
