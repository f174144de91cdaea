"""The box in the slice views lies where the table says, on any grid, and its handles edit the table's box."""

import numpy as np
import pytest

from grids import GRIDS, oblique

BOUNDS = [10.0, 22.0, 5.0, 30.0, 7.0, 8.0]


@pytest.fixture
def editor(scene):
    from AutoMedSAMLib.panel.box_editor import BoxEditor

    moves, drops = [], []
    editor = BoxEditor(moves.append, lambda: drops.append(True))
    editor.moves, editor.drops = moves, drops
    yield editor
    editor.hide()


@pytest.fixture
def transform(scene):
    """A parent transform that turns and shifts."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(oblique((1, 1, 1))))
    return node


def corners_of(node):
    """The eight corners of an ROI in the world, `(8, 3)` in mm."""
    import slicer

    matrix = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
    half = np.array(node.GetSize()) / 2
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return signs * half @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("moved", [False, True])
def test_box_lies_exactly_around_its_voxels(editor, add_volume, transform, grid, moved):
    from AutoMedSAMLib.scene import slice_views

    volume = add_volume(np.zeros((12, 40, 30), np.int16), GRIDS[grid])
    if moved:
        volume.SetAndObserveTransformNodeID(transform.GetID())
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=False)
    voxels = np.array([slice_views.to_voxel(volume, corner) for corner in corners_of(editor.node)]) + 0.5
    # Slicer inverts transforms to about a thousandth of a millimetre.
    assert np.allclose(voxels.min(0), BOUNDS[0::2], atol=1e-3)
    assert np.allclose(voxels.max(0), BOUNDS[1::2], atol=1e-3)
    assert editor.moves == []


@pytest.mark.parametrize("grid", GRIDS)
def test_handles_change_the_box_within_its_slice_only(editor, add_volume, grid):
    volume = add_volume(np.zeros((12, 40, 30), np.int16), GRIDS[grid])
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=True)
    spacing = volume.GetSpacing()
    editor.node.SetSize(6 * spacing[0], 10 * spacing[1], 4 * spacing[2])
    assert np.allclose(editor.moves[-1], [13, 19, 12.5, 22.5, 7, 8], atol=1e-6)


def test_box_that_is_let_go_snaps_back_to_its_slice(editor, add_volume):
    import slicer

    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=True)
    center = editor.node.GetCenter()
    editor.node.SetCenter(center[0] + 2, center[1], center[2] + 3)
    editor.node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert editor.drops == [True]
    assert np.allclose(editor.moves[-1], [12, 24, 5, 30, 7, 8])
    assert editor.node.GetCenter()[2] == pytest.approx(7)
    assert editor.node.GetSize()[2] == pytest.approx(1)


def test_box_stays_within_the_volume_and_never_vanishes(editor, add_volume):
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=True)
    editor.node.SetSize(500, 0.01, 1)
    i0, i1, j0, j1, *_ = editor.moves[-1]
    assert (i0, i1) == (0, 30)
    assert j1 - j0 >= 1
    editor.node.SetCenter(900, 900, 7)
    i0, i1, j0, j1, *_ = editor.moves[-1]
    assert i1 <= 30 and j1 <= 40 and i1 - i0 >= 1 and j1 - j0 >= 1


def test_handles_are_there_only_for_editing_and_not_along_the_slice_axis(editor, add_volume):
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=False)
    assert editor.node.GetLocked() and not editor.is_editing
    editor.show(volume, 1, BOUNDS, (1, 0, 0), editing=True)
    display = editor.node.GetDisplayNode()
    assert editor.is_editing and not editor.node.GetLocked()
    assert list(display.GetScaleHandleComponentVisibility())[:3] == [True, False, True]
    assert not display.GetRotationHandleVisibility()


def test_box_is_not_saved_with_the_scene(editor, add_volume, scene, tmp_path):
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=True)
    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    scene.Commit(str(path))
    assert "<MarkupsROI" not in path.read_text(encoding="utf-8")


def test_box_is_not_what_a_click_places_points_in(editor, add_volume, scene, slicer_app):
    own = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    selection = slicer_app.applicationLogic().GetSelectionNode()
    selection.SetActivePlaceNodeID(own.GetID())
    editor.show(add_volume(np.zeros((12, 40, 30), np.int16)), 0, BOUNDS, (1, 0, 0), editing=True)
    assert selection.GetActivePlaceNodeID() == own.GetID()


def test_hidden_box_is_gone_from_the_scene(editor, add_volume, scene):
    before = scene.GetNumberOfNodes()
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    with_volume = scene.GetNumberOfNodes()
    assert with_volume > before
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=False)
    editor.hide()
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROIDisplayNode") == 0


def test_box_shown_after_the_scene_was_closed_is_a_new_one(editor, add_volume, scene):
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=False)
    scene.Clear(False)
    volume = add_volume(np.zeros((12, 40, 30), np.int16))
    editor.show(volume, 0, BOUNDS, (1, 0, 0), editing=False)
    assert editor.node.GetScene() is not None
