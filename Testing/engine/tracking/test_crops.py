"""Objects that lie together are looked at together."""

from __future__ import annotations

from automedsam.core.boxes import Box, Tracklet
from automedsam.sam2.propagation import CropBox
from automedsam.tracking.crops import SliceRange, group_into_crops, region_of_interest

SIZE = (100, 120)


def reach(x: float, y: float, first: int, last: int) -> SliceRange:
    return SliceRange(Tracklet(1, {index: Box(x, y, 12, 10) for index in range(first, last + 1)}, first), first, last)


def test_boxes_fill_their_share_of_the_view() -> None:
    assert region_of_interest([reach(40, 50, 0, 3).tracklet], 0.5, SIZE) == CropBox(45, 34, 65, 58)


def test_view_ends_where_the_slice_ends() -> None:
    assert region_of_interest([reach(0, 88, 0, 3).tracklet], 0.5, SIZE) == CropBox(83, 0, 100, 18)


def test_neighbours_share_a_view_and_distant_objects_do_not() -> None:
    near, neighbour, far = reach(40, 50, 0, 5), reach(55, 50, 3, 9), reach(100, 10, 0, 9)
    crops = group_into_crops([near, far, neighbour], 0.5, SIZE)
    assert [crop.objects for crop in crops] == [(near, neighbour), (far,)]


def test_objects_on_different_slices_do_not_share_a_view() -> None:
    assert len(group_into_crops([reach(40, 50, 0, 5), reach(42, 50, 6, 9)], 0.5, SIZE)) == 2


def test_an_object_between_two_joins_them() -> None:
    assert len(group_into_crops([reach(10, 50, 0, 5), reach(50, 50, 0, 5), reach(30, 50, 0, 5)], 0.5, SIZE)) == 1


def test_nothing_found_needs_no_view() -> None:
    assert group_into_crops([], 0.5, SIZE) == []
