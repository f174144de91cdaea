"""Objects that a user marks by points, edited masks and empty slices come out as marked, as previews show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from phantoms import phantom_head

from automedsam import segment
from automedsam.bundle import Bundle, load_bundle
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.prompts import EditedMask, Point
from automedsam.core.volume import Plane, Volume
from automedsam.demo.phantom import Lesion
from automedsam.pipeline.backends import LoadedModel, load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam.tracking.prompting import object_key


class Counted:
    """The segmenter's networks, and how often each was asked."""

    def __init__(self, engine: LoadedModel) -> None:
        self._parts, self.asked = engine.networks, dict.fromkeys(("encode_image", "attend", "decode"), 0)

    def __getattr__(self, name: str) -> object:
        if name in self.asked:
            self.asked[name] += 1
        return getattr(self._parts, name)


@pytest.fixture(scope="module")
def a_bundle() -> Bundle:
    return load_bundle("glioma")


@pytest.fixture(scope="module")
def an_engine(a_bundle: Bundle) -> LoadedModel:
    return load_model(a_bundle)


@pytest.fixture(scope="module")
def heads() -> tuple[Volume, np.ndarray]:
    volume, truth = phantom_head(lesions=[Lesion((-36.0, 30.0, 18.0), 14.0), Lesion((36.0, -32.0, 28.0), 12.0)])
    return volume, np.asarray(truth) > 0


@pytest.fixture
def counted(an_engine: LoadedModel) -> Counted:
    return Counted(an_engine)


@pytest.fixture
def a_run(
    heads: tuple[Volume, np.ndarray], a_bundle: Bundle, an_engine: LoadedModel, counted: Counted
) -> SegmentationRun:
    return SegmentationRun(heads[0], a_bundle, engine=replace(an_engine, networks=counted))


@pytest.fixture
def lesion(a_run: SegmentationRun, heads: tuple[Volume, np.ndarray]) -> np.ndarray:
    """The left lesion alone, on the run's frames."""
    volume, truth = heads
    frames = np.array(replace(volume, array=truth).to_frames(a_run.plane)[0])
    frames[:, :, 120:] = False
    return frames


def middle_of(lesion: np.ndarray) -> tuple[int, float, float]:
    """The slice where the lesion is largest, and the pixel center in its middle."""
    seed = int(lesion.sum((1, 2)).argmax())
    y, x = np.argwhere(lesion[seed]).mean(0).astype(int)
    return seed, x + 0.5, y + 0.5


