"""A run beside earlier results: they are replaced only on request, and hand edits are kept."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segment_writing import OBLIQUE, SHAPE, draw_by_hand, planes, write, writer_for


def test_a_second_run_that_may_replaces_the_first(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from runs import labels_in

    write(segmentation, model, labels)
    moved = np.roll(labels, 3, axis=2)
    writer = write(segmentation, model, moved, mode="replace")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), moved)


def test_what_was_edited_by_hand_is_kept_and_the_new_result_stands_beside_it(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    first = write(segmentation, model, labels)
    edited = (labels == 1).astype(np.uint8)
    edited[4, 4, 4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, first.segment_ids[1], volume)
    write(segmentation, model, np.roll(labels, 3, axis=2), mode="replace")
    names = [
        segmentation.GetSegmentation().GetSegment(one).GetName()
        for one in segmentation.GetSegmentation().GetSegmentIDs()
    ]
    assert names == ["Hippocampus, anterior", "Hippocampus, posterior", "Hippocampus, anterior 2"]
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, first.segment_ids[1], volume)
    np.testing.assert_array_equal(kept, edited)


def test_another_models_segments_are_no_business_of_a_run(segmentation: Any, model: Any, labels: np.ndarray) -> None:
    write(segmentation, model, labels)
    write(segmentation, replace(model, name="other"), labels, mode="replace")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 4


def test_another_patients_segments_are_no_business_of_a_run(
    segmentation: Any, volume: Any, add_volume: Any, model: Any, labels: np.ndarray
) -> None:
    from runs import labels_in

    first = write(segmentation, model, labels)
    # Same name and same grid, as two patients of one study have it.
    other = add_volume(np.zeros(SHAPE, np.int16), OBLIQUE, volume.GetName())
    second = write(segmentation, model, np.roll(labels, 3, axis=2), mode="replace", volume=other)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 4
    np.testing.assert_array_equal(labels_in(segmentation, volume, first.segment_ids), labels)
    again = write(segmentation, model, labels, mode="again", volume=other)
    assert again.segment_ids == second.segment_ids
    np.testing.assert_array_equal(labels_in(segmentation, volume, first.segment_ids), labels)


def test_result_whose_volume_is_gone_is_never_replaced(
    segmentation: Any, volume: Any, scene: Any, add_volume: Any, model: Any, labels: np.ndarray
) -> None:
    write(segmentation, model, labels)
    name = volume.GetName()
    scene.RemoveNode(volume)
    next_patient = add_volume(np.zeros(SHAPE, np.int16), OBLIQUE, name)
    write(segmentation, model, labels, mode="replace", volume=next_patient)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 4


def test_a_result_beside_another_leaves_that_as_it_is(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from runs import everything_in

    write(segmentation, model, labels)
    before = everything_in(segmentation)
    write(segmentation, model, np.roll(labels, 3, axis=2))
    after = everything_in(segmentation)
    assert {key: after[key] for key in before} == before
    assert [after[key]["name"] for key in after][2:] == ["Hippocampus, anterior 2", "Hippocampus, posterior 2"]


def test_name_and_colour_of_a_renamed_segment_survive_the_next_run(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from runs import labels_in

    first = write(segmentation, model, labels)
    mine = segmentation.GetSegmentation().GetSegment(first.segment_ids[1])
    mine.SetName("My head")
    mine.SetColor(1.0, 0.0, 0.0)
    segmentation.GetDisplayNode().SetSegmentOpacity3D(first.segment_ids[1], 0.3)
    moved = np.roll(labels, 3, axis=2)
    second = write(segmentation, model, moved, mode="replace")
    now = segmentation.GetSegmentation().GetSegment(second.segment_ids[1])
    assert (now.GetName(), now.GetColor()) == ("My head", (1.0, 0.0, 0.0))
    assert segmentation.GetDisplayNode().GetSegmentOpacity3D(second.segment_ids[1]) == pytest.approx(0.3)
    np.testing.assert_array_equal(labels_in(segmentation, volume, second.segment_ids), moved)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_run_on_some_slices_keeps_the_result_on_the_others(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray, axis: int
) -> None:
    from runs import everything_in, labels_in

    # The first run along the first axis; the next along the same or another.
    write(segmentation, model, labels)
    segmentation.CreateClosedSurfaceRepresentation()
    before = everything_in(segmentation)
    moved = np.roll(labels, 3, axis=2)
    writer = write(segmentation, model, moved, axis, "replace", slices=(4, 6))
    expected = labels.copy()
    np.moveaxis(expected, axis, 0)[4:7] = np.moveaxis(moved, axis, 0)[4:7]
    np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), expected)
    assert writer.edits_at_stake() == 0
    writer.undo()
    assert everything_in(segmentation) == before
    third = write(segmentation, model, labels, mode="replace")
    assert third.segment_ids == writer.segment_ids


def test_hand_edits_off_the_slices_of_a_run_stay_in_the_segment(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    from runs import labels_in

    first = write(segmentation, model, labels)
    edited = (labels == 1).astype(np.uint8)
    edited[11, 15, 15] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, first.segment_ids[1], volume)
    moved = np.roll(labels, 3, axis=2)
    second = write(segmentation, model, moved, mode="replace", slices=(3, 8))
    assert second.segment_ids == first.segment_ids
    expected = moved.copy()
    expected[11, 15, 15] = 1
    np.testing.assert_array_equal(labels_in(segmentation, volume, second.segment_ids), expected)
    # Undo leaves that edit alone.
    assert second.edits_at_stake() == 0
    second.undo()
    assert labels_in(segmentation, volume, first.segment_ids)[11, 15, 15] == 1


def test_propagate_again_keeps_hand_edits_on_slices_that_have_not_changed(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    from runs import labels_in

    first = write(segmentation, model, labels)
    edited = (labels == 1).astype(np.uint8)
    edited[3, 15, 15] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, first.segment_ids[1], volume)
    new = labels.copy()
    new[5, 10:12, 5:11] = 0
    writer = writer_for(segmentation, model, mode="again")
    assert writer.write(planes(new)) == [5]
    expected = new.copy()
    expected[3, 15, 15] = 1
    assert writer.segment_ids == first.segment_ids
    np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), expected)
    assert writer.kept_by_hand == {3}


def test_propagate_again_keeps_slices_edited_by_hand_even_where_the_new_result_is_another(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    from runs import labels_in

    first = write(segmentation, model, labels)
    edited = (labels == 1).astype(np.uint8)
    edited[3:5] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, first.segment_ids[1], volume)
    moved = np.roll(labels, 3, axis=2)
    for _ in range(2):
        # The second time it is still known which slices are a person's.
        writer = write(segmentation, model, moved, mode="again")
        assert writer.kept_by_hand == {3, 4}
        expected = moved.copy()
        expected[3:5] = 0
        np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), expected)


def test_slice_edited_while_the_run_goes_on_is_kept(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    from runs import labels_in

    writer = writer_for(segmentation, model)
    writer.write(planes(labels))
    edited = (labels == 1).astype(np.uint8)
    edited[4] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, writer.segment_ids[1], volume)
    moved = np.roll(labels, 3, axis=2)
    writer.write(planes(moved))
    assert writer.kept_by_hand == {4}
    seen = labels_in(segmentation, volume, writer.segment_ids)
    assert not seen[4].any() and (seen[5] == moved[5]).all()
    # Undo would take the segment away, and the edit with it.
    assert writer.edits_at_stake() == 1


def test_drawing_into_the_runs_image_while_it_goes_on_harms_neither(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    import slicer

    from runs import labels_in

    writer = writer_for(segmentation, model)
    writer.write({number: labels[number] for number in range(5)})
    # Slicer puts a new segment into the first image there is: this run's.
    drawn = draw_by_hand(segmentation, volume, "drawn meanwhile", np.s_[4:8, 0:4, 0:4])
    writer.write({number: labels[number] for number in range(5, 12)})
    np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), labels)
    seen = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, drawn, volume)
    assert seen.sum() == 4 * 4 * 4 and seen[4:8, 0:4, 0:4].all()


def test_a_segment_deleted_while_the_run_goes_on_stays_deleted(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    writer = writer_for(segmentation, model)
    writer.write({number: labels[number] for number in range(5)})
    segmentation.GetSegmentation().RemoveSegment(writer.segment_ids[1])
    writer.write({number: labels[number] for number in range(5, 12)})
    writer.finish({"model": model.name})
    assert segmentation.GetSegmentation().GetSegmentIDs() == (writer.segment_ids[2],)
