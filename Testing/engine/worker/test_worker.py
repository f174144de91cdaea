"""The engine as a process: what Slicer asks is answered as a run in Slicer's own process would."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from phantoms import phantom_head

from automedsam.bundle import Bundle
from automedsam.core.volume import Plane, Volume
from automedsam.pipeline.run import SegmentationRun

if TYPE_CHECKING:
    from Testing.engine.conftest import Message, Worker

LAST = ("finished", "cancelled", "error")


def labels_of(fields: Message) -> np.ndarray:
    return np.load(fields["labels"], allow_pickle=False)


def of_kind(events: list[Message], kind: str) -> list[Message]:
    return [event for event in events if event["event"] == kind]


def boxes_in(events: list[Message]) -> list[Message]:
    return [box for event in of_kind(events, "boxes") for box in event["boxes"]]


def test_segmenting_gives_what_a_run_gives(
    a_worker: Worker, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message]
) -> None:
    fields = request_of(a_head)
    events = a_worker.ask("segment", **fields)
    np.testing.assert_array_equal(labels_of(fields), a_run.result().labels)
    started = events[0]
    assert (started["event"], started["plane"], started["axis"], started["slices"]) == ("started", "axial", 0, [0, 25])
    assert started["threshold"] == a_run.linking.threshold
    assert started["model"] == {"name": "glioma", "version": a_run.bundle.version, "hash": a_run.bundle.hash}
    assert [e["stage"] for e in of_kind(events, "stage")] == ["detect", "segment"]
    assert [e["slice"] for e in of_kind(events, "boxes")] == list(range(26))
    told = {e["slice"] for e in of_kind(events, "slice")}
    assert told == {index for followed in a_run.tracker.objects for index in followed.masks}
    finished = events[-1]
    assert finished["report"]["objects"] == len(a_run.tracklets) == len(finished["tracklets"])
    assert {one["slice"] for one in finished["confidence"]} <= told
    assert all(0 <= one["confidence"] <= 1 for one in finished["confidence"])


def test_labels_are_on_disk_when_a_slice_is_told(
    a_worker: Worker, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message]
) -> None:
    """The first slice of the surest object is final as soon as it is told: nothing else reaches it."""
    fields = request_of(a_head)
    a_worker.send("segment", **fields)
    index = a_worker.until("slice")[-1]["slice"]
    assert labels_of(fields)[index].any()
    a_worker.until(*LAST)


def test_second_run_is_warm_and_the_same(
    a_worker: Worker, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message]
) -> None:
    fields = request_of(a_head)
    for _ in range(2):
        report = a_worker.ask("segment", **fields)[-1]["report"]
        np.testing.assert_array_equal(labels_of(fields), a_run.result().labels)
    assert report["seconds"]["load"] < 0.01


@pytest.mark.parametrize(("plane", "slices"), [(Plane.AXIAL, (0, 25)), (Plane.CORONAL, (130, 180))])
def test_flipped_volume_has_its_boxes_and_slices_where_it_stores_them(
    a_worker: Worker,
    a_head: Volume,
    glioma: Bundle,
    request_of: Callable[..., Message],
    plane: Plane,
    slices: tuple[int, int],
) -> None:
    """Slices run against the file's index; every box lies about the labels of its own voxels."""
    array = np.ascontiguousarray(a_head.array[::-1, ::-1, ::-1])
    flipped = Volume(array, a_head.spacing, a_head.origin, (-1, 0, 0, 0, -1, 0, 0, 0, -1), "flipped")
    axis = flipped.slice_axis(plane)[0]
    last = flipped.shape[axis] - 1
    run = SegmentationRun(flipped, glioma, plane=plane, slices=(last - slices[1], last - slices[0]))
    list(run.events())
    fields = request_of(flipped, plane=plane.value, slices=slices)
    events = a_worker.ask("segment", **fields)
    labels = labels_of(fields)
    np.testing.assert_array_equal(labels, run.result().labels)
    assert events[0]["axis"] == axis
    numbered = {box["id"]: box for box in boxes_in(events)}
    believed = [numbered[n] for tracklet in events[-1]["tracklets"] for n in tracklet["boxes"]]
    assert sum(len(tracklet["boxes"]) for tracklet in events[-1]["tracklets"]) == len(believed) > 10
    filled = 0
    for box in believed:
        (i0, i1), (j0, j1), (k0, k1) = (map(round, box["bounds"][at : at + 2]) for at in (0, 2, 4))
        filled += labels[k0:k1, j0:j1, i0:i1].mean() > 0.4
        assert box["bounds"][4 - 2 * axis] == box["slice"]
    assert filled > 0.7 * len(believed)
    assert all(numbered[t["boxes"][0]]["slice"] > numbered[t["boxes"][-1]]["slice"] for t in events[-1]["tracklets"])


def test_range_of_slices_is_in_the_volumes_own_count(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message]
) -> None:
    flipped = Volume(
        np.ascontiguousarray(a_head.array[::-1]), a_head.spacing, a_head.origin, (1, 0, 0, 0, 1, 0, 0, 0, -1)
    )
    fields = request_of(flipped, slices=[9, 16])
    events = a_worker.ask("segment", **fields)
    assert events[0]["slices"] == [9, 16]
    assert {e["slice"] for e in of_kind(events, "boxes")} == set(range(9, 17))
    shown = np.flatnonzero(labels_of(fields).any(axis=(1, 2)))
    assert len(shown) and set(shown) <= set(range(9, 17))


