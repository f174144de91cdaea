"""The box table's model: what a person does to boxes, and what the engine is then asked."""

import json
import time

import pytest

from AutoMedSAMLib.model.box_table import BoxTable


def a_box(number, slice_index, score=0.9, label=1, at=10.0, side=20.0, drawn=False):
    bounds = [at, at + side, at, at + side, float(slice_index), float(slice_index + 1)]
    return {"id": number, "slice": slice_index, "bounds": bounds, "score": score, "label": label, "drawn": drawn}


def a_tracklet(numbers, seed, label=1):
    return {"label": label, "seed": seed, "score": 0.9, "boxes": list(numbers), "gaps": []}


@pytest.fixture
def table():
    """A sure object on slices 5 to 9 with a gap at 7, a weak one on 20 and 21, and a box that stands alone."""
    table = BoxTable(axis=0, threshold=0.4)
    sure = [a_box(1, 5, 0.6), a_box(2, 6, 0.95), a_box(3, 8, 0.7), a_box(4, 9, 0.3)]
    weak = [a_box(5, 20, 0.45, at=60.0), a_box(6, 21, 0.41, at=60.0)]
    table.receive_boxes([*sure, *weak, a_box(7, 30, 0.5, at=90.0), a_box(8, 31, 0.1, at=90.0)])
    table.receive_tracklets([a_tracklet([1, 2, 3, 4], 6), a_tracklet([5, 6], 20)])
    return table


def test_objects_come_best_first_with_seed_and_gaps(table):
    first, second = table.objects()
    assert (first.number, first.seed, first.gaps, first.score) == (1, 6, ((7, 7),), 0.95)
    assert (second.number, second.seed, second.gaps) == (2, 20, ())
    assert [box.id for box in first.boxes] == [1, 2, 3, 4]


def test_boxes_of_no_object_are_shown_from_the_threshold_on(table):
    assert [box.id for box in table.unassigned().boxes] == [7]
    table.threshold = 0.05
    assert [box.id for box in table.unassigned().boxes] == [7, 8]


def test_slider_hides_weak_objects_at_once_and_brings_them_back(table):
    table.threshold = 0.5
    assert [group.score for group in table.objects()] == [0.95]
    table.threshold = 0.4
    assert len(table.objects()) == 2


def test_rejected_box_is_not_sent_and_stays_in_its_place(table):
    table.reject([3])
    boxes, tracklets = table.propagation()
    assert [box["id"] for box in boxes] == [1, 2, 4, 5, 6]
    assert tracklets[0]["boxes"] == [1, 2, 4]
    assert 3 not in [box["id"] for box in table.link_boxes()]
    first = table.objects()[0]
    assert [box.id for box in first.boxes] == [1, 2, 3, 4]
    # The slice of the ignored box has a row of its own.
    assert first.gaps == ((7, 7),)


def test_rejection_survives_another_linking(table):
    table.reject([3])
    table.receive_tracklets([a_tracklet([1, 2, 4], 6)])
    first = table.objects()[0]
    assert [box.id for box in first.boxes] == [1, 2, 3, 4]
    assert 3 not in first.accepted


def test_wholly_rejected_object_is_not_segmented_but_can_be_taken_back(table):
    table.reject([5, 6])
    assert len(table.propagation()[1]) == 1
    table.receive_tracklets([a_tracklet([1, 2, 3, 4], 6)])
    assert {5, 6} <= {box.id for box in table.unassigned().boxes}
    table.accept([5])
    assert table[5].drawn and table[5].score == 1.0
    assert 5 in [box["id"] for box in table.link_boxes()]


def test_taking_back_a_rejected_box_keeps_the_detectors_score(table):
    table.reject([3])
    table.accept([3])
    assert table[3].score == 0.7 and not table[3].drawn
    assert 3 in table.objects()[0].accepted


def test_rejected_seed_hands_over_to_a_sure_and_large_box(table):
    table.reject([2])
    assert table.objects()[0].seed == 8
    assert table.propagation()[1][0]["seed"] == 8


def test_chosen_seed_survives_linking(table):
    table.choose_seed(1)
    assert table.objects()[0].seed == 5
    table.receive_tracklets([a_tracklet([1, 2, 3, 4], 6)])
    assert table.objects()[0].seed == 5
    table.choose_seed(3)
    assert table.objects()[0].seed == 8


def test_edited_box_stays_on_its_slice_and_counts_as_drawn(table):
    table.edit(3, [0, 5, 0, 6, 2.2, 7.7])
    assert table[3].bounds == (0, 5, 0, 6, 8, 9)
    assert table[3].score == 1.0 and table[3].drawn
    assert table.propagation()[0][2]["bounds"] == [0, 5, 0, 6, 8, 9]


