"""Masks into a segmentation: right place, right look, and nothing else changed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

SHAPE = (12, 20, 24)
OBLIQUE = np.array([[0.9, -0.1, 0.3, -20.0], [0.12, 0.8, -0.5, 5.0], [-0.1, 0.2, 2.8, 33.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def volume(add_volume: Any) -> Any:
    return add_volume(np.zeros(SHAPE, np.int16), OBLIQUE, "T1 Größe 頭")


@pytest.fixture
def segmentation(scene: Any, volume: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


@pytest.fixture
def model() -> Any:
    from AutoMedSAMLib.model.bundle_info import find_model

    return find_model("hippocampus")


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:6, 4:9, 5:11] = 1
    labels[5:9, 10:14, 5:11] = 2
    return labels


def planes(labels: np.ndarray, axis: int = 0) -> dict[int, np.ndarray]:
    return dict(enumerate(np.moveaxis(labels, axis, 0)))


def writer_for(node: Any, model: Any, axis: int = 0, mode: str = "beside", **settings: Any) -> Any:
    """A writer for the volume whose geometry the segmentation has."""
    from AutoMedSAMLib.scene.segment_writer import SegmentWriter

    volume = settings.pop("volume", None) or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return SegmentWriter(node, model, volume, axis, mode=mode, **settings)


def write(node: Any, model: Any, labels: np.ndarray, axis: int = 0, mode: str = "beside", **settings: Any) -> Any:
    """A whole run's writing."""
    writer = writer_for(node, model, axis, mode, **settings)
    first, last = settings.get("slices") or (0, len(planes(labels, axis)) - 1)
    writer.write({number: plane for number, plane in planes(labels, axis).items() if first <= number <= last})
    writer.install()
    writer.finish({"model": model.name})
    return writer


def draw_by_hand(node: Any, volume: Any, name: str, where: tuple[slice, ...]) -> str:
    import slicer

    segment_id = node.GetSegmentation().AddEmptySegment(name, name, (0.2, 0.4, 0.6))
    mask = np.zeros(SHAPE, np.uint8)
    mask[where] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, volume)
    return segment_id


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masks_land_on_the_voxels_of_an_oblique_volume(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray, axis: int
) -> None:
    from runs import labels_in

    writer = write(segmentation, model, labels, axis)
    np.testing.assert_array_equal(labels_in(segmentation, volume, writer.segment_ids), labels)


def test_slicer_itself_sees_the_same_voxels(segmentation: Any, volume: Any, model: Any, labels: np.ndarray) -> None:
    import slicer

    writer = write(segmentation, model, labels)
    for value, segment_id in writer.segment_ids.items():
        seen = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        np.testing.assert_array_equal(seen > 0, labels == value)


def test_names_colours_and_terms_come_from_the_model(segmentation: Any, model: Any, labels: np.ndarray) -> None:
    import vtk

    writer = write(segmentation, model, labels)
    for label in model.segments:
        segment = segmentation.GetSegmentation().GetSegment(writer.segment_ids[label["value"]])
        term = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", term) and str(term) == label["terminology"]
        assert segment.GetName() == label["name"] and segment.GetColor() == label["color"]


def test_labels_of_a_run_share_one_image(segmentation: Any, model: Any, labels: np.ndarray) -> None:
    write(segmentation, model, labels)
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 1


def test_an_empty_result_leaves_empty_segments(segmentation: Any, volume: Any, model: Any) -> None:
    from runs import labels_in

    writer = write(segmentation, model, np.zeros(SHAPE, np.uint8))
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    assert not labels_in(segmentation, volume, writer.segment_ids).any()


