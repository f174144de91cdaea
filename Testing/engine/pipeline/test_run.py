"""The one road, with networks that look at grey levels alone, so that what comes out is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

from automedsam.bundle import Bundle, load_bundle
from automedsam.core.boxes import Box
from automedsam.core.events import (
    Event,
    Finished,
    InputChecked,
    SliceDetected,
    SliceSegmented,
    Stage,
    StageStarted,
    TrackletsLinked,
)
from automedsam.core.resize import resize_linear
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline import run as pipeline
from automedsam.pipeline.backends import LoadedModel
from automedsam.pipeline.run import SegmentationRun
from automedsam.sam2.networks import DecoderPrompt, ImageEmbedding, MaskPrediction

BRIGHT = 200


class BrightBoxes:
    """Detects the bounding box of what is bright on a slice."""

    def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
        for frame in frames[..., 1]:
            rows, columns = np.nonzero(frame > BRIGHT)
            if not len(rows):
                yield []
                continue
            y, x = rows.min(), columns.min()
            yield [Box(x, y, columns.max() + 1 - x, rows.max() + 1 - y, 0.9, 1)]


class BrightNetworks:
    """A SAM 2 whose masks are the bright pixels, whatever it is asked; it counts the images that it encodes."""

    def __init__(self, size: int) -> None:
        self.size, self.encoded = size, 0

    def encode_image(self, image: np.ndarray) -> ImageEmbedding:
        self.encoded += 1
        gray = (image[:, 0] * 0.229 + 0.485) * 255
        return ImageEmbedding(*[np.asarray(gray[:, None], np.float32)] * 3)

    def attend(self, features: np.ndarray, *_: Any) -> np.ndarray:
        return features

    def decode(
        self, features: np.ndarray, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        logits = resize_linear(embedding.high_res_0 - BRIGHT, (self.size // 4, self.size // 4))
        presence = np.full((1, 1), 1.0 if (logits > 0).any() else -1.0, np.float32)
        return MaskPrediction(
            logits.repeat(4, 1), np.ones((1, 4), np.float32), np.zeros((1, 4, 8), np.float32), presence
        )

    def remember(self, features: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.zeros((1, 4, 2, 2), np.float32)


@pytest.fixture
def a_bundle() -> Bundle:
    return load_bundle("glioma")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, a_bundle: Bundle) -> BrightNetworks:
    """The networks above take the place of the bundle's files."""
    fakes = BrightNetworks(a_bundle.architecture.image_size)
    monkeypatch.setattr(pipeline, "load_model", lambda *_: LoadedModel(BrightBoxes(), fakes, "CPU: a test"))
    return fakes


def a_head(bright: list[tuple[slice, slice, slice]], shape: tuple[int, int, int] = (24, 40, 44)) -> np.ndarray:
    """A dim body on zero background, with bright blocks `(k, j, i)`."""
    array = np.zeros(shape, np.float32)
    array[2:-2, 4:-4, 4:-4] = 100 + np.arange(shape[0] - 4)[:, None, None]
    for block in bright:
        array[block] = 1000
    return array


LESION = (slice(8, 15), slice(12, 24), slice(18, 32))


