"""HD95 and surface Dice are those of MONAI; where the conventions differ, it is stated here how, and by how much."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")

from automedsam_lab.metrics.masks import SurfaceScores, surface_scores  # noqa: E402

# MONAI computes in float32, ours in float64.
ROUNDING = 1e-5
SPACINGS = (0.7, 1.0, 1.3, 3.0, 5.0)


@pytest.fixture(autouse=True)
def without_its_warnings() -> Iterator[None]:
    """MONAI warns of its own deprecated options, and of each empty mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def of_monai(
    reference: np.ndarray, found: np.ndarray, spacing: Sequence[float], tolerance_mm: float, *, areas: bool = False
) -> SurfaceScores:
    """The same of MONAI; a single slice is a 2-D image to it.

    Args:
        truth: `(N, H, W)`.
        found: `(N, H, W)`.
        spacing: in mm.
        tolerance_mm: of the surface Dice.
        areas: weigh the elements of the surface between voxels by area, as DeepMind's `surface-distance` does.
    """
    flat = reference.shape[0] == 1
    sides = [float(side) for side in spacing][1 if flat else 0 :]
    ours, theirs = (
        torch.from_numpy((mask[0] if flat else mask)[None, None].astype(np.uint8)) for mask in (reference, found)
    )
    distance = metrics.compute_hausdorff_distance(theirs, ours, include_background=True, percentile=95, spacing=sides)
    share = metrics.compute_surface_dice(
        theirs, ours, [tolerance_mm], include_background=True, spacing=sides, use_subvoxels=areas
    )
    return SurfaceScores(distance.item(), share.item())


def random_masks(seed: int, *, slices: int | None = None) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Two masks of noise, from single voxels to blobs, that touch the volume's borders; and a spacing."""
    rng = np.random.default_rng(seed)
    shape = (slices or int(rng.integers(4, 16)), *rng.integers(5, 20, 2))
    width = (0.0 if slices == 1 else rng.uniform(0, 2), *rng.uniform(0, 2, 2))
    reference, found = (gaussian_filter(rng.standard_normal(shape), width) > 0.05 for _ in range(2))
    assert reference.any() and found.any()
    return reference, found, tuple(float(side) for side in rng.choice(SPACINGS, 3))


def assert_same(ours: SurfaceScores, theirs: SurfaceScores) -> None:
    assert ours.hd95_mm == pytest.approx(theirs.hd95_mm, rel=ROUNDING)
    assert ours.nsd == pytest.approx(theirs.nsd, rel=ROUNDING)


@pytest.mark.parametrize("seed", range(30))
def test_volumes_with_anisotropic_voxels(seed: int) -> None:
    reference, found, spacing = random_masks(seed)
    # No sum of squared steps of these spacings comes near this tolerance: rounding decides nothing.
    assert_same(surface_scores(reference, found, spacing, 1.55), of_monai(reference, found, spacing, 1.55))


@pytest.mark.parametrize("seed", range(10))
def test_single_slices(seed: int) -> None:
    reference, found, spacing = random_masks(seed, slices=1)
    assert_same(surface_scores(reference, found, spacing, 1.55), of_monai(reference, found, spacing, 1.55))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_masks_that_touch_a_border(axis: int, end: int) -> None:
    """What lies beyond the volume is outside the mask, so that its face is part of the surface."""
    reference, found = np.zeros((6, 9, 12), bool), np.zeros((6, 9, 12), bool)
    reference[2:5, 2:6, 2:7] = found[1:5, 2:7, 3:7] = True
    np.moveaxis(reference, axis, 0)[end] = True
    spacing = (3.0, 0.7, 1.3)
    assert_same(surface_scores(reference, found, spacing, 1.55), of_monai(reference, found, spacing, 1.55))


def test_a_mask_that_fills_the_volume() -> None:
    reference, found = np.ones((4, 6, 8), bool), np.zeros((4, 6, 8), bool)
    found[1:3, 2:4, 3:5] = True
    assert_same(surface_scores(reference, found, (3, 1, 1), 1.55), of_monai(reference, found, (3, 1, 1), 1.55))


def test_empty_masks_count_here_and_are_undefined_in_monai() -> None:
    empty, lesion = np.zeros((6, 7, 8), bool), np.zeros((6, 7, 8), bool)
    lesion[2:4, 2:4, 2:4] = True
    diagonal = math.hypot(6, 7, 8)
    assert surface_scores(empty, empty, (1, 1, 1), 1) == SurfaceScores(0.0, 1.0)
    both = of_monai(empty, empty, (1, 1, 1), 1)
    assert math.isnan(both.hd95_mm) and math.isnan(both.nsd)
    for reference, found in ((empty, lesion), (lesion, empty)):
        ours, theirs = surface_scores(reference, found, (1, 1, 1), 1), of_monai(reference, found, (1, 1, 1), 1)
        assert ours.hd95_mm == pytest.approx(diagonal) and not math.isfinite(theirs.hd95_mm)
        assert ours.nsd == theirs.nsd == 0


@pytest.mark.parametrize(("side", "steps"), [(0.7, 3), (1.1, 2), (1.3, 3), (0.1, 7)])
def test_a_distance_that_equals_the_tolerance_is_within_it(side: float, steps: int) -> None:
    reference, found = np.zeros((12, 5, 5), bool), np.zeros((12, 5, 5), bool)
    reference[2, 1:4, 1:4] = found[2 + steps, 1:4, 1:4] = True
    # Products of decimal fractions are rounded: 3 * 0.7 is less than 2.1.
    tolerance = round(side * steps, 1)
    assert surface_scores(reference, found, (side, 1, 1), tolerance).nsd == 1
    assert of_monai(reference, found, (side, 1, 1), tolerance).nsd == 1


def test_surface_elements_between_voxels_give_a_higher_surface_dice() -> None:
    """DeepMind's `surface-distance`, which the MSD uses, puts the surface between voxels and weighs it by area.

    For two balls of radius 8 mm whose centres are 2 mm apart, that is 0.78 at a tolerance of 1 mm, where counting
    surface voxels is 0.58: numbers of the two conventions cannot be compared.
    """
    grid = np.indices((32, 32, 32))
    reference, found = (sum((grid[i] - c[i]) ** 2 for i in range(3)) < 64 for c in ((16, 16, 15), (16, 16, 17)))
    counted, weighed = (of_monai(reference, found, (1, 1, 1), 1, areas=areas).nsd for areas in (False, True))
    assert surface_scores(reference, found, (1, 1, 1), 1).nsd == pytest.approx(counted, rel=ROUNDING)
    assert counted == pytest.approx(0.581, abs=0.001) and weighed == pytest.approx(0.778, abs=0.001)
