"""The segmentation that a run makes or is given: its place among a patient's data, its grid, and what it keeps."""

from typing import Any

import numpy as np
import pytest

from runs import segment_slices

pytest_plugins = ["run_fixtures"]

SHAPE = (12, 20, 24)


def finish(engine: Any, heard: Any, wait_until: Any, **more: Any) -> Any:
    segment_slices(engine, 3)
    engine.finish(**more)
    wait_until(lambda: heard.outcomes)
    return heard.outcome


def hierarchy() -> Any:
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def file_in_study(node: Any) -> int:
    """Files a node as DICOM import does; returns the study's item."""
    tree = hierarchy()
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Patient")
    study = tree.CreateStudyItem(patient, "Study")
    tree.SetItemParent(tree.GetItemByDataNode(node), study)
    return study


def test_result_is_filed_in_the_study_of_its_volume(begin_run: Any, small_flair: Any, wait_until: Any) -> None:
    study = file_in_study(small_flair)
    engine, heard = begin_run()
    finish(engine, heard, wait_until)
    tree = hierarchy()
    assert tree.GetItemParent(tree.GetItemByDataNode(heard.run.segmentation)) == study


def test_empty_segmentation_that_nobody_has_filed_is_filed_with_the_volume(
    begin_run: Any, small_flair: Any, scene: Any, wait_until: Any
) -> None:
    study = file_in_study(small_flair)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    engine, heard = begin_run(node)
    finish(engine, heard, wait_until)
    assert hierarchy().GetItemParent(hierarchy().GetItemByDataNode(node)) == study


def test_segmentation_that_somebody_has_filed_stays_where_it_is(
    begin_run: Any, small_flair: Any, scene: Any, wait_until: Any
) -> None:
    file_in_study(small_flair)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    tree = hierarchy()
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "My folder")
    tree.SetItemParent(tree.GetItemByDataNode(node), folder)
    engine, heard = begin_run(node)
    finish(engine, heard, wait_until)
    assert tree.GetItemParent(tree.GetItemByDataNode(node)) == folder


def test_without_a_study_the_result_stays_at_the_top(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    finish(engine, heard, wait_until)
    tree = hierarchy()
    assert tree.GetItemParent(tree.GetItemByDataNode(heard.run.segmentation)) == tree.GetSceneItemID()


def test_different_grid_of_a_chosen_segmentation_is_reported(
    begin_run: Any, add_volume: Any, scene: Any, wait_until: Any
) -> None:
    other = add_volume(np.zeros((5, 6, 7), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "a coarse T1")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(other)
    engine, heard = begin_run(node)
    outcome = finish(engine, heard, wait_until)
    assert "has the geometry of a coarse T1" in outcome.message


@pytest.mark.parametrize("given", [True, False])
def test_equal_grid_is_not_reported(begin_run: Any, small_flair: Any, scene: Any, wait_until: Any, given: bool) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine") if given else None
    if given:
        node.SetReferenceImageGeometryParameterFromVolumeNode(small_flair)
    engine, heard = begin_run(node)
    assert "resample" not in finish(engine, heard, wait_until).message


def test_frame_of_a_sequence_is_named_by_the_result(
    scripted_logic: Any, small_flair: Any, scene: Any, wait_until: Any
) -> None:
    from AutoMedSAMLib.scene.provenance import read_provenance
    from runs import Recorder, ScriptedEngine, request_for

    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    cine = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "perfusion")
    for number in range(4):
        cine.SetDataNodeAtValue(small_flair, str(number))
    browser.AddSynchronizedSequenceNode(cine)
    browser.AddProxyNode(small_flair, cine, False)
    browser.SetSelectedItemNumber(2)
    heard = Recorder()
    scripted_logic.start(request_for(small_flair), heard)
    wait_until(lambda: ScriptedEngine.started and ScriptedEngine.started[0].sent)
    engine = ScriptedEngine.started[0]
    engine.labels = engine.begin(SHAPE)
    # The sequence plays on while the run goes on.
    browser.SetSelectedItemNumber(3)
    outcome = finish(engine, heard, wait_until)
    assert "This is frame 3 of 4 of perfusion" in outcome.message
    told = read_provenance(heard.run.segmentation)["frame"]
    assert told == {"sequence": "perfusion", "number": 3, "count": 4}


def boxes_of(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "slice": number % 12,
            "bounds": [5.123456789, 11.2, 4.3, 9.87654321, number % 12, number % 12 + 1],
            "score": 0.123456789 + number / 1000,
            "label": 1,
            "drawn": False,
        }
        for number in range(1, count + 1)
    ]


