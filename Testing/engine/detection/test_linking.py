"""Boxes of neighbouring slices become objects."""

from __future__ import annotations

from dataclasses import replace

from automedsam.core.boxes import Box
from automedsam.detection.linking import LinkSettings, link, seed_slice

SETTINGS = LinkSettings(threshold=0.5, member_share=0.5, iou=0.3, max_gap_mm=2.0, min_extent_mm=3.0)


def column(scores: dict[int, float], slices: int, x: float = 10, label: int = 1) -> list[list[Box]]:
    """One box that stays where it is, on the slices that have a score."""
    return [[Box(x, 10, 8, 8, scores[index], label)] if index in scores else [] for index in range(slices)]


def together(*parts: list[list[Box]]) -> list[list[Box]]:
    return [[box for boxes in slices for box in boxes] for slices in zip(*parts, strict=True)]


def test_neighbouring_boxes_are_one_object() -> None:
    (found,) = link(column({3: 0.6, 4: 0.9, 5: 0.7}, 9), 1.0, SETTINGS)
    assert (found.first, found.last, found.seed, found.gaps, found.score) == (3, 5, 4, [], 0.9)


def test_gap_is_bridged_and_reported() -> None:
    (found,) = link(column({2: 0.8, 3: 0.8, 6: 0.8}, 9), 1.0, SETTINGS)
    assert (found.first, found.last, found.gaps) == (2, 6, [4, 5])


def test_gap_is_measured_in_millimetres() -> None:
    scores = {2: 0.8, 3: 0.8, 6: 0.8, 7: 0.8}
    assert len(link(column(scores, 9), 1.0, SETTINGS)) == 1
    assert len(link(column(scores, 9), 3.0, SETTINGS)) == 2


def test_lone_doubtful_box_is_dropped_and_lone_sure_box_kept() -> None:
    assert link(column({4: 0.6}, 9), 1.0, SETTINGS) == []
    assert len(link(column({4: 0.9}, 9), 1.0, SETTINGS)) == 1


def test_weak_boxes_join_a_strong_object_but_make_none() -> None:
    (found,) = link(column({2: 0.3, 3: 0.8, 4: 0.3}, 9), 1.0, SETTINGS)
    assert sorted(found.boxes) == [2, 3, 4]
    assert link(column({2: 0.3, 3: 0.4, 4: 0.3}, 9), 1.0, SETTINGS) == []


def test_moving_the_threshold_needs_no_new_detection() -> None:
    detections = column({2: 0.35, 3: 0.4, 4: 0.35}, 9)
    assert link(detections, 1.0, SETTINGS) == []
    assert len(link(detections, 1.0, replace(SETTINGS, threshold=0.3))) == 1


def test_labels_are_not_mixed() -> None:
    detections = together(column({2: 0.8, 3: 0.8, 4: 0.8}, 9), column({3: 0.9, 4: 0.9, 5: 0.9}, 9, label=2))
    found = link(detections, 1.0, SETTINGS)
    assert sorted((tracklet.label, tracklet.first, tracklet.last) for tracklet in found) == [(1, 2, 4), (2, 3, 5)]


def test_two_lesions_side_by_side_stay_apart() -> None:
    scores = {2: 0.8, 3: 0.8, 4: 0.8}
    found = link(together(column(scores, 9), column(scores, 9, x=40)), 1.0, SETTINGS)
    assert [{box.x for box in tracklet.boxes.values()} for tracklet in found] in ([{10}, {40}], [{40}, {10}])


def test_most_evident_object_of_a_label_is_kept() -> None:
    detections = together(column({2: 0.9, 3: 0.9}, 9, x=40), column({1: 0.8, 2: 0.8, 3: 0.8, 4: 0.8}, 9))
    (found,) = link(detections, 2.0, replace(SETTINGS, max_objects=1))
    assert found.boxes[2].x == 10


def test_seed_is_sure_and_large() -> None:
    boxes = {1: Box(0, 0, 4, 4, 0.9), 2: Box(0, 0, 10, 10, 0.8), 3: Box(0, 0, 11, 11, 0.3)}
    assert seed_slice(boxes) == 2


def test_empty_volume_has_no_objects() -> None:
    assert link([[], [], []], 1.0, SETTINGS) == []
