"""Voxels stay where they are in the patient, whatever the order of axes, the tilt and the spacing."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Plane, Volume
from automedsam.io.segmentation_writer import write_segmentation
from automedsam.io.volume_reader import read_volume

# The patient axis (LPS) and sense in which slices, rows and columns of each plane must run.
ANATOMY = {
    Plane.AXIAL: ((2, 1), (1, 1), (0, 1)),
    Plane.CORONAL: ((1, 1), (2, -1), (0, 1)),
    Plane.SAGITTAL: ((0, 1), (2, -1), (1, 1)),
}
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))
TILTS = {
    "straight": Rotation.identity(),
    "oblique": Rotation.from_euler("xyz", (17, -12, 23), degrees=True),
}
SPACINGS = {"isotropic": (1.0, 1.0, 1.0), "anisotropic": (0.4297, 1 / 3, 6.5)}


def name_of(orientation: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    """Towards what I, J and K run, as `LPS` for a straight volume."""
    return "".join("RAI"[axis] if sign < 0 else "LPS"[axis] for axis, sign in zip(*orientation, strict=True))


@pytest.fixture(params=ORIENTATIONS, ids=name_of)
def orientation(request: pytest.FixtureRequest) -> np.ndarray:
    """One of the 48 signed permutation matrices."""
    axes, signs = request.param
    matrix = np.zeros((3, 3))
    matrix[list(axes), range(3)] = signs
    return matrix


@pytest.fixture(params=TILTS)
def direction(request: pytest.FixtureRequest, orientation: np.ndarray) -> np.ndarray:
    return TILTS[request.param].as_matrix() @ orientation


@pytest.fixture(params=SPACINGS)
def placed(request: pytest.FixtureRequest, direction: np.ndarray) -> Volume:
    """A volume of 5 x 6 x 7 voxels, each with a value of its own."""
    array = np.random.default_rng(0).permutation(5 * 6 * 7).reshape(5, 6, 7).astype(np.int16)
    return Volume(array, SPACINGS[request.param], (-31.4159265, 2 / 3, 1234.5), tuple(direction.ravel()))


def world_of_every_voxel(volume: Volume) -> np.ndarray:
    """`(3, K, J, I)` in mm, LPS, by SimpleITK's own reckoning and none of ours."""
    image = volume.to_image(volume.array)
    first = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    steps = [image.TransformIndexToPhysicalPoint(step) - first for step in ((0, 0, 1), (0, 1, 0), (1, 0, 0))]
    return first[:, None, None, None] + np.tensordot(np.transpose(steps), np.indices(volume.shape), axes=1)


def test_frames_and_back_is_voxel_exact(placed: Volume) -> None:
    for plane in Plane:
        frames = placed.to_frames(plane)[0]
        assert np.shares_memory(frames, placed.array)
        np.testing.assert_array_equal(placed.from_frames(frames, plane), placed.array)


def test_frames_run_as_a_radiologist_expects(placed: Volume) -> None:
    points = world_of_every_voxel(placed)
    for plane, axes in ANATOMY.items():
        located = Volume(points, placed.spacing, placed.origin, placed.direction).to_frames(plane)
        for frame_axis, (patient_axis, sense) in enumerate(axes):
            step = np.diff(located, axis=1 + frame_axis).reshape(3, -1).mean(axis=1)
            assert np.argmax(np.abs(step)) == patient_axis
            assert np.sign(step[patient_axis]) == sense
            np.testing.assert_allclose(np.linalg.norm(step), placed.frame_spacing(plane)[frame_axis])


def test_slice_axis_names_the_voxels_of_a_slice(placed: Volume) -> None:
    for plane in Plane:
        axis, flipped = placed.slice_axis(plane)
        for index, frame in enumerate(placed.to_frames(plane)[0]):
            voxels = placed.array.take(placed.shape[axis] - 1 - index if flipped else index, axis=axis)
            np.testing.assert_array_equal(np.sort(frame.ravel()), np.sort(voxels.ravel()))