def test_linking_gives_the_objects_of_a_run_without_its_voxels(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message]
) -> None:
    fields = request_of(a_head)
    events = a_worker.ask("segment", **fields)
    place = {key: fields["volume"][key] for key in ("spacing", "origin", "direction")} | {"shape": a_head.shape}
    asked = {"volume": place, "model": "glioma", "plane": None, "slices": None, "boxes": boxes_in(events)}
    (linked,) = a_worker.ask("link", threshold=None, **asked)
    assert linked["tracklets"] == events[-1]["tracklets"] == of_kind(events, "tracklets")[0]["tracklets"]
    (fewer,) = a_worker.ask("link", threshold=0.99, **asked)
    assert fewer["tracklets"] == []
    lone = {"id": 9000, "slice": 25, "bounds": [0, 20, 0, 15, 25, 26], "score": 0.0, "label": 1, "drawn": True}
    (drawn,) = a_worker.ask("link", threshold=0.99, **asked | {"boxes": [*asked["boxes"], lone]})
    assert drawn["tracklets"] == [{"label": 1, "seed": 25, "score": 1.0, "boxes": [9000], "gaps": []}]


def test_propagating_again_computes_only_what_changed_unless_the_worker_is_new(
    start: Callable[[], Worker], a_head: Volume, request_of: Callable[..., Message]
) -> None:
    """A drawn box: a warm worker leaves the other objects alone, a new one computes all, whatever was there before."""
    warm = start()
    fields = request_of(a_head)
    events = warm.ask("segment", **fields)
    before = labels_of(fields)
    boxes, tracklets = boxes_in(events), events[-1]["tracklets"]
    same = warm.ask("propagate", boxes=boxes, tracklets=tracklets, **fields)
    assert [e["event"] for e in same] == ["started", "stage", "finished"] and same[1]["total"] == 0
    assert same[-1]["tracklets"] == tracklets

    numbered = {box["id"]: box for box in boxes}
    smallest = min(tracklets, key=lambda tracklet: len(tracklet["boxes"]))
    end = numbered[smallest["boxes"][-1]]
    edited = [box if box is not end else {**end, "score": 0.2, "drawn": True} for box in boxes]
    again = warm.ask("propagate", boxes=edited, tracklets=tracklets, **fields)
    after = labels_of(fields)
    whole = sum(len(tracklet["boxes"]) + len(tracklet["gaps"]) for tracklet in tracklets)
    assert 0 < of_kind(again, "stage")[0]["total"] < whole
    assert (
        sorted(e["slice"] for e in of_kind(again, "slice"))
        == np.flatnonzero((before != after).any(axis=(1, 2))).tolist()
    )

    # A new worker computes it all, over what was there before as from nothing, and sees the unchanged as it was seen.
    crops = events[-1]["crops"]
    for name in ("resumed", "fresh"):
        asked = fields | {"labels": fields["labels"].replace("labels", name), "crops": crops}
        if name == "resumed":
            np.save(asked["labels"], before)
        cold = start().ask("propagate", boxes=edited, tracklets=tracklets, **asked)
        assert of_kind(cold, "stage")[0]["total"] >= whole
        np.testing.assert_array_equal(labels_of(asked), after)


def test_rejecting_everything_empties_the_labels(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message]
) -> None:
    fields = request_of(a_head)
    a_worker.ask("segment", **fields)
    shown = np.flatnonzero(labels_of(fields).any(axis=(1, 2))).tolist()
    events = a_worker.ask("propagate", boxes=[], tracklets=[], **fields)
    assert sorted(e["slice"] for e in of_kind(events, "slice")) == shown != []
    assert not labels_of(fields).any()


@pytest.mark.parametrize("after", ["started", "boxes", "slice"])
@pytest.mark.alone
def test_cancelling_answers_within_a_second_and_keeps_what_is_finished(
    a_worker: Worker, a_head: Volume, a_run: SegmentationRun, request_of: Callable[..., Message], after: str
) -> None:
    fields = request_of(a_head)
    a_worker.send("segment", **fields)
    heard = a_worker.until(after)
    began = time.perf_counter()
    a_worker.say('{"op": "cancel"}')
    heard += a_worker.until(*LAST)
    assert time.perf_counter() - began < 1
    assert heard[-1]["event"] == "cancelled"
    told = {e["slice"] for e in of_kind(heard, "slice")}
    assert set(np.flatnonzero(labels_of(fields).any(axis=(1, 2)))) <= told
    assert {one["slice"] for one in heard[-1]["confidence"]} <= told
    assert a_worker.ask("segment", **fields)[-1]["event"] == "finished"
    np.testing.assert_array_equal(labels_of(fields), a_run.result().labels)


def test_cancelling_when_nothing_runs_does_not_harm_the_next_run(
    a_worker: Worker, a_head: Volume, request_of: Callable[..., Message]
) -> None:
    a_worker.say('{"op": "cancel"}')
    assert a_worker.ask("segment", **request_of(a_head))[-1]["event"] == "finished"


def test_phantom_can_be_segmented_as_it_comes(a_worker: Worker, a_head: Volume, tmp_path: Path) -> None:
    (made,) = a_worker.ask("phantom", path=str(tmp_path / "phantom.npy"))
    np.testing.assert_array_equal(np.load(made["volume"]["path"]), phantom_head()[0].array)
    assert tuple(made["volume"]["origin"]) == a_head.origin
    fields = {"volume": made["volume"], "labels": str(tmp_path / "labels.npy"), "model": "glioma"}
    assert a_worker.ask("segment", slices=[36, 44], **fields)[-1]["report"]["objects"] == 2
