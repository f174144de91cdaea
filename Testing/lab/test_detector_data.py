"""Slices, boxes and augmentation as the detector learns from them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the lab's training packages are not installed")

from automedsam_lab import synthetic_lesions
from automedsam_lab.augmentation import change_intensities, sampling_map, warp
from automedsam_lab.detection_metrics import score_detections, suppress
from automedsam_lab.detector_data import (
    DETECTOR_TASKS,
    BatchStream,
    FrameStack,
    boxes_of,
    context_step,
    make_stack,
    plain_boxes,
    plain_input,
)

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
    assert plain_boxes(GLIOMA, stack, 1) is None


def test_context_follows_the_slice_spacing_and_stops_at_the_ends() -> None:
    assert [context_step(GLIOMA, spacing) for spacing in (0.5, 1.0, 3.0, 6.5)] == [4, 2, 1, 1]
    frames = np.repeat(np.arange(5, dtype=np.uint8)[:, None, None] * 50, 32, 1).repeat(32, 2)
    stack = make_stack(replace(GLIOMA, input_size=(64, 64)), "one", frames, np.zeros_like(frames), 1.0)
    image = plain_input(replace(GLIOMA, input_size=(64, 64)), stack, 1)
    assert image.shape == (3, 64, 64)
    assert np.allclose(image[:, 0, 0] * 255, [0, 50, 150], atol=1e-3)


def test_boxes_follow_the_stretch_to_the_input() -> None:
    labels = np.zeros((1, 96, 48), np.uint8)
    labels[0, 24:48, 12:24] = 1
    stack = make_stack(GLIOMA, "one", np.full(labels.shape, 9, np.uint8), labels, 1.0)
    found = plain_boxes(GLIOMA, stack, 0)
    assert found is not None
    assert found[0].tolist() == [0, 48, 48, 96, 96]


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


def test_a_transplanted_lesion_is_bright_where_its_mask_says() -> None:
    rng = np.random.default_rng(2)
    image, mask = np.full((120, 120, 3), 0.4, np.float32), np.zeros((120, 120, 3), bool)
    donor, donor_mask = np.full((90, 90, 3), 0.3, np.float32), np.zeros((90, 90, 3), bool)
    donor_mask[30:60, 30:60] = True
    donor[donor_mask] = 0.9
    assert synthetic_lesions.transplant_lesion(rng, image, mask, donor, donor_mask)
    assert image[mask].mean() > 0.6
    assert abs(image[~mask].mean() - 0.4) < 0.02


def test_perfect_boxes_score_one_and_missed_boxes_cost_recall() -> None:
    truth = [np.array([[0, 0, 0, 10, 10], [1, 20, 20, 40, 40]], np.float32)] * 4
    perfect = [np.array([[0, 0.9, 0, 0, 10, 10], [1, 0.8, 20, 20, 40, 40]], np.float32)] * 4
    scores = score_detections(perfect, truth, 2)
    assert (scores.ap50, scores.ap75, scores.f1) == (1, 1, 1)
    half = score_detections([box[:1] for box in perfect], truth, 2)
    assert half.ap50 == 0.5


def test_suppression_keeps_the_best_of_overlapping_boxes_of_a_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([[0.6, 0], [0.9, 0], [0, 0.7]], np.float32)
    found = suppress(boxes, scores)
    assert np.allclose(found[:, :2], [[0, 0.9], [1, 0.7]])