def test_world_agrees_with_simpleitk(placed: Volume) -> None:
    points = world_of_every_voxel(placed)
    for voxel in ((0, 0, 0), (4, 5, 6), (2, 0, 5)):
        np.testing.assert_allclose(placed.world(voxel), points[(slice(None), *voxel)], atol=1e-9)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".mha"])
def test_labels_written_from_frames_land_on_the_same_points(placed: Volume, suffix: str, tmp_path: Path) -> None:
    frames = placed.to_frames(Plane.SAGITTAL)[0]
    labels = placed.from_frames((frames % 3).astype(np.uint8), Plane.SAGITTAL)
    segments = [Segment(value, f"label {value}", (1.0, 0.0, 0.0), "") for value in (1, 2)]
    path = tmp_path / f"labels{suffix}"
    write_segmentation(Segmentation(labels, placed, segments), path)

    image = sitk.ReadImage(str(path))
    assert image.GetSize() == placed.shape[::-1]
    found = world_of_every_voxel(Volume.from_image(image))
    exact = suffix != ".nii.gz"
    np.testing.assert_allclose(found, world_of_every_voxel(placed), rtol=0, atol=1e-9 if exact else 2e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), placed.array % 3)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_volume_is_read_where_it_was_written(placed: Volume, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"volume{suffix}"
    sitk.WriteImage(placed.to_image(placed.array), str(path))
    volume = read_volume(path)
    assert volume.array.dtype == placed.array.dtype
    np.testing.assert_array_equal(volume.array, placed.array)
    assert volume.same_grid(placed)
    for plane in Plane:
        np.testing.assert_array_equal(volume.to_frames(plane), placed.to_frames(plane))


@pytest.mark.parametrize("plane", Plane)
def test_channels_travel_with_their_voxels(a_volume: Volume, plane: Plane) -> None:
    array = np.stack([a_volume.array, -a_volume.array])
    both = Volume(array, a_volume.spacing, a_volume.origin, a_volume.direction)
    assert both.channels == 2
    assert both.shape == a_volume.shape
    np.testing.assert_array_equal(both.to_frames(plane)[0], a_volume.to_frames(plane)[0])
    np.testing.assert_array_equal(both.to_frames(plane)[1], -a_volume.to_frames(plane)[0])


def test_thick_slices_determine_the_plane(orientation: np.ndarray) -> None:
    array = np.zeros((5, 6, 7))
    for axis in range(3):
        spacing = [1.0, 1.0, 1.0]
        spacing[axis] = 1.5
        volume = Volume(array, tuple(spacing), (0.0, 0.0, 0.0), tuple(orientation.ravel()))
        across = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[int(np.argmax(np.abs(orientation[:, axis])))]
        assert volume.default_plane(Plane.CORONAL) is across


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 1.4), (0.5, 1.0, 1.0)])
def test_without_thick_slices_the_preferred_plane_is_taken(spacing: tuple[float, float, float]) -> None:
    volume = Volume(np.zeros((5, 6, 7)), spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    assert volume.default_plane(Plane.SAGITTAL) is Plane.SAGITTAL
    assert volume.default_plane() is Plane.AXIAL


def test_single_slice_is_its_own_plane() -> None:
    volume = Volume(np.zeros((6, 1, 7)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    assert volume.default_plane(Plane.AXIAL) is Plane.CORONAL


def test_voxel_volume_is_in_millilitres(a_volume: Volume) -> None:
    assert a_volume.voxel_volume_ml == pytest.approx(0.7 / 3 * 4.5 / 1000)


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.01, True), (0.1, False)])
def test_same_grid_forgives_rounding_alone(a_volume: Volume, shift: float, *, same: bool) -> None:
    x, y, z = a_volume.origin
    moved = Volume(a_volume.array, a_volume.spacing, (x, y + shift, z), a_volume.direction)
    assert a_volume.same_grid(moved) is same


def test_turned_volume_is_another_grid(a_volume: Volume) -> None:
    straight = Volume(a_volume.array, a_volume.spacing, a_volume.origin, tuple(np.eye(3).ravel()))
    assert not a_volume.same_grid(straight)
