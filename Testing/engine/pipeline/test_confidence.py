"""A slice on which the two networks disagree, or on which an object jumps, is shown to the reader first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from automedsam.core.boxes import Box, Tracklet
from automedsam.pipeline.confidence import LOW_CONFIDENCE, SliceConfidence, slice_confidence
from automedsam.tracking.object_mask import ObjectMask

BOX = Box(20, 10, 12, 8, 0.9)


@dataclass
class Followed:
    """An object with a box on each slice that is given one, and a mask on each slice."""

    tracklet: Tracklet
    masks: dict[int, ObjectMask]


def a_mask(box: Box = BOX) -> ObjectMask:
    """A mask that fills a box of whole pixels."""
    return ObjectMask(int(box.y), int(box.x), np.ones((int(box.height), int(box.width)), np.float32))


def steady(masks: dict[int, ObjectMask] | None = None, without: tuple[int, ...] = ()) -> Followed:
    """An object on the slices 5 to 15, followed to 4 and 16, with the same box and mask everywhere."""
    boxes = {index: BOX for index in range(5, 16) if index not in without}
    return Followed(Tracklet(1, boxes, 10), {index: a_mask() for index in range(4, 17)} | (masks or {}))


def at(index: int, *objects: Followed) -> SliceConfidence:
    return next(one for one in slice_confidence(objects, 1.0) if one.index == index)


def test_agreement_on_every_slice_leaves_no_doubt() -> None:
    judged = slice_confidence([steady()], 1.0)
    assert [one.index for one in judged] == list(range(4, 17))
    assert all(one.confidence >= LOW_CONFIDENCE and one.reason == "" for one in judged)
    assert at(10, steady()).confidence == 1


def test_box_and_mask_that_hardly_overlap_are_doubtful() -> None:
    moved = Box(BOX.x + 8, BOX.y, BOX.width, BOX.height)
    found = at(10, steady({10: a_mask(moved)}))
    assert found.confidence == pytest.approx(BOX.iou(moved) / 0.8) and found.confidence < LOW_CONFIDENCE
    assert "disagree (overlap 0.20)" in found.reason


def test_box_without_a_mask_is_the_most_doubtful() -> None:
    found = at(10, steady({10: ObjectMask(0, 0, np.zeros((0, 0), np.float32))}))
    assert found.confidence == 0 and "the mask is empty" in found.reason


def test_mask_across_a_gap_in_the_boxes_is_doubtful() -> None:
    found = at(9, steady(without=(9,)))
    assert 0 < found.confidence < LOW_CONFIDENCE and "no box" in found.reason


def test_jump_of_the_area_is_doubtful_and_said_in_pixels() -> None:
    small = Box(BOX.x, BOX.y, BOX.width, 3)
    found = at(10, steady({10: a_mask(small)}, without=(10,)))
    assert found.confidence <= 36 / 96
    boxes = dict.fromkeys(range(5, 16), BOX) | {10: small}
    jump = Followed(Tracklet(1, boxes, 8), {index: a_mask(box) for index, box in boxes.items()})
    assert at(10, jump).confidence == pytest.approx(36 / 96)
    assert at(10, jump).reason == "the mask's area jumps (36 pixels, 96 expected)"


def test_object_may_fade_beyond_its_last_box() -> None:
    faded = at(16, steady({16: a_mask(Box(22, 12, 4, 3))}))
    assert faded.confidence >= LOW_CONFIDENCE and faded.confidence < 1


@pytest.mark.parametrize(
    ("spacing", "slices"), [(0.5, 3), (1.0, 3), (2.0, 3), (2.00001, 3), (3.0, 2), (5.0, 1), (6.5, 0)]
)
def test_beyond_the_last_box_a_mask_is_believed_for_three_slices_or_six_mm(spacing: float, slices: int) -> None:
    followed = Followed(Tracklet(1, {5: BOX}, 5), {index: a_mask() for index in range(13)})
    judged = [one.confidence >= LOW_CONFIDENCE for one in slice_confidence([followed], spacing)]
    expected = [abs(index - 5) <= slices for index in range(13)]
    assert judged == expected


def test_slice_is_as_sure_as_its_least_sure_object() -> None:
    doubtful = steady({10: a_mask(Box(40, 30, 12, 8))})
    assert at(10, steady(), doubtful) == at(10, doubtful) == at(10, doubtful, steady())


def test_slices_where_an_object_was_looked_for_in_vain_are_not_judged() -> None:
    empty = ObjectMask(0, 0, np.zeros((0, 0), np.float32))
    assert 16 not in [one.index for one in slice_confidence([steady({16: empty})], 1.0)]


def test_nothing_found_has_nothing_to_judge() -> None:
    assert slice_confidence([], 1.0) == []
