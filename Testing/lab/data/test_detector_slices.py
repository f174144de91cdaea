"""Slices, boxes and augmentation as the detector learns from them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the lab's training packages are not installed")

from automedsam.detection.detector import (
    FlipAugmentation,
    ResizeMode,
    YoloNasDetector,
    detector_input,
    stack_adjacent_slices,
)
from automedsam_lab.data import synthetic_lesions
from automedsam_lab.data.augmentation import Geometry, change_intensities, sampling_map, warp
from automedsam_lab.data.builtin_tasks import BRATS
from automedsam_lab.data.detector_slices import (
    DETECTOR_TASKS,
    BatchStream,
    FrameStack,
    boxes_of,
    engine_settings,
    make_stack,
    plain_input,
)
from automedsam_lab.metrics.average_precision import best_threshold
from automedsam_lab.metrics.box_agreement import SliceBoxes
from automedsam_lab.training.detector.validation import measure_detector, score_offsets

GLIOMA = DETECTOR_TASKS["glioma"]
HIPPOCAMPUS = DETECTOR_TASKS["hippocampus"]


@pytest.fixture
def a_glioma_stack() -> FrameStack:
    """Twelve drawn heads, some with lesions."""
    rng = np.random.default_rng(5)
    drawn = [synthetic_lesions.draw_head(rng, 120) for _ in range(12)]
    frames = np.stack([image[..., 1] * 255 for image, _ in drawn]).astype(np.uint8)
    labels = np.stack([mask[..., 1] for _, mask in drawn]).astype(np.uint8)
    return make_stack(GLIOMA, "drawn", frames, labels, 1.0)


def test_boxes_are_half_open_and_name_their_class() -> None:
    labels = np.zeros((35, 50), np.uint8)
    labels[10:20, 5:15] = 1
    labels[12:30, 15:40] = 2
    found = boxes_of(HIPPOCAMPUS, labels)
    assert found is not None
    assert found.tolist() == [[0, 5, 10, 15, 20], [1, 15, 12, 40, 30]]


def test_near_pieces_of_a_tumour_share_a_box_and_far_ones_do_not() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[10:30, 10:30] = 1
    labels[10:30, 33:50] = 1
    labels[70:90, 70:90] = 1
    found = boxes_of(GLIOMA, labels)
    assert found is not None
    assert sorted(box[1:].tolist() for box in found) == [[10, 10, 50, 30], [70, 70, 90, 90]]


def test_a_slice_with_a_few_lesion_pixels_is_neither_lesion_nor_background() -> None:
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[1, 5, 5:10] = 1
    labels[2, 5:15, 5:15] = 1
    stack = make_stack(GLIOMA, "one", np.full((3, 40, 40), 9, np.uint8), labels, 1.0)
    assert (stack.filled.tolist(), stack.empty.tolist()) == ([2], [0])
    assert boxes_of(GLIOMA, stack.labels[1]) is None


@pytest.mark.parametrize("native", [(240, 240), (96, 48), (320, 512)])
def test_the_lab_feeds_the_detector_the_pixels_that_the_engine_feeds_it(native: tuple[int, int]) -> None:
    frames = np.random.default_rng(7).integers(0, 256, (5, *native), dtype=np.uint8)
    stack = make_stack(GLIOMA, "one", frames, np.zeros_like(frames), 1.0)
    seen: list[np.ndarray] = []

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.extend(images)
        return np.zeros((len(images), 1, 4)), np.zeros((len(images), 1, 1))

    detector = YoloNasDetector(predict, engine_settings(GLIOMA))
    list(detector.detect(stack_adjacent_slices(frames, stack.between_mm, GLIOMA.context_mm)))
    for index, image in enumerate(seen):
        assert np.array_equal(plain_input(GLIOMA, stack, index), image)


def test_training_shrinks_slices_as_the_engine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automedsam_lab.data.detector_slices.change_intensities", lambda _rng, image, _strength: image)
    still = replace(GLIOMA, geometry=Geometry(0, 0, 0, 0, 0, 0, flip=False), contexts=(2,))
    frames = np.random.default_rng(3).integers(0, 256, (5, 384, 384), dtype=np.uint8)
    labels = np.zeros_like(frames)
    labels[:, 100:200, 60:180] = 1
    stack = make_stack(still, "one", frames, labels, 1.0)
    stream = BatchStream(still, [stack], 1, seed=0)
    image = np.ascontiguousarray(frames[1:4].transpose(1, 2, 0), np.float32) / 255
    moved, middle, scale = stream._moved(image, labels[2], replicate=False)
    made = stream._finished(moved, middle, scale)
    assert made is not None
    shrunk, boxes = made
    wanted = detector_input(image[None] * 255, still.input_size, ResizeMode.STRETCH)[0].transpose(1, 2, 0)
    assert np.abs(shrunk - wanted).max() < 1 / 255
    assert boxes.tolist() == [[0, 30, 50, 90, 100]]


def test_context_follows_the_slice_spacing_and_stops_at_the_ends() -> None:
    frames = np.repeat(np.arange(5, dtype=np.uint8)[:, None, None] * 50, 32, 1).repeat(32, 2)
    task = replace(GLIOMA, input_size=(64, 64))
    for spacing, levels in ((0.5, [0, 50, 200]), (1.0, [0, 50, 150]), (3.0, [0, 50, 100])):
        image = plain_input(task, make_stack(task, "one", frames, np.zeros_like(frames), spacing), 1)
        assert image.shape == (3, 64, 64)
        assert np.allclose(image[:, 0, 0] * 255, levels, atol=1e-3)


def test_image_and_mask_move_together() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((100, 80), np.uint8)
    mask[30:60, 20:50] = 1
    image = np.repeat(mask[..., None], 3, 2).astype(np.float32)
    maps = sampling_map(rng, (100, 80), (128, 128), GLIOMA.geometry)
    moved, moved_mask = warp(image, mask, maps, replicate=False)
    assert np.abs((moved[..., 1] > 0.5).astype(int) - moved_mask).mean() < 0.005


def test_batches_stay_in_range_and_repeat_with_their_seed(a_glioma_stack: FrameStack) -> None:
    first, second = (iter(BatchStream(GLIOMA, [a_glioma_stack], 4, seed=3)) for _ in range(2))
    for _ in range(6):
        images, boxes = next(first)
        again, _ = next(second)
        assert np.array_equal(images, again)
        assert images.shape == (4, 3, 192, 192) and images.min() >= 0 and images.max() <= 1
        assert (boxes[:, 4:] > 0).all() and (boxes[:, 2:4] + boxes[:, 4:] / 2 <= 192).all()


def test_background_stays_empty_when_intensities_change() -> None:
    rng = np.random.default_rng(1)
    image = np.zeros((64, 64, 3), np.float32)
    image[20:40, 20:40] = 0.5
    emptied = [(change_intensities(rng, image)[:10] == 0).all() for _ in range(50)]
    assert np.mean(emptied) > 0.8


def test_a_transplanted_lesion_is_bright_inside_its_mask() -> None:
    rng = np.random.default_rng(2)
    image, mask = np.full((120, 120, 3), 0.4, np.float32), np.zeros((120, 120, 3), bool)
    donor, donor_mask = np.full((90, 90, 3), 0.3, np.float32), np.zeros((90, 90, 3), bool)
    donor_mask[30:60, 30:60] = True
    donor[donor_mask] = 0.9
    assert synthetic_lesions.transplant_lesion(rng, image, mask, donor, donor_mask)
    assert image[mask].mean() > 0.6
    assert abs(image[~mask].mean() - 0.4) < 0.02


def test_the_threshold_is_chosen_on_the_scores_that_the_engine_gives() -> None:
    """The flipped image sees less: with the test-time flip, scores are halved, and so is the best threshold."""
    task = replace(GLIOMA, input_size=(64, 64))
    frames = np.zeros((4, 64, 64), np.uint8)
    frames[:, 8:24, 8:24] = 200
    labels = (frames > 0).astype(np.uint8)
    stack = make_stack(task, "one", frames, labels, 1.0)
    cells = 8 * 8 + 4 * 4 + 2 * 2

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners, scores = np.zeros((len(images), cells, 4)), np.zeros((len(images), cells, 1))
        corners[:, 0] = (8, 8, 24, 24)
        scores[:, 0] = np.where(images[:, 1, 16, 16] > 0.5, 0.8, 0.0)[:, None]
        return corners, scores

    plain = measure_detector(task, predict, [stack])
    assert (plain.ap50, plain.f1, round(plain.threshold, 6)) == (1, 1, 0.8)
    flipped = measure_detector(task, predict, [stack], FlipAugmentation.SLICES)
    assert (flipped.ap50, round(flipped.threshold, 6)) == (1, 0.8)
    columns = best_threshold(
        [SliceBoxes("one", [np.array([[1, 0.4, 8, 8, 24, 24.0]])], [np.array([[1, 8, 8, 24, 24.0]])])], [1]
    )
    assert columns == (0.4, 1.0)


def test_the_classes_of_lower_scores_are_raised_to_a_common_threshold() -> None:
    task = replace(DETECTOR_TASKS[BRATS], input_size=(64, 64))
    frames = np.zeros((2, 4, 64, 64), np.uint8)
    labels = np.zeros((4, 64, 64), np.uint8)
    for value, (low, high) in enumerate([(8, 40), (12, 36), (16, 32)], start=1):
        frames[:, :, low:high, low:high] = 60 * value
        labels[:, low:high, low:high] = value
    stack = make_stack(task, "one", frames, labels, 1.0)

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners, scores = np.zeros((len(images), 84, 4)), np.zeros((len(images), 84, 3))
        for index, (low, high, score) in enumerate([(8, 40, 0.8), (12, 36, 0.5), (16, 32, 0.2)]):
            corners[:, index] = (low, low, high, high)
            scores[:, index, index] = score
        return corners, scores

    offsets = score_offsets(task, predict, [stack])
    logits = [np.log(score / (1 - score)) for score in (0.8, 0.5, 0.2)]
    assert offsets == pytest.approx([0, logits[0] - logits[1], logits[0] - logits[2]])


def test_missed_boxes_cost_f1_and_false_ones_raise_the_threshold() -> None:
    reference = [np.array([[1, 0, 0, 10, 10], [2, 20, 20, 40, 40.0]])] * 4
    found = [np.array([[1, 0.9, 0, 0, 10, 10], [2, 0.8, 20, 20, 40, 40], [2, 0.3, 50, 50, 60, 60.0]])] * 4
    assert best_threshold([SliceBoxes("one", found, reference)], [1, 2]) == (0.8, 1.0)
    half = [boxes[:1] for boxes in found]
    threshold, f1 = best_threshold([SliceBoxes("one", half, reference)], [1, 2])
    assert (threshold, round(f1, 3)) == (0.9, 0.667)
    assert best_threshold([SliceBoxes("one", [np.zeros((0, 6))] * 4, reference)], [1, 2]) == (0.5, 0.0)


def test_each_channel_shows_its_modality_and_its_slice() -> None:
    brats = DETECTOR_TASKS["brats"]
    frames = np.zeros((2, 5, 192, 192), np.uint8)
    frames[0] = (10 * np.arange(5))[:, None, None]
    frames[1] = (100 + 10 * np.arange(5))[:, None, None]
    labels = np.zeros((5, 192, 192), np.uint8)
    labels[2, 40:90, 40:90], labels[2, 50:80, 50:80], labels[2, 60:70, 60:70] = 1, 2, 3
    stack = make_stack(brats, "one", frames, labels, 1.0)
    shown = plain_input(brats, stack, 2)[:, 0, 0] * 255
    np.testing.assert_allclose(shown, [20, 120, 140], atol=0.5)
    boxes = boxes_of(brats, labels[2])
    assert boxes is not None
    assert boxes.tolist() == [[0, 40, 40, 90, 90], [1, 50, 50, 80, 80], [2, 60, 60, 70, 70]]


def test_batches_of_several_modalities_have_boxes_of_every_region() -> None:
    brats, rng = DETECTOR_TASKS["brats"], np.random.default_rng(4)
    frames = rng.integers(60, 200, (2, 5, 96, 96)).astype(np.uint8)
    labels = np.zeros((5, 96, 96), np.uint8)
    labels[:, 20:70, 20:70], labels[:, 30:60, 30:60], labels[:, 36:50, 36:50] = 1, 2, 3
    stack = make_stack(brats, "one", frames, labels, 1.0)
    images, targets = next(iter(BatchStream(brats, [stack], 6, seed=1)))
    assert images.shape == (6, 3, 192, 192) and images.min() >= 0 and images.max() <= 1
    assert set(targets[:, 1].astype(int)) == {0, 1, 2}
