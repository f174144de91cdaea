"""Intensities become the same 8 bits whatever the scanner's units, and however the volume lies."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automedsam.core.intensity import check_finite_and_varied, to_uint8
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume


@pytest.fixture
def skull_stripped() -> np.ndarray:
    """Noise around 500 in the middle of a field of zeros."""
    array = np.zeros((20, 30, 30), dtype=np.float32)
    array[4:16, 5:25, 5:25] = np.random.default_rng(3).normal(500, 50, (12, 20, 20))
    return array


def test_background_stays_black_and_the_rest_is_seen(skull_stripped: np.ndarray) -> None:
    result = to_uint8(skull_stripped)
    assert result.dtype == np.uint8
    assert (result[skull_stripped == 0] == 0).all()
    inside = result[skull_stripped != 0]
    assert inside.min() == 1
    assert inside.max() == 255
    assert 0.004 < (inside == 255).mean() < 0.008


def test_z_scores_give_the_picture_that_raw_intensities_give(skull_stripped: np.ndarray) -> None:
    z_scored = (skull_stripped - 500) / 50
    difference = to_uint8(z_scored).astype(int) - to_uint8(skull_stripped)
    assert np.abs(difference).max() <= 1


def test_without_constant_background_all_voxels_count() -> None:
    array = np.random.default_rng(4).integers(-1000, 1000, (10, 20, 20)).astype(np.int16)
    result = to_uint8(array)
    assert (result.min(), result.max()) == (0, 255)
    order = np.argsort(array.ravel(), kind="stable")
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()


def test_window_is_linear_and_clips() -> None:
    array = np.array([[[-2000, -160, 40, 240, 3000]]], dtype=np.int16)
    np.testing.assert_array_equal(to_uint8(array, (-160, 240)), [[[0, 0, 128, 255, 255]]])


def test_empty_window_is_refused() -> None:
    with pytest.raises(AutoMedSAMError, match="lower value first"):
        to_uint8(np.zeros((1, 2, 2)), (240, -160))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_every_voxel_type_is_taken(dtype: type) -> None:
    array = np.random.default_rng(5).integers(0, 100, (4, 20, 20)).astype(dtype)
    result = to_uint8(array)
    assert result[array == array.max()].min() == 255
    assert result[array == array.min()].max() == 0


def test_lone_bright_spot_on_a_flat_field_is_not_lost() -> None:
    array = np.full((10, 20, 20), 7, dtype=np.int16)
    array[5, 10, 10] = 900
    assert to_uint8(array)[5, 10, 10] == 255
    array[:2] = 0
    assert to_uint8(array)[5, 10, 10] == 255


@pytest.mark.parametrize("plane", Plane)
def test_frames_look_the_same_as_the_volume_they_are_cut_from(plane: Plane) -> None:
    array = np.random.default_rng(6).normal(size=(60, 120, 150)).astype(np.float32)
    array[:20] = 0
    direction = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)
    volume = Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    whole = replace(volume, array=to_uint8(array)).to_frames(plane)[0]
    np.testing.assert_array_equal(to_uint8(volume.to_frames(plane)[0]), whole)


def test_input_is_left_as_it_was(skull_stripped: np.ndarray) -> None:
    before = skull_stripped.copy()
    to_uint8(skull_stripped)
    to_uint8(skull_stripped, (0, 1))
    np.testing.assert_array_equal(skull_stripped, before)


@pytest.mark.alone
def test_real_brain_is_mapped_within_a_second(shared_data: Path) -> None:
    volume = read_volume(shared_data / "brats2015" / "brats_2013_pat0001_1" / "Flair_subtrMeanDivStd.nii.gz")
    brain = read_volume(shared_data / "brats2015" / "brats_2013_pat0001_1" / "brainmask.nii.gz").array > 0
    start = time.process_time()
    result = to_uint8(volume.array)
    assert time.process_time() - start < 1.0
    assert (result[~brain] == 0).all()
    assert np.mean(result[brain] > 0) > 0.99
    assert 40 < np.median(result[brain]) < 215


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxel_that_is_no_number_is_refused(a_volume: Volume, bad: float) -> None:
    array = a_volume.array.astype(np.float32)
    array[3, 3, 3] = bad
    with pytest.raises(AutoMedSAMError, match="head has 1 voxel that is NaN or infinite"):
        check_finite_and_varied(replace(a_volume, array=array))


def test_constant_channel_is_refused_by_its_number(a_volume: Volume) -> None:
    array = np.stack([a_volume.array, np.full_like(a_volume.array, 7)])
    with pytest.raises(AutoMedSAMError, match=r"head \(channel 2 of 2\) has the same value \(7\)"):
        check_finite_and_varied(replace(a_volume, array=array))