@pytest.mark.parametrize(("axis", "along"), [(0, 4), (1, 2), (2, 0)])
def test_box_is_one_slice_thick_whatever_the_plane(axis, along):
    table = BoxTable(axis=axis, threshold=0.4)
    box = table.add(12, [0, 50, 0, 50, 0, 50], label=1)
    assert box.bounds[along : along + 2] == (12, 13)
    assert box.area(axis) == 2500


def test_edit_survives_boxes_that_come_again(table):
    table.edit(3, [0, 5, 0, 6, 8, 9])
    table.receive_boxes([a_box(3, 8, 0.7)])
    assert table[3].bounds[:4] == (0, 5, 0, 6)


def test_added_box_is_an_object_of_its_own_until_it_is_linked(table):
    box = table.add(40, [0, 10, 0, 10, 40, 41], label=2)
    assert box.id == 9
    assert 9 in [one["id"] for one in table.link_boxes()]
    assert table.propagation()[1][-1] == {"label": 2, "seed": 40, "boxes": [9]}
    table.receive_tracklets([a_tracklet([1, 2, 3, 4], 6), a_tracklet([9], 40, label=2)])
    assert table.objects()[1].label == 2


def test_box_added_in_a_gap_lies_between_its_neighbours_and_closes_it(table):
    table.edit(3, [20, 40, 10, 30, 8, 9])
    first = table.objects()[0]
    assert first.bounds_at(8) is None
    assert first.bounds_at(7) == (15, 35, 10, 30, 7, 8)
    table.add(7, first.bounds_at(7), label=1, group=first)
    assert table.objects()[0].gaps == ()


def test_box_added_beyond_an_object_is_like_that_of_its_end(table):
    first = table.objects()[0]
    assert first.bounds_at(12)[:4] == first.boxes[-1].bounds[:4]
    assert first.bounds_at(2)[:4] == first.boxes[0].bounds[:4]
    assert first.bounds_at(40) is None


def test_box_drawn_over_a_rejected_one_takes_its_slice(table):
    table.reject([3])
    table.add(8, [9, 31, 9, 31, 8, 9], label=1)
    table.receive_tracklets([a_tracklet([1, 2, 9, 4], 6)])
    first = table.objects()[0]
    assert 9 in first.accepted and 3 not in first.accepted
    table.accept([3])
    first = table.objects()[0]
    assert 3 in first.accepted and 9 not in first.accepted


def test_only_what_is_segmented_counts_as_a_change(table):
    table.mark_segmented()
    assert not table.needs_propagation
    table.reject([7])
    assert not table.needs_propagation
    table.reject([3])
    assert table.needs_propagation
    table.accept([3])
    assert not table.needs_propagation
    table.choose_seed(1)
    assert table.needs_propagation


def test_empty_table_has_nothing_to_propagate():
    table = BoxTable()
    assert not table.needs_propagation
    assert table.objects() == [] and table.unassigned() is None


def test_saved_table_comes_back_as_it_was(table):
    table.plane, table.slices, table.model = "coronal", (3, 40), "abc"
    table.confidence = [{"slice": 5, "confidence": 0.25, "reason": "the mask's area jumps"}]
    table.reject([3])
    table.edit(1, [0.125, 5, 0, 6, 5, 6])
    table.choose_seed(4)
    table.mark_segmented()
    again = BoxTable.from_text(table.to_text())
    assert again.objects() == table.objects()
    assert again.unassigned() == table.unassigned()
    assert again.propagation() == table.propagation()
    assert (again.axis, again.threshold, again.needs_propagation) == (0, 0.4, False)
    assert (again.plane, again.slices, again.model) == ("coronal", (3, 40), "abc")
    assert again.confidence == table.confidence
    again.reject([2])
    assert again.needs_propagation


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", '{"format": 2}', json.dumps({"format": 1, "axis": 0, "threshold": 0.4, "boxes": [[1]]})]
)
def test_unreadable_table_is_an_error(text):
    with pytest.raises(ValueError, match="not a box table"):
        BoxTable.from_text(text)


def test_several_boxes_on_each_of_155_slices_are_grouped_in_a_blink():
    table = BoxTable(axis=0, threshold=0.1)
    boxes = [a_box(1 + n * 155 + k, k, 0.2 + 0.01 * n, at=20.0 * n) for n in range(8) for k in range(155)]
    table.receive_boxes(boxes)
    table.receive_tracklets([a_tracklet(range(1 + n * 155, 1 + (n + 1) * 155), 80) for n in range(8)])
    table.reject(range(1, 400))
    began = time.process_time()
    table.objects()
    assert time.process_time() - began < 0.02
