"""A bundle of two modalities and nested labels: what each network sees, and how nested labels are painted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.channels import Channel
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.events import Finished
from automedsam.core.volume import Volume
from automedsam.detection.channels import detector_frames, segmenter_slices
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import LoadedModel
from automedsam.pipeline.run import SegmentationRun
from automedsam.sam2.networks import DecoderPrompt, ImageEmbedding, MaskPrediction
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD

pytest.importorskip("onnx", reason="the lab is not installed")

from two_modalities import CORE, ENHANCING, SEGMENTS, WHOLE, manifest, phantom, write_bundle, write_detector

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def a_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_bundle(tmp_path_factory.mktemp("bundles") / "two"))


@pytest.fixture(scope="module")
def a_phantom() -> tuple[Volume, np.ndarray]:
    return phantom()


@pytest.fixture(scope="module")
def a_run(a_bundle: Bundle, a_phantom: tuple[Volume, np.ndarray]) -> SegmentationRun:
    run = SegmentationRun(a_phantom[0], a_bundle)
    list(run.events())
    return run


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_both_modalities_are_seen_and_nested_labels_are_found(
    a_run: SegmentationRun, a_phantom: tuple[Volume, np.ndarray]
) -> None:
    result, truth = a_run.result(), a_phantom[1]
    assert {tracklet.label for tracklet in a_run.tracklets} == {WHOLE, CORE, ENHANCING}
    # The whole is bright in the one image alone, and the others are in the other one alone.
    for value in (WHOLE, CORE, ENHANCING):
        assert overlap(result.mask(value), truth >= value) > 0.85, value


def test_inner_segments_are_painted_over_outer_ones_and_counted_with_them(a_run: SegmentationRun) -> None:
    *_, finished = a_run.propagate(a_run.tracklets)
    assert isinstance(finished, Finished)
    result = a_run.result()
    counts = [np.count_nonzero(result.labels == value) for value in (WHOLE, CORE, ENHANCING)]
    whole, core, enhancing = (result.mask(value) for value in (WHOLE, CORE, ENHANCING))
    assert (whole.sum(), core.sum(), enhancing.sum()) == (sum(counts), sum(counts[1:]), counts[2])
    assert not (core & ~whole).any() and not (enhancing & ~core).any()
    assert list(finished.report.volume_ml.values()) == pytest.approx(
        [mask.sum() / 1000 for mask in (whole, core, enhancing)]
    )


class Flat:
    """Networks whose masks fill the box; the label of the box decides how certain they are."""

    certainty: float

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []

    def encode_image(self, image: np.ndarray) -> ImageEmbedding:
        self.images.append((image[0] * IMAGENET_STD + IMAGENET_MEAN) * 255)
        return ImageEmbedding(*[np.zeros((1, 1, 2, 2), np.float32)] * 3)

    def attend(self, features: np.ndarray, *_: Any) -> np.ndarray:
        return features

    def decode(
        self, features: np.ndarray, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        size = float(np.ptp(prompt.points[0], axis=0).max())
        # The smaller the box, the less certain: without an order, outer labels would win everywhere.
        logits = np.full((1, 4, 48, 48), size / 10, np.float32)
        return MaskPrediction(
            logits, np.ones((1, 4), np.float32), np.zeros((1, 4, 8), np.float32), np.ones((1, 1), np.float32)
        )

    def remember(self, features: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.zeros((1, 4, 2, 2), np.float32)


class NoBoxes:
    def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
        yield from ([] for _ in frames)


@pytest.fixture
def networks() -> Flat:
    return Flat()


def nested_tracklets(slices: range = range(10, 20)) -> list[Tracklet]:
    sides = {WHOLE: 30, CORE: 20, ENHANCING: 10}
    return [
        Tracklet(label, {at: Box(30 - side / 2, 32 - side / 2, side, side, 0.9, label) for at in slices}, 15)
        for label, side in sides.items()
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_order_of_nesting_decides_and_not_how_certain_the_network_is(
    a_bundle: Bundle, a_phantom: tuple[Volume, np.ndarray], networks: Flat, order: tuple[int, ...]
) -> None:
    run = SegmentationRun(a_phantom[0], a_bundle, engine=LoadedModel(NoBoxes(), networks, "a test"))
    tracklets = nested_tracklets()
    list(run.propagate([tracklets[place] for place in order]))
    labels = run.result().labels[15]
    assert labels[32, 30] == ENHANCING and labels[32, 30 + 8] == CORE and labels[32, 30 + 13] == WHOLE


def test_labels_that_lie_in_no_other_are_painted_by_certainty(
    a_phantom: tuple[Volume, np.ndarray], networks: Flat, a_bundle: Bundle
) -> None:
    flat = [{name: value for name, value in one.items() if name != "inside"} for one in SEGMENTS]
    side_by_side = Bundle(a_bundle.folder, {**a_bundle.manifest, "segments": flat})
    run = SegmentationRun(a_phantom[0], side_by_side, engine=LoadedModel(NoBoxes(), networks, "a test"))
    list(run.propagate(nested_tracklets()))
    assert set(np.unique(run.result().labels[15])) == {0, WHOLE}


def test_each_label_is_segmented_on_the_images_that_its_bundle_names(
    a_phantom: tuple[Volume, np.ndarray], networks: Flat, a_bundle: Bundle
) -> None:
    run = SegmentationRun(a_phantom[0], a_bundle, engine=LoadedModel(NoBoxes(), networks, "a test"))
    for tracklet, seen in zip(nested_tracklets(range(15, 16)), ((0, 1, 0), (0, 1, 0), (1, 1, 1)), strict=True):
        networks.images.clear()
        list(run.propagate([tracklet]))
        crop = run.crops.popitem()[1]
        image = next(one for one in networks.images)
        # The slice of the seed comes first.
        shown = run.channels[:, 15, crop.top : crop.bottom, crop.left : crop.right]
        for channel, modality in enumerate(seen):
            assert image[channel].mean() == pytest.approx(shown[modality].mean(), abs=1.0), (tracklet.label, channel)
    assert abs(shown[0].mean() - shown[1].mean()) > 5


def test_objects_on_one_slice_and_other_images_do_not_share_encoded_slices(
    a_phantom: tuple[Volume, np.ndarray], networks: Flat, a_bundle: Bundle
) -> None:
    run = SegmentationRun(a_phantom[0], a_bundle, engine=LoadedModel(NoBoxes(), networks, "a test"))
    list(run.propagate(nested_tracklets(range(15, 16))))
    one_image = len({image.tobytes() for image in networks.images})
    reach = round(a_bundle.tracking.reach_mm)
    # Whole and core share theirs; the enhancing part has its own.
    assert len(networks.images) == one_image == 2 * (1 + 2 * reach)


def test_detector_sees_declared_channels_in_order() -> None:
    slices = np.arange(2 * 5, dtype=np.uint8).reshape(2, 5, 1, 1) * np.ones((1, 1, 2, 3), np.uint8)
    channels = (Channel(0, -1), Channel(0), Channel(0, 1), Channel(1, 2), Channel(1))
    frames = detector_frames(slices, 1.0, 1.0, channels)
    assert frames.shape == (5, 2, 3, 5)
    # The first modality's slices are 0 to 4, the second's 5 to 9; the ends repeat.
    assert frames[:, 0, 0].tolist() == [
        [0, 0, 1, 7, 5],
        [0, 1, 2, 8, 6],
        [1, 2, 3, 9, 7],
        [2, 3, 4, 9, 8],
        [3, 4, 4, 9, 9],
    ]


@pytest.mark.parametrize(("context_mm", "offset"), [(0.0, 0), (0.1, 1), (4.0, 2), (1e4, 5)])
def test_one_modality_looks_as_it_always_did(context_mm: float, offset: int) -> None:
    slices = np.random.default_rng(0).integers(0, 255, (1, 5, 3, 4)).astype(np.uint8)
    adjacent = detector_frames(slices, 2.0, context_mm, (Channel(0, -1), Channel(0), Channel(0, 1)))
    both = np.concatenate([slices, slices])
    declared = detector_frames(both, 2.0, context_mm, (Channel(1, -1), Channel(1), Channel(1, 1)))
    np.testing.assert_array_equal(adjacent, declared)
    np.testing.assert_array_equal(adjacent[0, ..., 2], slices[0, min(offset, 4)])
    assert segmenter_slices(slices, (0, 0, 0)).base is not None


def test_detector_of_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "two")
    content = manifest()
    write_detector(folder / "detector.int8.onnx", {WHOLE: (1, 0.5), CORE: (2, 0.5), ENHANCING: (2, 0.9)}, channels=3)
    bundle = load_bundle(folder)
    described = bundle.manifest["files"]["detector.int8.onnx"]
    from automedsam.bundle import file_hash

    described["sha256"] = file_hash(folder / "detector.int8.onnx")
    assert content["detector"]["channels"] == bundle.manifest["detector"]["channels"]
    with pytest.raises(AutoMedSAMError, match="takes 3 input channels, and its manifest declares 4"):
        list(SegmentationRun(phantom()[0], bundle).events())


def test_missing_modality_and_the_same_image_twice_are_refused(
    a_bundle: Bundle, a_phantom: tuple[Volume, np.ndarray]
) -> None:
    volume = a_phantom[0]
    with pytest.raises(AutoMedSAMError, match=r"takes 2 modalities \(FLAIR, T1ce\), and the input has 1"):
        SegmentationRun(replace(volume, array=volume.array[0]), a_bundle)
    with pytest.raises(AutoMedSAMError, match="given as FLAIR and as T1ce are the same, voxel for voxel"):
        SegmentationRun(replace(volume, array=volume.array[[0, 0]]), a_bundle)


def test_each_modality_has_its_window(tmp_path: Path, a_phantom: tuple[Volume, np.ndarray]) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "two", windows={"T1ce": [0, 400]}))
    assert (bundle.window_of(0), bundle.window_of(1)) == (None, (0.0, 400.0))
    run = SegmentationRun(a_phantom[0], bundle)
    assert run.channels[0].max() == 255 and run.channels[1].max() < 150
