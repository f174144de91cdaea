"""After a correction only what it touches is computed, and what it does not touch stays as it was, voxel for voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from phantoms import phantom_head

from automedsam.bundle import Bundle, load_bundle
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.events import Event, Finished, SliceDetected, SlicePropagated, SliceSegmented, StageStarted
from automedsam.core.volume import Plane, Volume
from automedsam.demo.phantom import Lesion
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import LoadedModel, load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam.sam2.propagation import CropBox
from automedsam.tracking import tracker
from automedsam.tracking.crops import Crop
from automedsam.tracking.tracker import ObjectTracker


class Counted:
    """The segmenter's networks, and how often a mask was asked for."""

    def __init__(self, engine: LoadedModel) -> None:
        self._parts, self.masks = engine.networks, 0

    def __getattr__(self, name: str) -> object:
        self.masks += name == "decode"
        return getattr(self._parts, name)


@pytest.fixture(scope="module")
def a_bundle() -> Bundle:
    return load_bundle("glioma")


@pytest.fixture(scope="module")
def an_engine(a_bundle: Bundle) -> LoadedModel:
    return load_model(a_bundle)


@pytest.fixture(scope="module")
def heads() -> tuple[Volume, np.ndarray]:
    """A phantom with a lesion on the left and one on the right, and where they are."""
    return phantom_head(lesions=[Lesion((-36.0, 30.0, 18.0), 14.0), Lesion((36.0, -32.0, 28.0), 12.0)])


@pytest.fixture(scope="module")
def a_head(heads: tuple[Volume, np.ndarray]) -> Volume:
    return heads[0]


@pytest.fixture(scope="module")
def found(heads: tuple[Volume, np.ndarray]) -> list[Tracklet]:
    """The lesions' own bounding boxes, as a good detector would find them: far enough apart for two views."""
    _, truth = heads
    tracklets = []
    for half in (slice(0, 120), slice(120, 240)):
        boxes = {}
        for index in np.flatnonzero(truth[:, :, half].any(axis=(1, 2))).tolist():
            rows, columns = np.nonzero(truth[index, :, half])
            x, y = float(columns.min() + half.start), float(rows.min())
            boxes[index] = Box(x, y, float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1, 0.9)
        tracklets.append(Tracklet(1, boxes, seed_slice(boxes)))
    return tracklets


@pytest.fixture
def counted(an_engine: LoadedModel) -> Counted:
    return Counted(an_engine)


@pytest.fixture
def a_run(
    a_head: Volume, a_bundle: Bundle, an_engine: LoadedModel, counted: Counted, found: list[Tracklet]
) -> SegmentationRun:
    """A run that has segmented both lesions."""
    run = SegmentationRun(a_head, a_bundle, engine=replace(an_engine, networks=counted))
    list(run.propagate(found))
    counted.masks = 0
    return run


@pytest.fixture
def anew(a_head: Volume, a_bundle: Bundle, an_engine: LoadedModel):
    """The labels of a new run with given objects."""

    def labels(tracklets: Sequence[Tracklet]) -> np.ndarray:
        run = SegmentationRun(a_head, a_bundle, engine=an_engine)
        list(run.propagate(tracklets))
        return run.result().labels

    return labels


def told(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, SliceSegmented)]


def computed(events: list[Event]) -> int:
    return next(event.total for event in events if isinstance(event, StageStarted))


def with_another_end(tracklet: Tracklet) -> Tracklet:
    """Its last box is a little smaller; boxes within the object's hull leave the view as it was."""
    last = tracklet.boxes[tracklet.last]
    smaller = Box(last.x + 1, last.y + 1, last.width - 2, last.height - 2, 1.0, last.label)
    return replace(tracklet, boxes=tracklet.boxes | {tracklet.last: smaller})


def differing(one: np.ndarray, other: np.ndarray) -> list[int]:
    """Slices, which for the phantom are frames as they are."""
    return np.flatnonzero((one != other).any(axis=(1, 2))).tolist()


def test_unchanged_objects_cost_nothing_and_change_nothing(
    a_run: SegmentationRun, counted: Counted, found: list[Tracklet]
) -> None:
    before = a_run.result().labels
    events = list(a_run.propagate([replace(tracklet) for tracklet in found]))
    assert [type(event) for event in events] == [StageStarted, Finished]
    assert (counted.masks, computed(events)) == (0, 0)
    np.testing.assert_array_equal(a_run.result().labels, before)


def test_rejected_object_goes_at_once(a_run: SegmentationRun, counted: Counted, found: list[Tracklet], anew) -> None:
    before = a_run.result().labels
    events = list(a_run.propagate(found[:1]))
    assert counted.masks == 0
    np.testing.assert_array_equal(a_run.result().labels, anew(found[:1]))
    assert told(events) == differing(before, a_run.result().labels) != []


def test_edited_object_alone_is_computed(a_run: SegmentationRun, counted: Counted, found: list[Tracklet], anew) -> None:
    before = a_run.result().labels
    edited = [found[0], with_another_end(found[1])]
    events = list(a_run.propagate(edited))
    reach = a_run.tracker.objects[1].reach
    assert computed(events) == reach.last - reach.first + 1
    assert 0 < counted.masks <= computed(events)
    np.testing.assert_array_equal(a_run.result().labels, anew(edited))
    assert sorted(told(events)) == differing(before, a_run.result().labels)
    followed = [event.index for event in events if isinstance(event, SlicePropagated)]
    assert len(followed) + len(told(events)) >= counted.masks


