"""Boxes and tracklets: half-open pixels, and a box for every slice."""

from __future__ import annotations

import pytest

from automedsam.core.boxes import Box, Tracklet

TRACKLET = Tracklet(2, {4: Box(10, 20, 10, 10, 0.9, 2), 8: Box(18, 20, 14, 10, 0.5, 2)}, 4)


@pytest.mark.parametrize(
    ("other", "expected"), [(Box(0, 0, 10, 10), 1.0), (Box(5, 0, 10, 10), 1 / 3), (Box(10, 0, 10, 10), 0.0)]
)
def test_boxes_are_half_open(other: Box, expected: float) -> None:
    assert Box(0, 0, 10, 10).iou(other) == pytest.approx(expected)


def test_grown_box_keeps_its_centre() -> None:
    assert Box(10, 20, 8, 4).grown(0.25).corners == (8, 19, 20, 25)


@pytest.mark.parametrize(
    ("index", "corners"),
    [
        (4, (10, 20, 20, 30)),
        (6, (14, 20, 26, 30)),
        (8, (18, 20, 32, 30)),
        (1, (10, 20, 20, 30)),
        (11, (18, 20, 32, 30)),
    ],
)
def test_every_slice_has_a_box(index: int, corners: tuple[float, float, float, float]) -> None:
    assert TRACKLET.box_at(index).corners == corners
    assert TRACKLET.box_at(index).label == 2


def test_gaps_and_score() -> None:
    assert (TRACKLET.first, TRACKLET.last, TRACKLET.gaps, TRACKLET.score) == (4, 8, [5, 6, 7], 0.9)
