"""The phantom is a head that a glioma detector can read, with lesions whose shape is known."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Plane, Volume
from automedsam.demo.phantom import LESIONS, Lesion, phantom_head


@cache
def head() -> tuple[Volume, NDArray[np.uint8]]:
    return phantom_head()


def test_same_seed_gives_the_same_head() -> None:
    volume, reference = phantom_head()
    assert np.array_equal(volume.array, head()[0].array)
    assert np.array_equal(reference, head()[1])


def test_other_seed_gives_another_head() -> None:
    assert not np.array_equal(phantom_head(seed=1)[1], head()[1])


def test_background_is_zero_as_in_a_skull_stripped_volume() -> None:
    volume, reference = head()
    assert volume.array.dtype == np.int16
    assert 0.5 < float((volume.array == 0).mean()) < 0.9
    assert not volume.array[0, 0, 0]
    assert not reference[volume.array == 0].any()


def test_slices_are_axial_and_anisotropic() -> None:
    volume, reference = head()
    assert volume.default_plane(Plane.SAGITTAL) is Plane.AXIAL
    assert reference.shape == volume.shape
    assert np.allclose(volume.world(tuple((count - 1) / 2 for count in volume.shape)), 0)


def test_each_lesion_has_its_position_and_size() -> None:
    volume, reference = head()
    parts, _ = ndimage.label(reference)
    sizes = np.bincount(parts.ravel())[1:]
    main = np.flatnonzero(sizes > 50)
    assert len(main) == len(LESIONS), sizes
    found = [volume.world(ndimage.center_of_mass(parts == part + 1)) for part in main]
    for lesion in LESIONS:
        nearest = min(range(len(main)), key=lambda number: np.linalg.norm(np.subtract(found[number], lesion.center)))
        assert np.linalg.norm(np.subtract(found[nearest], lesion.center)) < 0.3 * lesion.radius
        ball = 4 / 3 * np.pi * lesion.radius**3 / 1000
        assert sizes[main[nearest]] * volume.voxel_volume_ml == pytest.approx(ball, rel=0.35)


def test_lesions_are_brighter_than_brain_as_in_flair() -> None:
    volume, reference = head()
    gray = to_uint8(volume.array)
    brain = (volume.array > 0) & (reference == 0)
    assert float(np.median(gray[reference > 0])) > 1.4 * float(np.median(gray[brain]))


def test_without_lesions_the_truth_is_empty() -> None:
    volume, reference = phantom_head(lesions=())
    assert not reference.any()
    assert volume.array.any()


def test_lesion_outside_the_brain_is_cut_off() -> None:
    assert not phantom_head(lesions=(Lesion((110.0, 110.0, 70.0), 5.0),))[1].any()
