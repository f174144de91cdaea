"""What the scripted_logic asks of the engine, what it answers, and how it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_in import int8_copy

from runs import segment_slices

pytest_plugins = ["run_fixtures"]

SHAPE = (12, 20, 24)


def test_the_engine_gets_the_voxels_and_their_place(begin_run: Any, small_flair: Any) -> None:
    import slicer

    engine, _ = begin_run()
    sent = engine.asked["volume"]
    np.testing.assert_array_equal(np.load(sent["path"]), slicer.util.arrayFromVolume(small_flair))
    assert sent["spacing"] == [1, 1, 2.5] and sent["name"] == "FLAIR Größe"
    np.testing.assert_allclose(np.reshape(sent["direction"], (3, 3)), np.eye(3))


def test_a_full_disk_is_reported_in_one_sentence(
    scripted_logic: Any, small_flair: Any, wait_until: Any, monkeypatch: Any
) -> None:
    from runs import Recorder, request_for

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    monkeypatch.setattr(scripted_logic.exchange, "new_path", lambda _: full)
    monkeypatch.setattr(scripted_logic.exchange, "discard", lambda _: None)
    heard = Recorder()
    scripted_logic.start(request_for(small_flair), heard)
    wait_until(lambda: heard.outcomes)
    assert heard.outcome.status == "failed" and "free some space" in heard.outcome.message


def test_where_it_comes_from_is_written_into_the_segmentation(begin_run: Any, wait_until: Any) -> None:
    from AutoMedSAMLib.scene.provenance import PROVENANCE, read_boxes, read_provenance, tag_of

    engine, heard = begin_run(threshold=0.4)
    box = {"id": 1, "slice": 3, "bounds": [5, 11, 4, 9, 3, 4], "score": 0.9, "label": 1, "drawn": False}
    engine.answer(event="boxes", slice=3, boxes=[box])
    segment_slices(engine, 3)
    engine.finish(tracklets=[{"label": 1, "seed": 3, "score": 0.9, "boxes": [1], "gaps": []}])
    wait_until(lambda: heard.outcomes)
    node = heard.run.segmentation
    told = read_provenance(node)
    assert (told["model"], told["model_hash"], told["backend"], told["volumes"]) == (
        "glioma",
        "abc",
        "int8",
        ["FLAIR Größe"],
    )
    assert (told["threshold"], told["plane"], told["engine_version"]) == (0.4, "axial", "0.1.0")
    assert read_boxes(node)["boxes"] == [box]
    segment = node.GetSegmentation().GetSegment(heard.run.segment_ids[1])
    assert tag_of(segment, PROVENANCE)["model_version"] == "0.1.0"


def test_of_several_links_only_the_last_is_answered(scripted_logic: Any, small_flair: Any, wait_until: Any) -> None:
    from runs import ScriptedEngine, request_for

    answers: list[Any] = []
    for threshold in (0.2, 0.3, 0.4):
        scripted_logic.link(
            request_for(small_flair), [], threshold, lambda told, at=threshold: answers.append((at, told))
        )
    engine = ScriptedEngine.started[0]
    engine.answer(event="tracklets", tracklets=["old"])
    wait_until(lambda: engine.asked["threshold"] == 0.4)
    engine.answer(event="tracklets", tracklets=["new"])
    wait_until(lambda: answers)
    assert answers == [(0.4, ["new"])]
    assert [message["threshold"] for message in engine.sent if message["op"] == "link"] == [0.2, 0.4]
    assert {"op": "cancel"} not in engine.sent, "an engine that is still starting must not be killed for it"


def test_the_device_of_int8_is_known_without_an_engine(scripted_logic: Any, wait_until: Any) -> None:
    from runs import ScriptedEngine

    lines: list[str] = []
    scripted_logic.describe_device("int8", lines.append)
    assert lines == ["CPU: INT8 needs no PyTorch"] and ScriptedEngine.started == []
    scripted_logic.describe_device("fp32", lines.append)
    ScriptedEngine.started[0].answer(event="devices", device="CPU: no CUDA GPU found", missing=["torch"])
    wait_until(lambda: len(lines) == 2)
    assert "torch" in lines[1]


def test_process_keeps_the_window_live_and_reports_progress(
    scripted_logic: Any, small_flair: Any, slicer_app: Any
) -> None:
    import qt

    from runs import ScriptedEngine, everything_in

    turns: list[str] = []
    timer = qt.QTimer()
    timer.setInterval(10)

    def turn() -> None:
        turns.append("turn")
        if ScriptedEngine.started and len(turns) == 20:
            engine = ScriptedEngine.started[0]
            engine.labels = engine.begin(SHAPE)
            segment_slices(engine, 3)
            engine.finish()

    timer.connect("timeout()", turn)
    timer.start()
    texts: list[str] = []
    node = scripted_logic.process([small_flair], onProgress=lambda _, text: texts.append(text))
    timer.stop()
    assert len(everything_in(node)) == 1 and len(turns) >= 20
    assert texts[0] == "Copying the volume" or texts[0] == "Loading the model"


def test_process_raises_what_a_person_can_read(scripted_logic: Any, small_flair: Any, tmp_path: Path) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError

    with pytest.raises(
        AutoMedSAMError, match="There is no model stroke: choose one of glioma, hippocampus, polyp, brats"
    ):
        scripted_logic.process(small_flair, model="stroke")
    with pytest.raises(AutoMedSAMError, match="There is no backend int4"):
        scripted_logic.process(small_flair, backend="INT4")
    with pytest.raises(AutoMedSAMError, match="The model glioma has no FP32 files here"):
        scripted_logic.process(small_flair, model=str(int8_copy(tmp_path)), backend="FP32")
    with pytest.raises(AutoMedSAMError, match=r"1\.5 is out of range"):
        scripted_logic.process(small_flair, threshold=1.5)


def test_scene_of_version_0_1_keeps_what_the_engine_saw(scene: Any) -> None:
    from AutoMedSAMLib.scene.provenance import BOXES, encode, read_boxes

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetAttribute(BOXES, encode({"boxes": [], "tracklets": [], "rejected": [], "views": {"a": [0, 0, 9, 9]}}))
    assert read_boxes(node)["crops"] == {"a": [0, 0, 9, 9]}
