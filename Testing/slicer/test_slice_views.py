"""Slice views and slices of a volume: which view shows which slice, on oblique grids and under transforms."""

import itertools

import numpy as np
import pytest

from test_box_editor import GRIDS, oblique


@pytest.fixture
def volume(add_volume):
    return add_volume(np.zeros((20, 30, 40), np.int16), oblique(spacing=(1.0, 1.2, 2.5)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_view_that_jumped_to_a_slice_shows_it(volume, axis):
    from AutoMedSAMLib import slice_views

    for index in (0, 7, 15):
        slice_views.jump_to_slice(volume, axis, index)
        assert slice_views.current_slice(volume, axis) == index


def test_jump_to_a_box_moves_all_views_to_its_middle(volume):
    from AutoMedSAMLib import slice_views

    slice_views.jump_to_box(volume, [10, 21, 5, 10, 12, 13])
    world = slice_views.to_world(volume, [15, 7, 12])
    import slicer

    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        assert abs(matrix[:3, 2] @ (world - matrix[:3, 3])) < 1e-6


def test_parent_transform_moves_the_views_along(volume, scene):
    import slicer

    from AutoMedSAMLib import slice_views

    before = slice_views.to_world(volume, [3, 4, 5])
    shift = np.eye(4)
    shift[:3, 3] = 10, -20, 30
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    volume.SetAndObserveTransformNodeID(node.GetID())
    assert np.allclose(slice_views.to_world(volume, [3, 4, 5]), before + shift[:3, 3])
    assert np.allclose(slice_views.to_voxel(volume, before + shift[:3, 3]), [3, 4, 5])


def test_box_in_the_view_is_within_the_volume_on_the_slice_that_is_shown(volume):
    from AutoMedSAMLib import slice_views

    slice_views.jump_to_slice(volume, 0, 4)
    bounds = slice_views.box_in_view(volume, 0)
    assert bounds[4:] == [4, 5]
    for low, high, count in ((bounds[0], bounds[1], 40), (bounds[2], bounds[3], 30)):
        assert low >= 0 and high <= count and high - low >= 2


@pytest.mark.parametrize("grid", GRIDS)
def test_planes_are_those_of_the_engine(grid):
    from automedsam.volume import Plane, Volume
    from AutoMedSAMLib.planes import PLANES, default_plane, slice_axis

    matrix = GRIDS[grid]
    for order in itertools.permutations(range(3)):
        turned = matrix[:, [*order, 3]]
        spacing = np.linalg.norm(turned[:3, :3], axis=0)
        direction = np.diag([-1, -1, 1]) @ turned[:3, :3] / spacing
        shape = (12, 14, 16)
        volume = Volume(np.zeros(shape, np.int16), tuple(spacing), (0.0, 0.0, 0.0), tuple(direction.ravel()), "v")
        for plane in PLANES:
            assert slice_axis(plane, turned) == volume.slice_axis(Plane(plane))[0]
        for preferred in PLANES:
            assert default_plane(shape, turned, preferred) == volume.default_plane(Plane(preferred)).value


def test_single_slice_tells_its_plane():
    from AutoMedSAMLib.planes import default_plane

    assert default_plane((20, 1, 20), np.eye(4), "axial") == "coronal"