def volume_of(array: np.ndarray, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Volume:
    return Volume(array, (1.0, 1.0, 1.0), (3.0, -20.0, 7.0), direction)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_events_come_in_order_and_the_lesion_is_found(parts: BrightNetworks, a_bundle: Bundle) -> None:
    array = a_head([LESION])
    events: list[Event] = list(SegmentationRun(volume_of(array), a_bundle).events())
    kinds = [type(event) for event in events]
    assert kinds[:2] == [InputChecked, StageStarted] and kinds[-1] is Finished
    assert kinds.index(SliceDetected) < kinds.index(TrackletsLinked) < kinds.index(SliceSegmented)
    assert [e.stage for e in events if isinstance(e, StageStarted)] == [Stage.DETECT, Stage.SEGMENT]
    assert [e.index for e in events if isinstance(e, SliceDetected)] == list(range(24))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert overlap(finished.segmentation.labels > 0, array == 1000) > 0.95
    assert finished.report.objects == 1
    assert sum(finished.report.volume_ml.values()) == pytest.approx((finished.segmentation.labels > 0).sum() / 1000)


def test_only_slices_in_reach_are_encoded_and_each_once(parts: BrightNetworks, a_bundle: Bundle) -> None:
    second = (slice(9, 16), slice(28, 34), slice(6, 12))
    run = SegmentationRun(volume_of(a_head([LESION, second])), a_bundle)
    list(run.events())
    reach = round(a_bundle.tracking.reach_mm)
    assert parts.encoded <= 16 - 8 + 2 * reach < 24


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([1, -1], repeat=3)))
def test_how_the_file_stores_the_voxels_does_not_matter(
    parts: BrightNetworks, a_bundle: Bundle, axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    array = a_head([LESION])
    expected = SegmentationRun(volume_of(array), a_bundle, plane=Plane.AXIAL)
    list(expected.events())
    stored = array.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    # Column n of the direction is where the n-th of I, J, K points; array axes are K, J, I.
    matrix = np.zeros((3, 3))
    for place, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        matrix[2 - axis, 2 - place] = flip
    run = SegmentationRun(volume_of(np.ascontiguousarray(stored), tuple(matrix.ravel())), a_bundle, plane=Plane.AXIAL)
    list(run.events())
    again = run.result().labels[tuple(slice(None, None, flip) for flip in flips)].transpose(np.argsort(axes))
    np.testing.assert_array_equal(again, expected.result().labels)


def test_cancelling_keeps_the_finished_slices(parts: BrightNetworks, a_bundle: Bundle) -> None:
    complete = SegmentationRun(volume_of(a_head([LESION])), a_bundle, plane=Plane.AXIAL)
    list(complete.events())
    run = SegmentationRun(volume_of(a_head([LESION])), a_bundle, plane=Plane.AXIAL)
    events, done = run.events(), []
    for event in events:
        if isinstance(event, SliceSegmented):
            done.append(event.index)
        if len(done) == 3:
            break
    events.close()
    kept, whole = run.result().labels, complete.result().labels
    np.testing.assert_array_equal(kept[done], whole[done])
    assert kept[done].any() and not np.delete(kept, done, axis=0).any()


def test_cancelling_before_anything_is_found_gives_an_empty_segmentation(
    parts: BrightNetworks, a_bundle: Bundle
) -> None:
    run = SegmentationRun(volume_of(a_head([LESION])), a_bundle)
    next(iter(run.events()))
    assert not run.result().labels.any()


def test_nothing_found_is_a_valid_empty_segmentation(parts: BrightNetworks, a_bundle: Bundle) -> None:
    events = list(SegmentationRun(volume_of(a_head([])), a_bundle, threshold=0.95).events())
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert not finished.segmentation.labels.any() and finished.segmentation.labels.shape == (24, 40, 44)
    assert (finished.report.objects, finished.report.segmented_slices) == (0, 0)


def test_detection_alone_keeps_every_score_for_later(parts: BrightNetworks, a_bundle: Bundle) -> None:
    run = SegmentationRun(volume_of(a_head([LESION])), a_bundle, threshold=0.95)
    list(run.detect(BrightBoxes()))
    assert run.tracklets == [] and sum(len(boxes) for boxes in run.detections) == 7


def test_mask_does_not_flood_what_nobody_detected(parts: BrightNetworks, a_bundle: Bundle) -> None:
    """Bright voxels far from the detected box, but in the same view, stay background."""
    array = a_head([LESION])
    run = SegmentationRun(volume_of(array), a_bundle, plane=Plane.AXIAL)
    list(run.detect(BrightBoxes()))
    small = [[Box(18, 12, 7, 6, 0.9, 1)] if boxes else [] for boxes in run.detections]

    class Small:
        def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
            yield from small

    list(run.events(Small()))
    found = np.argwhere(run.result().labels)
    margin = a_bundle.tracking.margin
    assert found[:, 2].max() < 25 + 7 * margin + 1 and found[:, 1].max() < 18 + 6 * margin + 1


def test_single_slice_is_segmented(parts: BrightNetworks, a_bundle: Bundle) -> None:
    array = a_head([LESION])[10:11]
    run = SegmentationRun(volume_of(array), a_bundle)
    list(run.events())
    assert overlap(run.result().labels > 0, array == 1000) > 0.95


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_threshold_that_is_no_confidence(a_bundle: Bundle, threshold: float) -> None:
    with pytest.raises(AutoMedSAMError, match="is not a score"):
        SegmentationRun(volume_of(a_head([LESION])), a_bundle, threshold=threshold)


def test_several_channels_for_a_model_of_one(a_bundle: Bundle) -> None:
    array = np.stack([a_head([LESION])] * 2)
    with pytest.raises(AutoMedSAMError, match=r"takes 1 modality \(FLAIR\), and the input has 2"):
        SegmentationRun(volume_of(array), a_bundle)
