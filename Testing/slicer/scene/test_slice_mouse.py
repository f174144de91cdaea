"""Boxes and points are at the voxels that a person sees under the mouse, however the volume lies."""

import numpy as np
import pytest

from grids import GRIDS
from prompts import click, drag, show, view

SHAPE = (30, 60, 50)


@pytest.fixture(params=GRIDS)
def volume(request, add_volume):
    return add_volume(np.zeros(SHAPE, np.int16), GRIDS[request.param], request.param)


@pytest.fixture(params=["free", "moved"])
def placed(request, volume, scene):
    """The volume in the Red view, whose slices are its own; also under a transform."""
    import slicer

    if request.param == "moved":
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, :3] = [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
        matrix[:3, 3] = (5, -7, 3)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        volume.SetAndObserveTransformNodeID(transform.GetID())
    show(volume)
    view().mrmlSliceNode().RotateToVolumePlane(volume)
    view().sliceLogic().FitSliceToBackground()
    return volume


@pytest.fixture
def tool(placed):
    from AutoMedSAMLib.panel.prompts.draw_tool import DrawTool
    from AutoMedSAMLib.scene.slice_mouse import SliceMouse

    boxes, points = [], []
    made = DrawTool(lambda: placed, boxes.append, lambda voxel, positive: points.append((voxel, positive)))
    mouse = SliceMouse(made.handle)
    mouse.start()
    yield made, boxes, points
    mouse.stop()
    made.choose("")


def go_to(volume, at):
    from AutoMedSAMLib.scene.slice_views import jump_to_slice

    jump_to_slice(volume, 0, at)


def test_box_is_at_the_voxels_under_the_mouse(placed, tool):
    made, boxes, _ = tool
    made.choose("box")
    go_to(placed, 12)
    for first, last in (((10, 15, 12), (22, 41, 12)), ((40, 50, 12), (31, 20, 12))):
        boxes.clear()
        drag(placed, first, last)
        (box,) = boxes
        assert (box.axis, box.slice) == (0, 12)
        low, high = np.minimum(first, last)[:2], np.maximum(first, last)[:2]
        expected = [low[0] + 0.5, high[0] + 0.5, low[1] + 0.5, high[1] + 0.5, 12, 13]
        np.testing.assert_allclose(box.bounds, expected, atol=0.3)


def test_box_stays_within_the_volume(placed, tool):
    made, boxes, _ = tool
    made.choose("box")
    go_to(placed, 3)
    drag(placed, (-15, -12, 3), (20, 30, 3))
    np.testing.assert_allclose(boxes[0].bounds, [0, 20.5, 0, 30.5, 3, 4], atol=0.3)
    boxes.clear()
    drag(placed, (-15, -12, 3), (-4, -3, 3))
    assert boxes == []


def test_point_is_the_voxel_under_the_mouse(placed, tool):
    made, _, points = tool
    made.choose("point")
    go_to(placed, 21)
    click(placed, (17, 44, 21))
    click(placed, (33, 8, 21), shift=True)
    np.testing.assert_allclose([voxel for voxel, _ in points], [(17, 44, 21), (33, 8, 21)], atol=0.3)
    assert [positive for _, positive in points] == [True, False]
