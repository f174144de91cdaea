"""Slice views and slices of a volume: which view shows which slice, on oblique grids and under transforms."""

import itertools

import numpy as np
import pytest

from grids import GRIDS, oblique


@pytest.fixture
def volume(add_volume):
    return add_volume(np.zeros((20, 30, 40), np.int16), oblique(spacing=(1.0, 1.2, 2.5)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_view_that_jumped_to_a_slice_shows_it(volume, axis):
    from AutoMedSAMLib.scene import slice_views

    for index in (0, 7, 15):
        slice_views.jump_to_slice(volume, axis, index)
        assert slice_views.current_slice(volume, axis) == index


def test_jump_to_a_box_moves_all_views_to_its_middle(volume):
    from AutoMedSAMLib.scene import slice_views

    slice_views.jump_to_box(volume, [10, 21, 5, 10, 12, 13])
    world = slice_views.to_world(volume, [15, 7, 12])
    import slicer

    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        assert abs(matrix[:3, 2] @ (world - matrix[:3, 3])) < 1e-6


def test_jump_to_a_box_leaves_the_views_of_another_group_alone(volume, another_view):
    import slicer

    from AutoMedSAMLib.scene import slice_views

    other = another_view("Compare")
    other.SetViewGroup(1)
    before = slicer.util.arrayFromVTKMatrix(other.GetSliceToRAS()).copy()
    slice_views.jump_to_box(volume, [10, 21, 5, 10, 12, 13])
    assert slice_views.view_across(volume, 0).GetSliceOffset() != 0
    assert np.array_equal(slicer.util.arrayFromVTKMatrix(other.GetSliceToRAS()), before)


@pytest.mark.parametrize("bounds", [[0, 4, 0, 4, 12, 13], [36, 40, 26, 30, 2, 3]])
def test_box_beyond_the_edge_of_a_zoomed_view_is_brought_into_sight(volume, bounds):
    from AutoMedSAMLib.panel.box_placement import box_where_one_looks
    from AutoMedSAMLib.scene import slice_views

    node = slice_views.view_across(volume, 0)
    node.SetFieldOfView(12.0, 12.0, 1.0)
    slice_views.jump_to_box(volume, bounds)
    for corner in itertools.product(*zip(bounds[0::2], bounds[1::2], strict=True)):
        assert in_sight(node, slice_views.to_world(volume, np.array(corner) - 0.5))
    assert slice_views.current_slice(volume, 0) == bounds[4]
    new = box_where_one_looks(volume, 0)
    assert all(new[2 * n] < bounds[2 * n + 1] and new[2 * n + 1] > bounds[2 * n] for n in range(2))


def test_box_that_is_in_sight_moves_no_view_sideways(volume):
    from AutoMedSAMLib.scene import slice_views

    node = slice_views.view_across(volume, 0)
    before = node.GetXYZOrigin()
    slice_views.jump_to_box(volume, [10, 21, 5, 10, 12, 13])
    assert node.GetXYZOrigin() == before


def test_views_that_show_the_volume_are_followed_before_others(volume, another_view, add_volume):
    import slicer

    from AutoMedSAMLib.scene import slice_views

    other_volume = add_volume(np.zeros((4, 4, 4), np.int16), name="other")
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(other_volume.GetID())
    view = another_view("Compare")
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == "Compare":
            composite.SetBackgroundVolumeID(volume.GetID())
    assert slice_views.view_across(volume, 0) is view


def test_views_of_a_later_layout_are_followed_too(scene, another_view):
    from AutoMedSAMLib.scene import slice_views

    calls = []
    observer = slice_views.ViewObserver(lambda: calls.append(1))
    observer.start()
    view = another_view("Compare")
    calls.clear()
    view.SetSliceOffset(7.0)
    assert calls
    observer.stop()
    calls.clear()
    view.SetSliceOffset(8.0)
    another_view("Later")
    assert not calls


@pytest.fixture
def another_view(scene):
    """A function that adds a slice view, axial, as a new layout does."""
    import slicer

    added = []

    def add(name):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetMRMLScene(scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation("Axial")
        added.append((logic, node))
        return node

    yield add
    for logic, node in added:
        composite = logic.GetSliceCompositeNode()
        logic.SetMRMLScene(None)
        scene.RemoveNode(composite)
        scene.RemoveNode(node)


def in_sight(node, world):
    """Whether a point lies within the edges of what a slice view shows."""
    import slicer

    place = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())) @ [*world, 1.0]
    width, height, _ = node.GetDimensions()
    return -0.01 <= place[0] <= width + 0.01 and -0.01 <= place[1] <= height + 0.01


def test_parent_transform_moves_the_views_along(volume, scene):
    import slicer

    from AutoMedSAMLib.scene import slice_views

    before = slice_views.to_world(volume, [3, 4, 5])
    shift = np.eye(4)
    shift[:3, 3] = 10, -20, 30
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    volume.SetAndObserveTransformNodeID(node.GetID())
    assert np.allclose(slice_views.to_world(volume, [3, 4, 5]), before + shift[:3, 3])
    assert np.allclose(slice_views.to_voxel(volume, before + shift[:3, 3]), [3, 4, 5])


def test_box_in_the_view_is_within_the_volume_on_the_slice_that_is_shown(volume):
    from AutoMedSAMLib.panel.box_placement import box_where_one_looks
    from AutoMedSAMLib.scene import slice_views

    slice_views.jump_to_slice(volume, 0, 4)
    bounds = box_where_one_looks(volume, 0)
    assert bounds[4:] == [4, 5]
    for low, high, count in ((bounds[0], bounds[1], 40), (bounds[2], bounds[3], 30)):
        assert low >= 0 and high <= count and high - low >= 2


@pytest.mark.parametrize("grid", GRIDS)
def test_planes_are_those_of_the_engine(grid):
    from automedsam.core.volume import Plane, Volume
    from AutoMedSAMLib.scene.planes import PLANES, default_plane, slice_axis

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


def test_single_slice_determines_its_plane():
    from AutoMedSAMLib.scene.planes import default_plane

    assert default_plane((20, 1, 20), np.eye(4), "axial") == "coronal"
