"""A run seen by a person: streaming, progress, cancelling, and engines that die or fail."""

import time
from typing import Any

import numpy as np
import pytest

from runs import segment_slices

pytest_plugins = ["run_fixtures"]

SHAPE = (12, 20, 24)


def test_masks_are_in_the_scene_while_the_run_goes_on(begin_run: Any, small_flair: Any, wait_until: Any) -> None:
    from runs import labels_in

    engine, heard = begin_run()
    segment_slices(engine, 3, 4)
    wait_until(lambda: heard.slices == [3, 4])
    seen = labels_in(heard.run.segmentation, small_flair, heard.run.segment_ids)
    assert sorted(set(np.nonzero(seen)[0])) == [3, 4] and heard.outcomes == []
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "finished"


def test_progress_counts_slices(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    segment_slices(engine, *range(12))
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert "Segmenting slice 5 of 12" in [text for _, text in heard.progress]
    shares = [share for share, _ in heard.progress]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


def test_a_slice_without_an_event_is_there_at_the_end(begin_run: Any, small_flair: Any, wait_until: Any) -> None:
    from runs import labels_in

    engine, heard = begin_run()
    engine.labels[7, 4:9, 5:11] = 1
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert labels_in(heard.run.segmentation, small_flair, heard.run.segment_ids)[7].sum() == 30


@pytest.mark.alone
def test_cancel_is_answered_within_a_second_and_keeps_what_is_finished(
    begin_run: Any, scripted_logic: Any, small_flair: Any, wait_until: Any
) -> None:
    from runs import labels_in

    engine, heard = begin_run()
    segment_slices(engine, 3, 4)
    began = time.monotonic()
    scripted_logic.cancel()
    wait_until(lambda: heard.outcomes)
    assert time.monotonic() - began < 1.0
    assert heard.outcome.status == "cancelled" and "2 finished slices" in heard.outcome.message
    assert labels_in(heard.run.segmentation, small_flair, heard.run.segment_ids)[3:5].sum() == 60
    assert not scripted_logic.is_running and scripted_logic.can_undo


def test_cancel_before_anything_was_found_changes_nothing(
    begin_run: Any, scripted_logic: Any, scene: Any, wait_until: Any
) -> None:
    engine, heard = begin_run()
    scripted_logic.cancel()
    engine.answer(event="cancelled", confidence=[])
    wait_until(lambda: heard.outcomes)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert "nothing was changed" in heard.outcome.message and not scripted_logic.can_undo


def test_cancel_while_the_volume_is_copied(scripted_logic: Any, small_flair: Any, wait_until: Any) -> None:
    from runs import Recorder, ScriptedEngine, request_for

    heard = Recorder()
    scripted_logic.start(request_for(small_flair), heard)
    scripted_logic.cancel()
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "cancelled" and ScriptedEngine.started == []


def test_a_dead_engine_is_reported_in_one_sentence_and_the_next_run_has_a_new_one(
    begin_run: Any, small_flair: Any, wait_until: Any
) -> None:
    from runs import ScriptedEngine, labels_in

    engine, heard = begin_run()
    segment_slices(engine, 3)
    engine.die("The process ended with code 9.")
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "failed" and heard.outcome.details == "The process ended with code 9."
    assert heard.outcome.message.count(".") == 1
    assert labels_in(heard.run.segmentation, small_flair, heard.run.segment_ids)[3].sum() == 30
    second, heard_again = begin_run(heard.run.segmentation)
    assert second is not engine and len(ScriptedEngine.started) == 2
    second.finish(0)
    wait_until(lambda: heard_again.outcomes)
    assert heard_again.outcome.status == "finished"


def test_a_run_that_fails_at_once_leaves_the_last_result_alone(
    begin_run: Any, scene: Any, small_flair: Any, wait_until: Any
) -> None:
    from runs import everything_in

    engine, first = begin_run()
    segment_slices(engine, 3)
    engine.finish()
    wait_until(lambda: first.outcomes)
    node = first.run.segmentation
    before = everything_in(node), node.GetAttribute("AutoMedSAM.Provenance")
    engine, second = begin_run(node)
    engine.answer(event="error", message="Choose another volume.", details="", user_error=True)
    wait_until(lambda: second.outcomes)
    assert second.outcome.message == "Choose another volume."
    assert (everything_in(node), node.GetAttribute("AutoMedSAM.Provenance")) == before


def test_a_fault_of_the_engine_is_not_passed_off_as_advice(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    engine.answer(event="error", message="division by zero", details="Traceback...", user_error=False)
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.message == "The engine failed (division by zero)."
    assert heard.outcome.details == "Traceback..."


def test_one_run_at_a_time(begin_run: Any, scripted_logic: Any, small_flair: Any) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError
    from runs import Recorder, request_for

    begin_run()
    with pytest.raises(AutoMedSAMError, match="Another run is in progress"):
        scripted_logic.start(request_for(small_flair), Recorder())


def test_a_listener_that_fails_does_not_stop_a_run(begin_run: Any, wait_until: Any, caplog: Any) -> None:
    from runs import Recorder

    def fail(_: Any) -> None:
        raise RuntimeError

    engine, heard = begin_run(listener=Recorder(slices=fail, started=fail))
    segment_slices(engine, 3)
    engine.finish()
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "finished" and "a listener failed" in caplog.text


def test_a_run_started_from_the_end_of_another(
    begin_run: Any, scripted_logic: Any, small_flair: Any, wait_until: Any
) -> None:
    from runs import Recorder, request_for

    second = Recorder()
    engine, first = begin_run(
        listener=Recorder(finished=lambda _: scripted_logic.start(request_for(small_flair), second))
    )
    engine.finish(0)
    wait_until(lambda: first.outcomes)
    assert scripted_logic.is_running


def test_run_whose_labels_cannot_be_read_leaves_no_empty_segmentation(
    scripted_logic: Any, small_flair: Any, scene: Any, wait_until: Any
) -> None:
    from runs import Recorder, ScriptedEngine, request_for

    heard = Recorder()
    scripted_logic.start(request_for(small_flair), heard)
    wait_until(lambda: ScriptedEngine.started and ScriptedEngine.started[0].sent)
    engine = ScriptedEngine.started[0]
    engine.say(
        id=engine.asked["id"],
        event="started",
        plane="axial",
        axis=0,
        slices=[0, 11],
        threshold=0.4,
        device="CPU",
        model={"name": "glioma", "version": "0.1.0", "hash": "abc"},
        engine="0.1.0",
    )
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "failed" and heard.outcome.message.startswith("The run failed (")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
