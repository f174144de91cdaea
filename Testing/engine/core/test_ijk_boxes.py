"""A box that a reader sees in Slicer is on the voxels that the detector meant, however the file is stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.core.ijk_boxes import IjkBoxConverter
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError

ORIENTATIONS = list(product(permutations(range(3)), product((1.0, -1.0), repeat=3)))


def a_volume(axes: tuple[int, ...], signs: tuple[float, ...]) -> Volume:
    matrix = np.zeros((3, 3))
    matrix[list(axes), range(3)] = signs
    return Volume(np.zeros((9, 11, 13), np.uint8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(matrix.ravel()))


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_bounds_hold_just_the_voxels_of_the_box(axes: tuple[int, ...], signs: tuple[float, ...], plane: Plane) -> None:
    volume = a_volume(axes, signs)
    frames = np.zeros(volume.to_frames(plane)[0].shape, np.uint8)
    frames[2, 3:7, 4:9] = 1
    inside = np.argwhere(volume.from_frames(frames, plane))
    grid = IjkBoxConverter(volume, plane)
    bounds = grid.to_ijk_bounds(2, Box(4, 3, 5, 4))
    expected = np.stack([inside.min(0), inside.max(0) + 1], 1)[::-1].ravel()
    np.testing.assert_array_equal(bounds, expected)
    along = 2 * (2 - grid.axis)
    assert bounds[along : along + 2] == [grid.slice_index(2), grid.slice_index(2) + 1]


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_detected_box_comes_back_bit_for_bit(axes: tuple[int, ...], signs: tuple[float, ...], plane: Plane) -> None:
    """Otherwise an object that nobody touched would be computed again, and come out a little different."""
    grid = IjkBoxConverter(a_volume(axes, signs), plane)
    corners = np.sort(np.random.default_rng(1).uniform(0, 9, (50, 2, 2)).astype(np.float32), 1).reshape(50, 4)
    for x0, y0, x1, y1 in corners.tolist():
        box = Box(x0, y0, x1 - x0, y1 - y0, 0.7, 2)
        assert grid.box(grid.slice_index(5), grid.to_ijk_bounds(5, box), 0.7, 2) == (5, box)


def test_range_of_slices_becomes_a_range_of_frames() -> None:
    straight, turned = (IjkBoxConverter(a_volume((0, 1, 2), (1, 1, sign)), Plane.AXIAL) for sign in (1.0, -1.0))
    assert straight.frame_range((2, 5)) == (2, 5)
    assert turned.frame_range((2, 5)) == (3, 6)


def test_box_that_sticks_out_is_cut_to_the_volume() -> None:
    grid = IjkBoxConverter(a_volume((0, 1, 2), (1, 1, 1)), Plane.AXIAL)
    assert grid.box(4, [-3, 5, 8, 40, 4, 5], 1, 1) == (4, Box(0, 8, 5, 3, 1, 1))


@pytest.mark.parametrize(
    ("index", "bounds"),
    [
        (4, [20, 25, 1, 2, 4, 5]),
        (4, [3, 3, 1, 2, 4, 5]),
        (9, [1, 2, 1, 2, 9, 10]),
        (-1, [1, 2, 1, 2, -1, 0]),
        (4, [1, float("nan"), 1, 2, 4, 5]),
    ],
)
def test_box_outside_the_volume_is_reported(index: int, bounds: list[float]) -> None:
    grid = IjkBoxConverter(a_volume((0, 1, 2), (1, 1, 1)), Plane.AXIAL)
    with pytest.raises(AutoMedSAMError, match=f"box on slice {index} is outside the volume"):
        grid.box(index, bounds, 1, 1)
