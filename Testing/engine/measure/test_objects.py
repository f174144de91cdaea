"""Measures of objects in volumes of any grid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from automedsam import AutoMedSAMError, Plane, Volume
from automedsam.core.mask_agreement import dice
from automedsam.core.regrid import place_on
from automedsam.measure.objects import connected_objects, measure_mask, measure_with_segments
from automedsam.measure.overlap import ReferenceSegment

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ANGLE = math.radians(20)
OBLIQUE = (math.cos(ANGLE), -math.sin(ANGLE), 0.0, math.sin(ANGLE), math.cos(ANGLE), 0.0, 0.0, 0.0, -1.0)


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float], direction: tuple[float, ...]) -> Volume:
    return Volume(np.broadcast_to(np.uint8(0), shape), spacing, (5.0, -7.0, 11.0), direction)


def ellipsoid(volume: Volume, radii: tuple[float, float, float]) -> np.ndarray:
    """An ellipsoid in the middle; its axes are those of the grid."""
    k, j, i = (np.arange(count) - (count - 1) / 2 for count in volume.shape)
    x, y, z = (axis * step for axis, step in zip((i, j, k), volume.spacing, strict=True))
    return (z[:, None, None] / radii[2]) ** 2 + (y[:, None] / radii[1]) ** 2 + (x / radii[0]) ** 2 <= 1


@pytest.mark.parametrize("direction", [IDENTITY, OBLIQUE])
@pytest.mark.parametrize("spacing", [(0.5, 0.5, 4.0), (0.8, 0.5, 3.0)])
def test_an_ellipsoid_has_its_volume_and_its_diameters(
    direction: tuple[float, ...], spacing: tuple[float, float, float]
) -> None:
    volume = grid((25, 90, 110), spacing, direction)
    mask = ellipsoid(volume, (20, 12, 30))
    found = measure_mask(mask, volume, volume.default_plane(), label=1, segment="Lesion", number=1)
    assert found.volume_ml == pytest.approx(4 / 3 * math.pi * 20 * 12 * 30 / 1000, rel=0.02)
    assert found.long_mm == pytest.approx(40, abs=spacing[0])
    assert found.short_mm == pytest.approx(24, abs=1.5 * spacing[1])
    assert found.diameter_slice == 12
    shown = np.flatnonzero(mask.any((1, 2)))
    assert found.slices == (shown[0], shown[-1]) and found.slice_count == len(shown)
    assert found.long_ends is not None
    assert math.dist(*found.long_ends) == pytest.approx(found.long_mm)


@pytest.mark.parametrize(("plane", "long_mm", "short_mm"), [
    (Plane.AXIAL, 40, 24), (Plane.CORONAL, 60, 40), (Plane.SAGITTAL, 60, 24),
])  # fmt: skip
def test_the_plane_decides_which_diameters_are_measured(plane: Plane, long_mm: float, short_mm: float) -> None:
    volume = grid((70, 60, 60), (1.0, 1.0, 1.0), IDENTITY)
    found = measure_mask(ellipsoid(volume, (20, 12, 30)), volume, plane, label=1, segment="Lesion", number=1)
    assert (found.long_mm, found.short_mm) == pytest.approx((long_mm, short_mm), abs=1.5)
    assert found.plane == plane.value


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_flipped_grid_gives_the_same_measures(axes: tuple[int, ...]) -> None:
    volume = grid((14, 40, 50), (0.7, 0.9, 3.0), IDENTITY)
    mask = np.random.default_rng(3).random(volume.shape) < 0.02
    mask |= ellipsoid(volume, (9, 13, 15))
    signs = np.where(np.isin([2, 1, 0], axes), -1, 1)
    flipped = replace(volume, direction=tuple((np.eye(3) * signs).ravel()))
    one = measure_mask(mask, volume, Plane.AXIAL, label=1, segment="a", number=1)
    other = measure_mask(np.flip(mask, axes), flipped, Plane.AXIAL, label=1, segment="a", number=1)
    assert (other.long_mm, other.short_mm) == pytest.approx((one.long_mm, one.short_mm))
    assert other.volume_ml == one.volume_ml


def test_a_speck_far_away_on_a_slice_does_not_lengthen_the_diameter() -> None:
    volume = grid((5, 60, 60), (1.0, 1.0, 5.0), IDENTITY)
    mask = np.zeros(volume.shape, bool)
    mask[2, 10:20, 10:20] = True
    alone = measure_mask(mask, volume, Plane.AXIAL, label=1, segment="a", number=1)
    mask[2, 55, 55] = True
    assert measure_mask(mask, volume, Plane.AXIAL, label=1, segment="a", number=1).long_mm == alone.long_mm


def test_segments_come_first_and_agree_with_their_objects() -> None:
    volume = grid((6, 20, 20), (1.0, 1.0, 2.0), IDENTITY)
    objects = np.zeros(volume.shape, np.uint16)
    objects[1:3, 2:6, 2:6], objects[3:5, 10:13, 10:18] = 1, 2
    names = {1: (1, "Lesion"), 2: (1, "Lesion"), 3: (2, "Edema")}
    confidence = {1: {1: 0.9, 2: 0.3}, 2: {3: 0.8, 4: 0.8}}
    lesion, edema, one, two, none = measure_with_segments(
        objects, names, [(1, "Lesion"), (2, "Edema")], volume, Plane.AXIAL, confidence
    )
    assert lesion.number is None and [one.number, two.number, none.number] == [1, 2, 3]
    assert lesion.volume_ml == pytest.approx(one.volume_ml + two.volume_ml)
    assert lesion.slices == (1, 4) and lesion.long_mm == max(one.long_mm, two.long_mm)
    assert one.agreement == pytest.approx(0.6) and one.doubtful == (2,) and lesion.doubtful == (2,)
    assert edema.voxels == none.voxels == 0 and edema.slices is None and none.agreement is None


def test_the_largest_connected_part_is_the_first() -> None:
    mask = np.zeros((3, 10, 10), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True  # They touch at a corner.
    mask[0, 5:8, 5:8] = True
    pieces, count = connected_objects(mask)
    assert count == 2
    assert pieces[0, 6, 6] == 1 and pieces[0, 0, 0] == pieces[1, 1, 1] == 2


def test_dice_of_an_object_counts_the_parts_of_the_reference_that_it_meets() -> None:
    reference = np.zeros((2, 10, 10), bool)
    reference[0, :2, :2] = reference[0, 5:7, 5:7] = reference[1, 9, 9] = True
    found = np.zeros_like(reference)
    found[0, :2, :2] = True
    matched = ReferenceSegment(reference)
    assert matched.dice_of(found) == 1.0
    assert matched.missed == 2
    assert dice(found, reference) == pytest.approx(2 * 4 / (4 + 9))
    assert ReferenceSegment(reference).dice_of(np.roll(found, 3, 1)) == 0.0


def test_labels_move_between_grids_of_the_same_points() -> None:
    volume = grid((4, 5, 6), (1.0, 2.0, 3.0), OBLIQUE)
    labels = np.random.default_rng(1).integers(0, 3, volume.shape).astype(np.uint8)
    # J, K and I in another order, and J turned.
    moved = np.flip(labels, 1).transpose(1, 0, 2)
    matrix = np.reshape(volume.direction, (3, 3))
    direction = np.column_stack([matrix[:, 0], matrix[:, 2], -matrix[:, 1]])
    other = Volume(moved, (1.0, 3.0, 2.0), volume.world((0, 4, 0)), tuple(direction.ravel()))
    assert np.array_equal(place_on(moved, other, volume, "a", "b"), labels)
    part = replace(volume, array=labels[1:3, 2:4], origin=volume.world((1, 2, 0)))
    placed = place_on(part.array, part, volume, "a", "b")
    assert np.array_equal(placed[1:3, 2:4], labels[1:3, 2:4]) and placed.sum() == labels[1:3, 2:4].sum()
    for wrong in (replace(other, spacing=(1.0, 3.0, 2.2)), replace(other, origin=(5.3, -7.0, 11.0))):
        with pytest.raises(AutoMedSAMError, match="different grids"):
            place_on(moved, wrong, volume, "a", "b")
