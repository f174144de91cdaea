"""Diameters of shapes whose size is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automedsam import AutoMedSAMError
from automedsam.measure.diameters import diameters, largest_diameter, plane_basis

SQUARE = plane_basis(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))


def basis(rows: float, columns: float) -> np.ndarray:
    return plane_basis(np.array([0.0, rows, 0.0]), np.array([columns, 0.0, 0.0]))


def ellipse(a: float, b: float, degrees: float, rows: float, columns: float) -> np.ndarray:
    """An ellipse of semi-axes in mm, turned, on pixels of this size."""
    reach = a + 3
    y, x = np.mgrid[-reach : reach + rows : rows, -reach : reach + columns : columns]
    angle = math.radians(degrees)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 120])
@pytest.mark.parametrize(("rows", "columns"), [(0.5, 0.5), (0.4, 1.0), (1.0, 0.6)])
def test_both_diameters_of_an_ellipse_to_a_pixel(degrees: float, rows: float, columns: float) -> None:
    found = diameters(ellipse(30, 12, degrees, rows, columns), basis(rows, columns))
    pixel = max(rows, columns)
    assert found.long_mm == pytest.approx(60, abs=pixel)
    assert found.short_mm == pytest.approx(24, abs=1.5 * pixel)
    assert found.product_mm2 == found.long_mm * found.short_mm


def test_a_pixel_is_as_long_and_as_wide_as_it_is() -> None:
    found = diameters(np.ones((1, 1), bool), basis(0.5, 2.0))
    assert (found.long_mm, found.short_mm) == pytest.approx((2.0, 0.5))


def test_holes_and_notches_are_crossed_as_calipers_cross_them() -> None:
    whole = ellipse(20, 15, 30, 1, 1)
    ring = whole & ~np.pad(ellipse(10, 8, 30, 1, 1), 10)[: whole.shape[0], : whole.shape[1]]
    assert ring.sum() < whole.sum()
    one, other = diameters(whole, SQUARE), diameters(ring, SQUARE)
    assert (one.long_mm, one.short_mm) == (other.long_mm, other.short_mm)


def test_the_perpendicular_is_a_line_and_no_bounding_box() -> None:
    # An L: the extent across its long axis is more than any line across it.
    mask = np.zeros((41, 41), bool)
    mask[:, :3] = mask[-3:, :] = True
    found = diameters(mask, SQUARE)
    one, other = found.short_ends
    assert np.linalg.norm(other - one) == pytest.approx(found.short_mm)
    along = np.subtract(*found.long_ends)
    assert abs(float(along @ (other - one))) < 1e-6


def test_slices_of_a_sheared_grid_are_measured_in_millimeters() -> None:
    sheared = plane_basis(np.array([0.5, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    mask = np.zeros((11, 1), bool)
    mask[:] = True
    # Ten steps of (0.5, 1) mm lie between the first and the last pixel.
    assert diameters(mask, sheared).long_mm == pytest.approx(10 * math.hypot(0.5, 1), abs=1.2)


@pytest.mark.parametrize("columns", [0.0, 1e-300, 1e300, math.inf, math.nan])
def test_pixels_that_no_image_has_are_refused(columns: float) -> None:
    with pytest.raises(AutoMedSAMError, match="cannot be measured"):
        basis(1.0, columns)
    with pytest.raises(AutoMedSAMError, match="cannot be measured"):
        plane_basis(np.array([1.0, 1.0, 0.0]), np.array([2.0, 2.0, 0.0]))


masks = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)).map(
    lambda sizes: np.random.default_rng(sizes[2]).random(sizes[:2]) < 0.6
)


@settings(deadline=None, max_examples=80)
@given(masks.filter(lambda mask: mask.any()), st.sampled_from([(1.0, 1.0), (0.7, 1.9), (3.0, 0.5)]))
def test_flips_and_transposes_change_no_diameter(mask: np.ndarray, spacing: tuple[float, float]) -> None:
    rows, columns = spacing
    wanted = diameters(mask, basis(rows, columns))
    assert largest_diameter(mask, basis(rows, columns)) == pytest.approx(wanted.long_mm)
    assert wanted.short_mm <= wanted.long_mm * (1 + 1e-9)
    for turned, place in (
        (mask[::-1], basis(rows, columns)),
        (mask[:, ::-1], basis(rows, columns)),
        (mask.T, basis(columns, rows)),
    ):
        found = diameters(turned, place)
        assert (found.long_mm, found.short_mm) == pytest.approx((wanted.long_mm, wanted.short_mm), abs=1e-6)
    moved = diameters(np.pad(mask, ((3, 1), (0, 2))), basis(rows, columns))
    assert (moved.long_mm, moved.short_mm) == pytest.approx((wanted.long_mm, wanted.short_mm), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(masks.filter(lambda mask: mask.any()))
def test_the_long_axis_is_the_longest_of_all_pairs_of_outline_points(mask: np.ndarray) -> None:
    pixels = np.argwhere(mask)
    offsets = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
    points = (pixels[:, None] + offsets).reshape(-1, 2)
    longest = np.linalg.norm(points[:, None] - points[None], axis=2).max()
    assert diameters(mask, SQUARE).long_mm == pytest.approx(longest)
