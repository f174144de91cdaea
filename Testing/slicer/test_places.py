"""Volumes as they come, with the real engine: oblique, flipped, anisotropic, moved; everything in its right place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

# Voxel axes as files have them: the order of patient axes (R, A, S) along I, J, K, and their senses.
ORDERS = {
    "as acquired": ((0, 1, 2), (-1, -1, 1)),
    "flipped": ((0, 1, 2), (1, -1, -1)),
    "sagittal": ((1, 2, 0), (-1, -1, 1)),
}


@pytest.fixture(scope="module")
def head() -> Any:
    """A made-up head with lesions, and its lower half left out to be quick."""
    from phantoms import phantom_head

    volume, _ = phantom_head()
    return volume.array[26:50], np.array(volume.spacing)


@pytest.fixture
def logic(scene: Any) -> Iterator[Any]:
    from AutoMedSAMLib.logic import AutoMedSAMLogic

    logic = AutoMedSAMLogic()
    yield logic
    logic.close()


def laid_out(head: Any, order: tuple[int, ...], senses: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The head in another order of voxels, tilted a little, and its matrix from (I, J, K) to RAS."""
    array, spacing = head
    # (K, J, I) of the head run I, P, L: along S, A and R with these senses.
    array = array.transpose([2 - axis for axis in order[::-1]])
    head_senses = np.array([-1, -1, 1])
    flips = [slice(None, None, -1 if senses[i] != head_senses[axis] else 1) for i, axis in enumerate(order)]
    array = np.ascontiguousarray(array[tuple(flips[::-1])])
    tilt = np.deg2rad(8)
    oblique = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    matrix = np.eye(4)
    for i, axis in enumerate(order):
        matrix[:3, i] = oblique[:, axis] * senses[i] * spacing[axis]
    matrix[:3, 3] = (12.5, -31.0, 77.0)
    return array, matrix


def expected_labels(array: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """What the engine itself finds in the same voxels at the same place."""
    from automedsam import SegmentationRun, Volume, load_bundle

    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / spacing
    volume = Volume(array, tuple(spacing.round(9)), tuple(matrix[:3, 3]), tuple(direction.ravel()), "head")
    run = SegmentationRun(volume, load_bundle("glioma"))
    for _ in run.events():
        pass
    return run.result().labels


@pytest.mark.parametrize("name", list(ORDERS))
def test_any_order_of_voxels_gives_what_the_engine_gives(logic: Any, add_volume: Any, head: Any, name: str) -> None:
    from runs import labels_in

    array, matrix = laid_out(head, *ORDERS[name])
    expected = expected_labels(array, matrix)
    assert expected.any()
    volume = add_volume(array, matrix, "Kopf № 1 頭")
    segmentation = logic.process(volume)
    ids = {1: segmentation.GetSegmentation().GetNthSegmentID(0)}
    np.testing.assert_array_equal(labels_in(segmentation, volume, ids), expected)
    assert segmentation.GetName().startswith("Kopf № 1 頭")


def test_under_a_transform_a_new_segmentation_and_a_fixed_one_are_both_in_place(
    logic: Any, add_volume: Any, head: Any, scene: Any
) -> None:
    import slicer

    from runs import everything_in

    array, matrix = laid_out(head, *ORDERS["as acquired"])
    volume = add_volume(array, matrix, "moved")
    turn = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, -4.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    fixed = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "fixed")
    bystander = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bystander")
    mask = (array > 600).astype(np.uint8)
    mine = bystander.GetSegmentation().AddEmptySegment("mine", "mine", (0.2, 0.4, 0.6))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, bystander, mine, volume)
    before = everything_in(bystander)

    moving = logic.process(volume)
    logic.process(volume, fixed)

    expected = expected_labels(array, matrix)
    k, j, i = np.nonzero(expected)
    world = (turn @ matrix @ np.array([i, j, k, np.ones_like(i)]))[:3].mean(axis=1)
    assert moving.GetTransformNodeID() == transform.GetID() and fixed.GetTransformNodeID() is None
    for node in (moving, fixed):
        center = node.GetSegmentCenterRAS(node.GetSegmentation().GetNthSegmentID(0))
        np.testing.assert_allclose(center_of(node), world, atol=1e-3)
        assert center is not None
    # Slicer itself resamples nothing to lay them over the volume.
    for node in (moving, fixed):
        seen = slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0), volume)
        np.testing.assert_array_equal(seen, expected)
    assert everything_in(bystander) == before


def center_of(node: Any) -> np.ndarray:
    """The mean of a segmentation's first segment in the world, in mm RAS."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    matrix = slicer.util.arrayFromVTKMatrix(matrix)
    if node.GetParentTransformNode() is not None:
        parent = vtk.vtkMatrix4x4()
        node.GetParentTransformNode().GetMatrixTransformToWorld(parent)
        matrix = slicer.util.arrayFromVTKMatrix(parent) @ matrix
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    k, j, i = np.nonzero(labels)
    return (matrix @ np.array([i, j, k, np.ones_like(i)]))[:3].mean(axis=1)


def test_a_part_of_the_slices_alone(logic: Any, add_volume: Any, head: Any) -> None:
    from runs import labels_in

    array, matrix = laid_out(head, *ORDERS["flipped"])
    volume = add_volume(array, matrix, "head")
    segmentation = logic.process(volume, slices=(5, 12))
    labels = labels_in(segmentation, volume, {1: segmentation.GetSegmentation().GetNthSegmentID(0)})
    assert labels[5:13].any()
    assert not labels[:5].any() and not labels[13:].any()


def test_a_model_with_two_labels(logic: Any, load_volume: Any, shared_data: Any) -> None:
    from automedsam import SegmentationRun, load_bundle, read_volume
    from runs import labels_in

    path = sorted((shared_data / "msd_task04_hippocampus" / "imagesTr").glob("hippocampus_02*.nii.gz"))[0]
    volume = load_volume(path)
    segmentation = logic.process(volume, model="hippocampus")
    segments = segmentation.GetSegmentation()
    assert segments.GetNumberOfSegments() == 2 and segments.GetNumberOfLayers() == 1
    run = SegmentationRun(read_volume(path), load_bundle("hippocampus"))
    for _ in run.events():
        pass
    ids = dict(enumerate(segments.GetSegmentIDs(), start=1))
    np.testing.assert_array_equal(labels_in(segmentation, volume, ids), run.result().labels)
