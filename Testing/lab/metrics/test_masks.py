"""Figures that a paper or a manifest quotes, against cases with a known answer."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from automedsam.core.boxes import Box, Tracklet
from automedsam_lab.metrics.lesions import score_lesions
from automedsam_lab.metrics.masks import dice, iou, surface_scores

SHAPE = (8, 20, 20)


def hd95(reference: np.ndarray, found: np.ndarray, spacing: Sequence[float]) -> float:
    return surface_scores(reference, found, spacing, 0.0).hd95_mm


def surface_dice(reference: np.ndarray, found: np.ndarray, spacing: Sequence[float], tolerance_mm: float) -> float:
    return surface_scores(reference, found, spacing, tolerance_mm).nsd


def block(*sides: tuple[int, int]) -> np.ndarray:
    """A mask of half-open ranges of slices, rows and columns."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_half_overlap_is_half_a_dice_and_a_third_of_an_iou() -> None:
    left, right = block((0, 2), (0, 4), (0, 4)), block((0, 2), (0, 4), (2, 6))
    assert dice(left, right) == 0.5
    assert iou(left, right) == pytest.approx(1 / 3)
    assert hd95(left, left, (1, 1, 1)) == 0


def test_distance_is_in_millimetres_of_the_axis_it_runs_along() -> None:
    mask = block((2, 4), (5, 15), (5, 15))
    assert hd95(mask, np.roll(mask, 2, axis=0), (2.5, 1, 1)) == pytest.approx(5)
    assert hd95(mask, np.roll(mask, 2, axis=2), (2.5, 1, 0.5)) == pytest.approx(1)


def test_distance_is_that_of_the_worse_direction() -> None:
    small, large = block((3, 4), (5, 7), (0, 2)), block((3, 4), (5, 7), (0, 18))
    assert hd95(small, large, (1, 1, 1)) == hd95(large, small, (1, 1, 1)) > 12


def test_a_few_stray_voxels_do_not_decide_the_distance() -> None:
    mask = block((1, 7), (2, 18), (2, 18))
    stray = mask | block((0, 1), (0, 1), (0, 1))
    assert hd95(mask, stray, (1, 1, 1)) == 0


def test_distance_agrees_with_all_pairs_of_surface_voxels() -> None:
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    spacing = np.array([3.0, 0.8, 1.1])
    one, other = (binary_erosion(rng.random(SHAPE) < 0.9) for _ in range(2))
    surfaces = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (one, other)]
    apart = cdist(*surfaces)
    expected = max(np.percentile(apart.min(0), 95), np.percentile(apart.min(1), 95))
    assert hd95(one, other, spacing.tolist()) == pytest.approx(expected)


def test_surface_within_the_tolerance_counts_as_found() -> None:
    mask = block((2, 4), (5, 15), (5, 15))
    moved = np.roll(mask, 2, axis=0)
    # Two slices of ten by ten are nothing but surface; moved by two slices none of it is where it was.
    assert surface_dice(mask, moved, (2.5, 1, 1), 5) == 1
    # The inner slice of each is 2.5 mm from the other's.
    assert surface_dice(mask, moved, (2.5, 1, 1), 2.5) == pytest.approx(0.5)
    assert surface_dice(mask, moved, (2.5, 1, 1), 2.4) == 0
    assert surface_dice(mask, mask, (1, 1, 1), 0) == 1


def test_surface_dice_by_hand_on_a_picture() -> None:
    reference, found = np.zeros((1, 9, 9), bool), np.zeros((1, 9, 9), bool)
    reference[0, 2:6, 2:6] = True
    found[0, 2:6, 2:8] = True
    # Of the truth's 12 edge pixels 10 are the other's too, and 2 lie 1 px inside it. Of the other's 16 edge pixels 10
    # are the truth's, 2 are 1 px away, and the 4 of its right edge are 2 px away.
    assert surface_dice(reference, found, (1, 1, 1), 0) == pytest.approx((10 + 10) / 28)
    assert surface_dice(reference, found, (1, 1, 1), 1) == pytest.approx((12 + 12) / 28)
    assert surface_dice(reference, found, (1, 1, 1), 2) == 1


def test_a_picture_has_edges_and_no_surface_above_and_below() -> None:
    disc, ring = np.zeros((1, 20, 20), bool), np.zeros((1, 20, 20), bool)
    disc[0, 4:16, 4:16] = True
    ring[0, 4:16, 4:16] = True
    ring[0, 9:11, 9:11] = False
    assert hd95(disc, disc, (1, 1, 1)) == 0
    # The hole's rim is 3 px or more from the outline; were all pixels surface, the two would not differ by it.
    assert surface_dice(disc, ring, (1, 1, 1), 1) < 0.95


def test_nothing_found_where_nothing_is_is_perfect() -> None:
    empty = np.zeros(SHAPE, dtype=bool)
    assert (dice(empty, empty), iou(empty, empty), hd95(empty, empty, (1, 1, 1))) == (1, 1, 0)
    assert surface_dice(empty, empty, (1, 1, 1), 1) == 1


def test_a_missed_lesion_costs_the_diagonal_of_the_volume() -> None:
    empty, lesion = np.zeros(SHAPE, dtype=bool), block((0, 1), (0, 1), (0, 1))
    assert (dice(lesion, empty), iou(empty, lesion), surface_dice(lesion, empty, (2, 1, 1), 9)) == (0, 0, 0)
    assert hd95(lesion, empty, (2, 1, 1)) == hd95(empty, lesion, (2, 1, 1)) == pytest.approx(math.hypot(16, 20, 20))


def test_each_lesion_counts_once_and_crumbs_do_not() -> None:
    big, small, crumb = (
        block((0, 4), (0, 6), (0, 6)),
        block((5, 7), (10, 14), (10, 14)),
        block((7, 8), (19, 20), (0, 1)),
    )
    reference = big | small | crumb
    found = block((3, 4), (5, 6), (5, 6)) | block((0, 3), (15, 20), (15, 20)) | block((6, 7), (0, 1), (19, 20))
    tracklets = [
        Tracklet(1, {5: Box(13.2, 13.2, 4, 4)}, 5),
        Tracklet(1, {1: Box(5, 5, 3, 3), 2: Box(15, 15, 2, 2)}, 1),
        Tracklet(1, {4: Box(0, 0, 6, 6)}, 4),
    ]
    scores = score_lesions(reference, found, tracklets, voxel_ml=0.01)
    assert (scores.lesions, scores.hit_by_mask, scores.hit_by_box) == (2, 1, 2)
    assert (scores.false_masks, scores.false_tracklets) == (1, 1)
    assert (scores.recall, scores.box_recall) == (0.5, 1)


def test_a_box_must_hold_the_centre_of_a_lesion_pixel() -> None:
    reference = block((2, 4), (5, 10), (5, 10))
    beside = [Tracklet(1, {3: Box(9.6, 5, 4, 5)}, 3)]
    inside = [Tracklet(1, {3: Box(9.4, 5, 4, 5)}, 3)]
    assert score_lesions(reference, reference, beside, 0.01).box_recall == 0
    assert score_lesions(reference, reference, inside, 0.01).box_recall == 1


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    reference = block((0, 2), (0, 5), (0, 5)) | block((2, 4), (5, 10), (5, 10))
    assert score_lesions(reference, reference, [], 0.01).lesions == 1


def test_recall_without_lesions_is_not_a_number() -> None:
    empty = np.zeros(SHAPE, dtype=bool)
    scores = score_lesions(empty, empty, [], 0.01)
    assert math.isnan(scores.recall) and math.isnan(scores.box_recall)