def test_only_boxes_that_matter_are_kept_with_the_segmentation(
    begin_run: Any, scripted_logic: Any, wait_until: Any, small_flair: Any
) -> None:
    from AutoMedSAMLib.scene.provenance import BOXES, read_boxes
    from runs import Recorder, ScriptedEngine, request_for

    engine, heard = begin_run()
    boxes = boxes_of(700)
    engine.answer(event="boxes", slice=3, boxes=boxes)
    objects = [{"label": 1, "seed": 3, "score": 0.9, "boxes": list(range(1, 9)), "gaps": []}]
    finish(engine, heard, wait_until, tracklets=objects)
    node = heard.run.segmentation
    found = read_boxes(node)
    assert [box["id"] for box in found["boxes"]] == list(range(1, 9)) and found["rejected"] == []
    assert found["boxes"][2]["bounds"] == [5.12, 11.2, 4.3, 9.88, 3, 4] and found["boxes"][2]["drawn"] is False
    assert len(node.GetAttribute(BOXES)) < 3000

    # Two are rejected, one is moved, one is drawn.
    drawn = boxes[20] | {"id": 900, "drawn": True, "score": 1.0}
    kept = [boxes[0] | {"drawn": True, "score": 1.0}, *boxes[1:6], drawn]
    again = Recorder()
    correction = [{"label": 1, "seed": 3, "boxes": [box["id"] for box in kept]}]
    asked = len(engine.sent)
    scripted_logic.propagate(request_for(small_flair, node), kept, correction, again)
    wait_until(lambda: len(ScriptedEngine.started[-1].sent) > asked)
    engine.labels = engine.begin(SHAPE)
    wait_until(lambda: again.run)
    finish(engine, again, wait_until, tracklets=correction)
    found = read_boxes(node)
    assert [box["id"] for box in found["boxes"]] == [1, 2, 3, 4, 5, 6, 900]
    assert [box["id"] for box in found["rejected"]] == [7, 8]
    assert [box["id"] for box in found["boxes"] if box["drawn"]] == [1, 900]


def test_boxes_of_an_older_scene_are_still_read(scene: Any) -> None:
    from AutoMedSAMLib.scene.provenance import BOXES, encode, read_boxes

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "old")
    box = {"id": 1, "slice": 3, "bounds": [5, 11, 4, 9, 3, 4], "score": 0.9, "label": 1, "drawn": False}
    node.SetAttribute(BOXES, encode({"boxes": [box], "tracklets": [], "views": {"a": [0, 0, 9, 9]}}))
    assert read_boxes(node)["boxes"] == [box] and read_boxes(node)["crops"] == {"a": [0, 0, 9, 9]}


def test_slices_edited_by_hand_are_counted_in_the_last_sentence(
    begin_run: Any, small_flair: Any, wait_until: Any
) -> None:
    import slicer

    from runs import labels_in

    engine, heard = begin_run()
    segment_slices(engine, 2, 3, 4, 5)
    engine.finish()
    wait_until(lambda: heard.outcomes)
    node, segment_id = heard.run.segmentation, heard.run.segment_ids[1]
    edited = (labels_in(node, small_flair, heard.run.segment_ids) > 0).astype(np.uint8)
    edited[3:6] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, segment_id, small_flair)
    engine, heard = begin_run(node, again=True)
    engine.labels[1:7, 2:6, 2:6] = 1
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.message.endswith("3 slices edited by hand were kept.")
    seen = labels_in(node, small_flair, heard.run.segment_ids)
    assert not seen[3:6].any() and seen[1].any() and seen[6].any()
