"""Masks into a segmentation: right place, right look, and nothing else changed."""

from typing import Any

import numpy as np
import pytest

from segment_writing import OBLIQUE, SHAPE, draw_by_hand, planes, write, writer_for


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