def test_neighbour_in_the_same_view_is_left_alone(
    a_run: SegmentationRun, found: list[Tracklet], a_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two objects that were looked at together: an edit that moves the view does not touch the other's outline."""
    whole = CropBox(0, 0, *a_run.slices.shape[1:])
    monkeypatch.setattr(
        tracker, "group_into_crops", lambda reaches, *_: [Crop(whole, tuple(reaches))] if reaches else []
    )
    together = ObjectTracker(
        a_run.slices, a_run.volume.frame_spacing(a_run.plane), a_bundle.segmenter, a_bundle.tracking, a_run.frames
    )
    list(together.track(a_run.engine.networks, found))
    before = next(one for one in together.objects if one.tracklet == found[0])
    monkeypatch.undo()
    list(together.track(a_run.engine.networks, [found[0], with_another_end(found[1])]))
    after = next(one for one in together.objects if one.tracklet == found[0])
    assert after is before and after.region == whole
    changed = next(one for one in together.objects if one.tracklet != found[0])
    assert changed.complete and changed.region != whole


def test_another_seed_is_computed(a_run: SegmentationRun, counted: Counted, found: list[Tracklet], anew) -> None:
    seeded = [replace(found[0], seed=found[0].first), found[1]]
    list(a_run.propagate(seeded))
    assert counted.masks > 0
    np.testing.assert_array_equal(a_run.result().labels, anew(seeded))


def test_edits_there_and_back_end_where_they_began(a_run: SegmentationRun, found: list[Tracklet]) -> None:
    before = a_run.result().labels
    list(a_run.propagate([with_another_end(found[0]), found[1]]))
    list(a_run.propagate([]))
    assert not a_run.result().labels.any()
    list(a_run.propagate(found))
    np.testing.assert_array_equal(a_run.result().labels, before)


def test_stopping_half_way_leaves_each_slice_as_it_was_or_as_it_shall_be(
    a_run: SegmentationRun, found: list[Tracklet], anew
) -> None:
    before, edited = a_run.result().labels, [with_another_end(tracklet) for tracklet in found]
    after = anew(edited)
    events = a_run.propagate(edited)
    list(islice(events, 12))
    events.close()
    half = a_run.result().labels
    assert all((half[k] == before[k]).all() or (half[k] == after[k]).all() for k in range(len(half)))
    list(a_run.propagate(edited))
    np.testing.assert_array_equal(a_run.result().labels, after)


def test_new_run_goes_on_from_what_another_left_without_touching_what_stays(
    a_head: Volume, a_bundle: Bundle, an_engine: LoadedModel, a_run: SegmentationRun, found: list[Tracklet], anew
) -> None:
    """As when the engine's process had to be started anew."""
    edited = [found[0], with_another_end(found[1])]
    run = SegmentationRun(a_head, a_bundle, engine=an_engine)
    run.tracker.labels[:] = before = a_run.tracker.labels.copy()
    events = list(run.propagate(edited))
    np.testing.assert_array_equal(run.result().labels, anew(edited))
    assert sorted(told(events)) == differing(before, run.result().labels)


def test_object_is_followed_further_from_a_drawn_box(
    a_head: Volume, a_bundle: Bundle, an_engine: LoadedModel, found: list[Tracklet]
) -> None:
    """One box by hand in the middle of a lesion segments most of it; a detector's lone box does not."""
    whole = SegmentationRun(a_head, a_bundle, engine=an_engine)
    list(whole.propagate(found[:1]))
    seed = found[0].seed
    volumes = []
    for score in (1.0, 0.9):
        box = replace(found[0].boxes[seed], score=score)
        run = SegmentationRun(a_head, a_bundle, engine=an_engine)
        list(run.propagate([Tracklet(1, {seed: box}, seed)]))
        reach = run.tracker.objects[0].reach
        side = max(box.width, box.height)
        assert reach.last - seed == round((side if score == 1 else a_bundle.tracking.reach_mm) / 2.5)
        volumes.append(np.count_nonzero(run.result().labels & whole.result().labels))
    total = np.count_nonzero(whole.result().labels)
    assert volumes[0] > 0.8 * total > 0.5 * total > volumes[1]


def test_only_the_chosen_slices_are_looked_at(a_head: Volume, a_bundle: Bundle, an_engine: LoadedModel) -> None:
    whole, part = (SegmentationRun(a_head, a_bundle, engine=an_engine, slices=slices) for slices in (None, (33, 40)))
    list(whole.detect(an_engine.detector))
    events = list(part.events())
    assert [event.index for event in events if isinstance(event, SliceDetected)] == list(range(33, 41))
    assert next(event.total for event in events if isinstance(event, StageStarted)) == 8
    for index in range(33, 41):
        corners = [np.array([box.corners for box in run.detections[index]]) for run in (whole, part)]
        np.testing.assert_allclose(*corners, atol=1e-3)
    labels = part.result().labels
    assert labels[33:41].any(axis=(1, 2)).all() and not np.delete(labels, range(33, 41), 0).any()


@pytest.mark.parametrize("slices", [(-1, 5), (5, 60), (9, 8)])
def test_slices_that_are_not_in_the_volume(a_head: Volume, a_bundle: Bundle, slices: tuple[int, int]) -> None:
    with pytest.raises(AutoMedSAMError, match="choose among 0 to 59"):
        SegmentationRun(a_head, a_bundle, plane=Plane.AXIAL, slices=slices)
