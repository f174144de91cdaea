"""Progress and the closing sentence: counts and times as a person with a watch would have them."""

import re
from typing import Any

import pytest

from runs import segment_slices

pytest_plugins = ["run_fixtures"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock for the progress that a test sets: `clock.now = 3.0`."""
    from types import SimpleNamespace

    from AutoMedSAMLib.run import progress

    watch = SimpleNamespace(now=0.0)
    watch.perf_counter = lambda: watch.now
    monkeypatch.setattr(progress, "time", watch)
    return watch


def at(clock: Any, progress: Any, seconds: float, done: int) -> tuple[float, str]:
    clock.now = seconds
    progress.count({"done": done})
    return progress.fraction, progress.text


def test_time_left_is_that_of_the_whole_run(clock: Any) -> None:
    from AutoMedSAMLib.run.progress import Progress

    progress = Progress()
    progress.enter("detect", 100)
    half, words = at(clock, progress, 2.2, 50)
    # Half of the detection in 2.2 s: as much again, then the segmentation, which takes about as long as the detection.
    assert words == "Detecting slice 50 of 100, 7 s left"
    assert half == pytest.approx(0.28)
    clock.now = 4.4
    progress.enter("segment", 60)
    assert at(clock, progress, 6.75, 30)[1] == "Segmenting slice 30 of 60, 3 s left"


def test_making_int8_files_is_most_of_the_run_and_promises_no_time(clock: Any) -> None:
    from AutoMedSAMLib.run.progress import Progress

    progress = Progress(again=True)
    progress.enter("load")
    progress.enter("quantize", 10)
    begun = progress.fraction
    half, words = at(clock, progress, 60.0, 5)
    assert words == "Making the INT8 files, once: step 5 of 10 is done"
    assert half - begun > 0.3 and half < 0.5
    # The model is loaded after it.
    progress.enter("segment", 10)
    assert progress.fraction > 0.6 and at(clock, progress, 65.0, 5)[1] == "Segmenting slice 5 of 10, 6 s left"


def test_nothing_is_left_at_the_end(clock: Any) -> None:
    from AutoMedSAMLib.run.progress import Progress

    progress = Progress()
    progress.enter("segment", 69)
    assert at(clock, progress, 3.0, 69)[1] == "Segmenting slice 69 of 69"


def test_propagating_begins_at_the_beginning(clock: Any) -> None:
    from AutoMedSAMLib.run.progress import Progress

    progress = Progress(again=True)
    progress.enter("segment", 10)
    assert progress.fraction < 0.15
    assert at(clock, progress, 5.0, 5)[1] == "Segmenting slice 5 of 10, 6 s left"


def test_progress_never_goes_back(clock: Any) -> None:
    from AutoMedSAMLib.run.progress import Progress

    progress = Progress()
    seen = [progress.copied(0.0), progress.copied(1.0)]
    for part, total in (("load", 0), ("detect", 3), ("link", 0), ("segment", 3), ("surface", 0)):
        progress.enter(part, total)
        seen.append(progress.fraction)
        for _ in range(total):
            progress.count({})
            seen.append(progress.fraction)
    assert seen == sorted(seen)
    assert seen[0] == 0 and 0.9 < seen[-1] < 1


def report(objects: int, millilitres: float) -> dict[str, Any]:
    found = {"seconds": {"detect": 0.1}, "slices": 12, "segmented_slices": 3, "objects": objects}
    return found | {"volume_ml": {"Glioma": millilitres}, "peak_memory_mb": 1.0, "device": "CPU"}


def finish(engine: Any, heard: Any, wait_until: Any, objects: int, millilitres: float) -> str:
    engine.answer(event="finished", report=report(objects, millilitres), tracklets=[], confidence=[], crops={})
    wait_until(lambda: heard.outcomes)
    return heard.outcome.message


def test_the_time_is_what_the_user_waited(begin_run: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    began = time.perf_counter()
    engine, heard = begin_run()
    segment_slices(engine, 3)
    with pytest.raises(TimeoutError):
        wait_until(lambda: False, seconds=0.5)
    message = finish(engine, heard, wait_until, 1, 131.71)
    waited = time.perf_counter() - began
    matched = re.fullmatch(r"Found 1 object, 131\.7 ml, in (\d+\.\d) s\.", message)
    assert matched, message
    assert 0.45 <= float(matched[1]) <= waited + 0.05, "not the engine's own 0.1 s"


def test_changes_of_a_propagation_are_reported(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    segment_slices(engine, 3, 4, 5)
    finish(engine, heard, wait_until, 1, 1.0)
    engine, again = begin_run(heard.run.segmentation, again=True)
    segment_slices(engine, 3, 4, 5)
    engine.labels[4, 0:3, 0:3] = 1
    message = finish(engine, again, wait_until, 1, 1.2)
    assert message.startswith("1 slice changed. The segmentation now has 1 object, 0.2 ml (")


def test_a_propagation_without_changes_is_reported(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    segment_slices(engine, 3)
    finish(engine, heard, wait_until, 1, 1.0)
    engine, again = begin_run(heard.run.segmentation, again=True)
    segment_slices(engine, 3)
    assert finish(engine, again, wait_until, 1, 1.0).startswith("No slice changed. The segmentation now has 1 object")


def test_empty_result_explains_what_to_do(begin_run: Any, wait_until: Any) -> None:
    engine, heard = begin_run()
    assert finish(engine, heard, wait_until, 0, 0.0) == (
        "Nothing was found with a min score of 0.4; lower it to find more."
    )


def test_slices_that_were_edited_by_hand_are_counted_in_the_closing_sentence(
    begin_run: Any, small_flair: Any, wait_until: Any
) -> None:
    import slicer

    engine, heard = begin_run()
    segment_slices(engine, 3, 4)
    finish(engine, heard, wait_until, 1, 1.0)
    node, segment_id = heard.run.segmentation, heard.run.segment_ids[1]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, small_flair)
    mask[3, 4, 5:9] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, small_flair)
    engine, again = begin_run(node, again=True)
    segment_slices(engine, 3, 4)
    # Two slices of 30 voxels of 2.5 mm3, less the 4 voxels that were erased; the engine has not seen that.
    message = finish(engine, again, wait_until, 1, 0.15)
    assert message.startswith("No slice changed. The segmentation now has 1 object, 0.1 ml (")
    assert again.outcome.report["volume_ml"] == {"Glioma, whole tumour": pytest.approx(0.14)}
    assert message.endswith("s). 1 slice edited by hand was kept.")
