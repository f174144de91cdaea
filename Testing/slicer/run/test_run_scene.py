"""A run and its scene: nodes that go in the middle of it, undo, and the files behind it."""

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import segment_slices

pytest_plugins = ["run_fixtures"]

SHAPE = (12, 20, 24)


def test_a_scene_closed_in_the_middle_ends_the_run(
    begin_run: Any, scripted_logic: Any, scene: Any, wait_until: Any
) -> None:
    engine, heard = begin_run()
    segment_slices(engine, 3)
    scene.Clear(False)
    wait_until(lambda: heard.outcomes)
    segment_slices(engine, 4)
    wait_until(lambda: {"op": "cancel"} in engine.sent)
    assert heard.outcome.status == "cancelled" and not scripted_logic.is_running
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert len(heard.outcomes) == 1


@pytest.mark.parametrize("gone", ["volume", "segmentation"])
def test_a_node_deleted_in_the_middle_ends_the_run(
    begin_run: Any, scripted_logic: Any, scene: Any, small_flair: Any, wait_until: Any, gone: str
) -> None:
    engine, heard = begin_run()
    segment_slices(engine, 3)
    wait_until(lambda: heard.slices)
    scene.RemoveNode(small_flair if gone == "volume" else heard.run.segmentation)
    segment_slices(engine, 4)
    wait_until(lambda: heard.outcomes)
    assert gone in heard.outcome.message and len(heard.outcomes) == 1
    assert heard.slices == [3]
    left = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    assert left == (1 if gone == "volume" else 0)
    assert scripted_logic.can_undo == (gone == "volume")


def test_a_given_segmentation_deleted_before_the_engine_begins_ends_the_run(
    scripted_logic: Any, scene: Any, small_flair: Any, wait_until: Any
) -> None:
    from runs import Recorder, request_for

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "given")
    heard = Recorder()
    scripted_logic.start(request_for(small_flair, node), heard)
    scene.RemoveNode(node)
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "cancelled"


def test_the_next_run_waits_for_an_engine_that_still_stops(
    begin_run: Any, scene: Any, add_volume: Any, scripted_logic: Any, wait_until: Any
) -> None:
    from runs import Recorder, request_for

    engine, heard = begin_run()
    scene.Clear(False)
    wait_until(lambda: heard.outcomes)
    other = add_volume(np.zeros(SHAPE, np.int16), np.eye(4), "other")
    second = Recorder()
    scripted_logic.start(request_for(other), second)
    engine.answer(event="cancelled", confidence=[])
    wait_until(lambda: engine.asked["volume"]["name"] == "other")
    engine.begin(SHAPE)
    engine.finish(0)
    wait_until(lambda: second.outcomes)
    assert second.outcome.status == "finished"


def test_undo_takes_back_the_run_and_the_node_that_it_made(
    begin_run: Any, scripted_logic: Any, scene: Any, wait_until: Any
) -> None:
    engine, heard = begin_run()
    segment_slices(engine, 3)
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert scripted_logic.undo()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not scripted_logic.undo()


def test_undo_gives_back_the_result_before(begin_run: Any, scripted_logic: Any, wait_until: Any) -> None:
    from runs import everything_in

    engine, heard = begin_run()
    segment_slices(engine, 3)
    engine.finish()
    wait_until(lambda: heard.outcomes)
    node = heard.run.segmentation
    before = everything_in(node), node.GetAttribute("AutoMedSAM.Boxes")
    engine, heard = begin_run(node)
    segment_slices(engine, 5)
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert everything_in(node) != before[0]
    assert scripted_logic.undo()
    assert (everything_in(node), node.GetAttribute("AutoMedSAM.Boxes")) == before


def test_propagate_again_goes_on_from_the_labels_of_the_run(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    labels, copy = engine.asked["labels"], engine.asked["volume"]["path"]
    engine.finish(0)
    wait_until(lambda: heard.outcomes)
    engine, heard = begin_run(heard.run.segmentation, again=True)
    assert engine.asked["op"] == "propagate"
    assert (engine.asked["labels"], engine.asked["volume"]["path"]) == (labels, copy)


def test_changed_voxels_are_copied_again(begin_run: Any, small_flair: Any, wait_until: Any) -> None:
    import slicer

    engine, heard = begin_run()
    first = Path(engine.asked["volume"]["path"])
    engine.finish(0)
    wait_until(lambda: heard.outcomes)
    slicer.util.arrayFromVolume(small_flair)[0, 0, 0] = 99
    slicer.util.arrayFromVolumeModified(small_flair)
    engine, heard = begin_run(heard.run.segmentation)
    second = Path(engine.asked["volume"]["path"])
    assert np.load(second)[0, 0, 0] == 99 and second != first
    engine.finish(0)
    wait_until(lambda: heard.outcomes)
    assert not first.exists()


def test_temporary_files_are_private_and_go_in_the_end(begin_run: Any, scripted_logic: Any) -> None:
    engine, _ = begin_run()
    folder = Path(engine.asked["labels"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(path.name.isascii() for path in folder.iterdir())
    scripted_logic.close()
    assert not folder.exists() and engine.killed


def test_temporary_files_go_with_the_scene(begin_run: Any, scripted_logic: Any, scene: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    engine.finish(0)
    wait_until(lambda: heard.outcomes)
    scene.Clear(False)
    assert list(scripted_logic.exchange.folder.iterdir()) == []


def test_closing_in_the_middle_notifies_the_listener_before_it_returns(begin_run: Any, scripted_logic: Any) -> None:
    _, heard = begin_run()
    scripted_logic.close()
    assert heard.outcome.status == "cancelled"