def test_nothing_is_touched_before_the_first_slice(segmentation: Any, model: Any) -> None:
    writer_for(segmentation, model)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_other_segments_stay_as_they_are_bit_for_bit(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from runs import everything_in

    draw_by_hand(segmentation, volume, "overlapping", np.s_[2:8, 2:16, 2:16])
    draw_by_hand(segmentation, volume, "elsewhere", np.s_[10:12, 18:20, 20:24])
    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetDisplayNode().SetSegmentVisibility("elsewhere", False)
    before = everything_in(segmentation)
    write(segmentation, model, labels)
    after = everything_in(segmentation)
    assert {key: after[key] for key in before} == before
    assert list(after)[: len(before)] == list(before)


@pytest.mark.parametrize("mode", ["beside", "replace"])
def test_undo_leaves_the_segmentation_as_it_was(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray, mode: str
) -> None:
    from runs import everything_in

    draw_by_hand(segmentation, volume, "mine", np.s_[2:8, 2:16, 2:16])
    write(segmentation, model, labels)
    draw_by_hand(segmentation, volume, "mine too", np.s_[0:2, 0:2, 0:2])
    before = everything_in(segmentation)
    second = write(segmentation, model, np.roll(labels, 2, axis=2), mode=mode)
    assert everything_in(segmentation) != before
    second.undo()
    assert everything_in(segmentation) == before


def test_undo_of_propagate_again_gives_the_edits_back(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from AutoMedSAMLib.scene.closed_surface import surface_steps
    from runs import everything_in, labels_in

    first = write(segmentation, model, labels)
    segmentation.CreateClosedSurfaceRepresentation()
    before = everything_in(segmentation)
    again = write(segmentation, model, np.roll(labels, 2, axis=2) * (labels == 0), mode="again")
    for _ in surface_steps(again):
        pass
    assert everything_in(segmentation) != before
    again.undo()
    assert everything_in(segmentation) == before
    np.testing.assert_array_equal(labels_in(segmentation, volume, first.segment_ids), labels)
    third = write(segmentation, model, labels, mode="again")
    assert third.write(planes(labels)) == []


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


def test_surfaces_are_where_the_voxels_are(segmentation: Any, model: Any, labels: np.ndarray) -> None:
    from AutoMedSAMLib.scene.closed_surface import surface_steps, wants_surfaces

    writer = write(segmentation, model, labels)
    assert wants_surfaces(writer)
    for _ in surface_steps(writer):
        pass
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    for value, segment_id in writer.segment_ids.items():
        surface = segmentation.GetSegmentation().GetSegment(segment_id).GetRepresentation("Closed surface")
        low, high = np.reshape(surface.GetBounds(), (3, 2)).T
        k, j, i = np.nonzero(labels == value)
        points = (OBLIQUE @ np.array([i, j, k, np.ones_like(i)]))[:3]
        np.testing.assert_allclose(low, points.min(axis=1), atol=2.0)
        np.testing.assert_allclose(high, points.max(axis=1), atol=2.0)


def test_surfaces_are_made_beside_others_only_where_others_have_theirs(
    segmentation: Any, volume: Any, model: Any, labels: np.ndarray
) -> None:
    from AutoMedSAMLib.scene.closed_surface import wants_surfaces

    draw_by_hand(segmentation, volume, "mine", np.s_[2:8, 2:16, 2:16])
    writer = write(segmentation, model, labels)
    assert not wants_surfaces(writer)
    segmentation.CreateClosedSurfaceRepresentation()
    assert wants_surfaces(writer)


def test_no_surfaces_where_none_are_shown(segmentation: Any, model: Any, labels: np.ndarray) -> None:
    from AutoMedSAMLib.scene.closed_surface import wants_surfaces

    segmentation.GetDisplayNode().SetVisibility3D(False)
    assert not wants_surfaces(write(segmentation, model, labels))


def test_a_segmentation_of_surfaces_is_refused_with_a_way_out(segmentation: Any, model: Any) -> None:
    import vtk

    from AutoMedSAMLib.errors import AutoMedSAMError

    sphere = vtk.vtkSphereSource()
    sphere.Update()
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball")
    with pytest.raises(AutoMedSAMError, match="choose another output segmentation"):
        writer_for(segmentation, model)