def box_of(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def tracked(run: SegmentationRun, tracklets: Sequence[Tracklet]) -> np.ndarray:
    list(run.propagate(tracklets))
    return run.tracker.labels.copy()


def previewed(run: SegmentationRun, tracklet: Tracklet, index: int) -> np.ndarray:
    found = run.tracker.preview(run.engine.networks, tracklet, index)
    assert found is not None and 0 <= found.score <= 1
    return found.mask


def test_a_single_point_finds_the_lesion(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, x, y = middle_of(lesion)
    labels = tracked(a_run, [Tracklet(1, seed=seed, points={seed: (Point(x, y),)})])
    assert dice(labels > 0, lesion) > 0.7


def test_a_bundle_without_a_detector_segments_prompts(heads: tuple[Volume, np.ndarray], a_bundle: Bundle) -> None:
    volume, truth = heads
    without = Bundle(a_bundle.folder, {**a_bundle.manifest, "detector": {**a_bundle.manifest["detector"], "files": {}}})
    assert not without.has_detector
    frames = replace(volume, array=truth).to_frames(Plane.AXIAL)[0]
    seed = int(frames[:, :, :120].sum((1, 2)).argmax())
    prompts = [Tracklet(1, {seed: box_of(frames[seed, :, :120])}, seed)]
    found = segment(volume, without, prompts=prompts, plane=Plane.AXIAL)
    assert found.labels.any() and found.provenance["prompted_objects"] == 1


def test_a_negative_point_removes_its_region(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    box = box_of(lesion[seed])
    before = previewed(a_run, Tracklet(1, {seed: box}, seed), seed)
    y, x = np.argwhere(before)[0]
    after = previewed(a_run, Tracklet(1, {seed: box}, seed, {seed: (Point(x + 0.5, y + 0.5, positive=False),)}), seed)
    assert before[y, x] and not after[y, x]
    assert 0 < after.sum() < before.sum()


def test_a_positive_point_beyond_the_box_adds_its_region(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    box = box_of(lesion[seed])
    half = replace(box, width=box.width / 2)
    x, y = box.x + box.width * 0.75, box.y + box.height / 2
    found = previewed(a_run, Tracklet(1, {seed: half}, seed, {seed: (Point(x, y),)}), seed)
    assert found[int(y), int(x)]
    assert dice(found, lesion[seed]) > dice(previewed(a_run, Tracklet(1, {seed: half}, seed), seed), lesion[seed])


def test_tracking_starts_from_exactly_the_edited_mask(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    edited = lesion[seed].copy()
    edited[::2] &= np.indices(edited.shape)[1][::2] % 2 == 0  # ragged, as no network draws
    tracklet = Tracklet(1, seed=seed, masks={seed: EditedMask(edited)})
    rival = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    np.testing.assert_array_equal(tracked(a_run, [tracklet])[seed] > 0, edited)
    assert (a_run.tracker.labels[seed + 1] & lesion[seed + 1]).any()
    np.testing.assert_array_equal(previewed(a_run, tracklet, seed), edited)
    # On another slice than the seed, too.
    also = replace(rival, masks={seed + 2: EditedMask(edited)})
    np.testing.assert_array_equal(tracked(a_run, [also])[seed + 2] > 0, edited)


def test_an_empty_slice_is_empty_and_stops_tracking(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    box = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    plain = tracked(a_run, [box])
    assert plain[seed + 3].any() and plain[seed + 2].any()
    stopped = tracked(a_run, [replace(box, empty=frozenset({seed + 2}))])
    assert not stopped[seed + 2 :].any() and stopped[seed + 1].any()
    # A box on the other side is an end of its own.
    both = {seed: box_of(lesion[seed]), seed + 4: box_of(lesion[seed + 4])}
    resumed = tracked(a_run, [Tracklet(1, both, seed, empty=frozenset({seed + 2}))])
    assert resumed[seed + 3].any() and resumed[seed + 4].any() and not resumed[seed + 2].any()


def test_an_object_that_is_empty_wherever_it_was_marked_is_gone(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    box = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    assert tracked(a_run, [box]).any()
    assert not tracked(a_run, [replace(box, empty=frozenset({seed}))]).any()
    assert not tracked(a_run, [Tracklet(1, seed=seed, points={seed: (Point(9.5, 9.5, positive=False),)})]).any()


def test_limits_bound_an_object(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    labels = tracked(a_run, [Tracklet(1, {seed: box_of(lesion[seed])}, seed, limits=(seed - 1, seed + 2))])
    assert np.flatnonzero(labels.any((1, 2))).tolist() == [seed - 1, seed, seed + 1, seed + 2]


def test_what_was_not_touched_stays_as_it_was(
    a_run: SegmentationRun, lesion: np.ndarray, heads: tuple[Volume, np.ndarray], counted: Counted
) -> None:
    seed, x, y = middle_of(lesion)
    other = np.array(replace(heads[0], array=heads[1]).to_frames(a_run.plane)[0])
    other[:, :, :120] = False
    there, ox, oy = middle_of(other)
    first = Tracklet(1, seed=seed, points={seed: (Point(x, y),)})
    second = Tracklet(1, seed=there, points={there: (Point(ox, oy),)}, empty=frozenset({there + 3}))
    before = tracked(a_run, [first, second])
    asked = counted.asked["decode"]
    np.testing.assert_array_equal(tracked(a_run, [first, second]), before)
    assert counted.asked["decode"] == asked
    clicked = replace(second, points={there: (Point(ox, oy), Point(ox + 3, oy, positive=False))})
    after = tracked(a_run, [first, clicked])
    np.testing.assert_array_equal(after[:, :, :120], before[:, :, :120])
    assert (after != before).any()


@pytest.mark.parametrize("kind", ["box", "point", "clicks", "mask", "elsewhere", "beyond an empty slice"])
def test_a_preview_is_what_tracking_gives(a_run: SegmentationRun, lesion: np.ndarray, kind: str) -> None:
    seed, x, y = middle_of(lesion)
    box, off = box_of(lesion[seed]), Point(x - 4, y, positive=False)
    tracklet, index = {
        "box": (Tracklet(1, {seed: box}, seed), seed),
        "point": (Tracklet(1, seed=seed, points={seed: (Point(x, y),)}), seed),
        "clicks": (Tracklet(1, {seed: box}, seed, {seed: (Point(x, y), off)}), seed),
        "mask": (Tracklet(1, seed=seed, points={seed: (off,)}, masks={seed: EditedMask(lesion[seed])}), seed),
        "elsewhere": (Tracklet(1, {seed: box}, seed, {seed + 2: (off,)}), seed + 2),
        "beyond an empty slice": (Tracklet(1, {seed: box}, seed, empty=frozenset({seed + 1})), seed + 2),
    }[kind]
    expected = previewed(a_run, tracklet, index)
    assert expected.any() == (kind != "beyond an empty slice")
    # Another object nearby does not change it.
    beside = Tracklet(1, {seed: replace(box, x=box.x + 50)}, seed)
    labels = tracked(a_run, [tracklet, beside])
    np.testing.assert_array_equal(labels[index, :, :110] > 0, expected[:, :110])


def test_a_second_click_costs_the_decoder_alone(a_run: SegmentationRun, lesion: np.ndarray, counted: Counted) -> None:
    seed, x, y = middle_of(lesion)
    first = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    previewed(a_run, first, seed)
    before = dict(counted.asked)
    previewed(a_run, replace(first, points={seed: (Point(x, y, positive=False),)}), seed)
    assert counted.asked == {**before, "decode": before["decode"] + 1}


def test_a_cancelled_preview_gives_nothing(a_run: SegmentationRun, lesion: np.ndarray) -> None:
    seed, _, _ = middle_of(lesion)
    box = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    assert a_run.tracker.preview(a_run.engine.networks, box, seed + 2, lambda: True) is None


def test_every_prompt_counts_in_an_objects_key() -> None:
    mask = np.zeros((4, 4), bool)
    base = Tracklet(1, {3: Box(1, 1, 2, 2)}, 3)
    kinds = [
        base,
        replace(base, points={3: (Point(1, 1),)}),
        replace(base, points={3: (Point(1, 1, positive=False),)}),
        replace(base, masks={3: EditedMask(mask)}),
        replace(base, masks={3: EditedMask(~mask)}),
        replace(base, empty=frozenset({4})),
        replace(base, limits=(1, 4)),
    ]
    assert len({object_key(one) for one in kinds}) == len(kinds)
    assert replace(base, masks={3: EditedMask(mask)}) == replace(base, masks={3: EditedMask(mask.astype(np.uint8))})


def test_a_second_click_far_from_the_seed_costs_its_slice_alone(
    a_run: SegmentationRun, lesion: np.ndarray, counted: Counted
) -> None:
    seed, x, y = middle_of(lesion)
    box = Tracklet(1, {seed: box_of(lesion[seed])}, seed)
    clicks = [Point(x, y, positive=False), Point(x + 2, y, positive=False)]
    tracked(a_run, [box])
    one, two = (replace(box, points={seed + 4: tuple(clicks[: count + 1])}) for count in range(2))
    previewed(a_run, one, seed + 4)
    before = dict(counted.asked)
    found = previewed(a_run, two, seed + 4)
    assert counted.asked == {name: count + (name != "encode_image") for name, count in before.items()}
    # What is kept is what would be computed.
    fresh = SegmentationRun(a_run.volume, a_run.bundle, engine=a_run.engine)
    np.testing.assert_array_equal(tracked(fresh, [two])[seed + 4] > 0, found)
    np.testing.assert_array_equal(tracked(a_run, [two]), fresh.tracker.labels)
