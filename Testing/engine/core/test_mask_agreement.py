"""Dice and surface distances of masks whose answer is known by hand, in mm on oblique and anisotropic grids."""

from __future__ import annotations

import numpy as np
import pytest

from automedsam.core.mask_agreement import dice, surface_distance


def block(*sides: slice, shape: tuple[int, int, int] = (10, 12, 14)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[sides] = True
    return mask


ONE = block(slice(2, 6), slice(3, 7), slice(4, 9))


def test_dice_of_equal_half_and_empty_masks() -> None:
    half = block(slice(2, 4), slice(3, 7), slice(4, 9))
    empty = np.zeros_like(ONE)
    assert dice(ONE, ONE) == 1 and dice(ONE, half) == pytest.approx(2 / 3)
    assert dice(ONE, empty) == 0 and dice(empty, empty) == 1


def test_distance_is_in_mm_along_each_axis() -> None:
    axes = np.diag([0.5, 2.0, 3.0])  # mm along I, J, K
    for axis, step in ((2, 0.5), (1, 2.0), (0, 3.0)):
        moved = np.roll(ONE, 1, axis)
        found = surface_distance(ONE, moved, axes)
        assert found is not None
        # The farthest surface voxels are one step away, those along the faces none.
        assert found.hd95_mm == pytest.approx(step) and 0 < found.mean_mm < step


def test_rotated_and_sheared_grids_are_measured_in_space() -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    other = np.roll(ONE, (1, 1), (0, 2))
    straight = surface_distance(ONE, other, np.diag([0.5, 2.0, 3.0]))
    turned = surface_distance(ONE, other, turn @ np.diag([0.5, 2.0, 3.0]))
    assert straight is not None and turned is not None
    assert (turned.hd95_mm, turned.mean_mm) == pytest.approx((straight.hd95_mm, straight.mean_mm))
    single, far = block(slice(1, 2), slice(1, 2), slice(1, 2)), block(slice(2, 3), slice(1, 2), slice(1, 2))
    sheared = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]])
    found = surface_distance(single, far, sheared)
    assert found is not None and found.mean_mm == pytest.approx(5.0)


def test_empty_mask_has_no_surface() -> None:
    assert surface_distance(ONE, np.zeros_like(ONE), np.eye(3)) is None
    assert surface_distance(np.zeros_like(ONE), np.zeros_like(ONE), np.eye(3)) is None


def test_single_slice_has_no_neighbors_across() -> None:
    flat, grown = (block(slice(0, 1), slice(a, b), slice(a, b), shape=(1, 12, 12)) for a, b in ((4, 8), (3, 9)))
    found = surface_distance(flat, grown, np.eye(3))
    assert found is not None and found.hd95_mm == pytest.approx(np.sqrt(2))
