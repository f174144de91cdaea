"""Average precision of masks that a detector found."""

import numpy as np
import pytest

from automedsam_lab.metrics.average_precision import detected_mask_average_precision


def test_each_object_is_found_once_by_the_mask_of_the_highest_score() -> None:
    # One image, one object: the second mask is a duplicate, and a false positive of a lower score.
    overlaps, scores = [np.array([[0.8], [0.9]])], [np.array([0.9, 0.5])]
    ap50, ap = detected_mask_average_precision(overlaps, scores)
    assert ap50 == pytest.approx(1.0)
    # From 0.50 to 0.80 the first mask is a hit (7 of 10 thresholds); at 0.85 and 0.90 only the second one is, of
    # precision 1/2; at 0.95 none.
    assert ap == pytest.approx((7 + 2 * 0.5) / 10)


def test_a_false_mask_of_a_higher_score_halves_the_precision() -> None:
    overlaps = [np.array([[0.9]]), np.zeros((1, 0))]
    assert detected_mask_average_precision(overlaps, [np.array([0.4]), np.array([0.8])])[0] == pytest.approx(0.5)
    assert detected_mask_average_precision(overlaps, [np.array([0.8]), np.array([0.4])])[0] == pytest.approx(1.0)


def test_a_missed_object_limits_the_recall() -> None:
    overlaps = [np.array([[0.9, 0.0]])]
    # Recalls 0 to 0.50 of the 101 are reached.
    assert detected_mask_average_precision(overlaps, [np.array([0.8])])[0] == pytest.approx(51 / 101)


def test_nothing_found_is_zero_and_nothing_to_find_is_undefined() -> None:
    assert detected_mask_average_precision([np.zeros((0, 1))], [np.zeros(0)]) == (0, 0)
    assert all(np.isnan(detected_mask_average_precision([np.zeros((1, 0))], [np.ones(1)])))
