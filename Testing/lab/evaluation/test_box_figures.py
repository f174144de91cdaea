"""What boxes find, and how many of them are false, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from automedsam_lab.evaluation.box_figures import operating_point, threshold_within
from automedsam_lab.metrics.box_agreement import SliceBoxes

TRUE = (10.0, 10.0, 30.0, 30.0)
FALSE = (60.0, 60.0, 80.0, 80.0)


def case(patient: str, found: list[tuple[float, float, tuple[float, ...]]], true_label: int | None) -> SliceBoxes:
    """One image: found boxes as label, score and corners, and the true box of a label."""
    prediction = np.array([(label, score, *corners) for label, score, corners in found]).reshape(-1, 6)
    reference = np.array([] if true_label is None else [(true_label, *TRUE)]).reshape(-1, 5)
    return SliceBoxes(patient, [prediction], [reference])


@pytest.fixture
def cases() -> list[SliceBoxes]:
    """Four images: two boxes of label 1 and one of label 2 are found, one of the wrong label, and two are false."""
    return [
        case("a", [(1, 0.9, TRUE), (1, 0.3, FALSE)], 1),
        case("b", [(1, 0.6, TRUE)], 1),
        case("c", [(2, 0.5, TRUE), (1, 0.2, TRUE)], 2),
        case("d", [(2, 0.4, FALSE)], None),
    ]


@pytest.mark.parametrize(
    ("threshold", "sensitivity", "false_boxes", "f1"),
    [(0.95, 0, 0, 0), (0.55, 2 / 3, 0, 0.8), (0.5, 1, 0, 1), (0.35, 1, 0.25, 6 / 7), (0.1, 1, 0.75, 2 / 3)],
)
def test_a_threshold_gives_a_sensitivity_and_false_boxes_an_image(
    threshold: float, sensitivity: float, false_boxes: float, f1: float, cases: list[SliceBoxes]
) -> None:
    point = operating_point(cases, [1, 2], threshold)
    assert (point.sensitivity, point.false_boxes, point.f1) == pytest.approx((sensitivity, false_boxes, f1))


def test_the_threshold_of_the_best_f1_is_taken_among_those_of_few_false_boxes(cases: list[SliceBoxes]) -> None:
    assert 0.4 < threshold_within(cases, [1, 2], 0.5).threshold <= 0.5
    confused = [case(patient, [(1, 0.7, FALSE), (1, 0.6, TRUE)], 1) for patient in "ab"]
    assert threshold_within(confused, [1], 1.0).f1 == pytest.approx(2 / 3)
    assert threshold_within(confused, [1], 0.5).threshold > 0.7, "each lower one draws a false box into every image"


def test_a_detector_that_is_always_wrong_gets_the_highest_threshold() -> None:
    wrong = [case(patient, [(1, 0.99, FALSE)], 1) for patient in "ab"]
    assert threshold_within(wrong, [1], 0.5).threshold == 0.9
