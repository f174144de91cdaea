"""Which volumes and transforms a run takes, and where its segments then are."""

from typing import Any

import numpy as np
import pytest

SHAPE = (8, 10, 12)
OBLIQUE = np.array([[0.9, -0.1, 0.3, -20.0], [0.12, 0.8, -0.5, 5.0], [-0.1, 0.2, 2.8, 33.0], [0.0, 0.0, 0.0, 1.0]])
TURNED = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, -4.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def volume(add_volume: Any) -> Any:
    return add_volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), OBLIQUE, "FLAIR")


@pytest.fixture
def segmentation(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")


def put_under(node: Any, matrix: np.ndarray) -> Any:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def bend(node: Any) -> Any:
    import slicer
    import vtk

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        points.InsertNextPoint(point)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 12, 9, 9)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_the_grid_is_sent_in_lps_with_full_precision(volume: Any) -> None:
    from AutoMedSAMLib.scene.geometry import grid_of

    grid = grid_of(volume)
    matrix = np.reshape(grid["direction"], (3, 3)) @ np.diag(grid["spacing"])
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ matrix, OBLIQUE[:3, :3], atol=1e-12)
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ grid["origin"], OBLIQUE[:3, 3], atol=1e-12)


def test_under_one_transform_nothing_is_rounded(volume: Any, segmentation: Any) -> None:
    from AutoMedSAMLib.scene.geometry import ijk_to_segmentation
    from runs import ijk_to_ras

    transform = bend(volume)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    np.testing.assert_array_equal(ijk_to_segmentation(volume, segmentation), ijk_to_ras(volume))


@pytest.mark.parametrize("moved", ["volume", "segmentation", "both"])
def test_under_other_linear_transforms_a_voxel_stays_at_its_place_in_the_world(
    volume: Any, segmentation: Any, moved: str
) -> None:
    from AutoMedSAMLib.scene.geometry import ijk_to_segmentation

    if moved in ("volume", "both"):
        put_under(volume, TURNED)
    if moved in ("segmentation", "both"):
        put_under(segmentation, np.linalg.inv(TURNED) @ np.diag([2.0, 1.0, 1.0, 1.0]))
    voxel = np.array([3, 4, 5, 1])
    inside = ijk_to_segmentation(volume, segmentation) @ voxel
    there = (TURNED if moved != "segmentation" else np.eye(4)) @ OBLIQUE @ voxel
    own = np.eye(4) if moved == "volume" else np.linalg.inv(TURNED) @ np.diag([2.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(own @ inside, there, atol=1e-9)


def test_a_bent_volume_is_refused_for_a_segmentation_that_is_not_bent(volume: Any, segmentation: Any) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.scene.geometry import ijk_to_segmentation

    bend(volume)
    with pytest.raises(AutoMedSAMError, match="FLAIR is under the non-linear transform bent; harden it first"):
        ijk_to_segmentation(volume, segmentation)


def test_a_bent_volume_is_refused_before_the_run(volume: Any) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.run.validation import check_volumes

    bend(volume)
    with pytest.raises(AutoMedSAMError, match="FLAIR is under the non-linear transform bent; harden it first"):
        check_volumes([volume], ["FLAIR"])


def test_what_is_wrong_with_volumes_is_reported_in_one_sentence(volume: Any, add_volume: Any, scene: Any) -> None:
    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.run.validation import check_volumes

    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    shifted = OBLIQUE.copy()
    shifted[0, 3] += 0.5
    elsewhere = add_volume(np.zeros(SHAPE, np.int16), shifted, "elsewhere")
    smaller = add_volume(np.zeros((8, 10, 11), np.int16), OBLIQUE, "smaller")
    for volumes, modalities, sentence in (
        ([], ["FLAIR"], "Choose the FLAIR volume first"),
        ([None], ["FLAIR"], "Choose the FLAIR volume first"),
        ([volume], ["FLAIR", "T1"], "Choose the T1 volume first"),
        ([volume, volume], ["FLAIR"], "takes 1 volume"),
        ([empty], ["FLAIR"], "empty has no voxels"),
        ([volume, elsewhere], ["FLAIR", "T1"], "elsewhere does not have the same voxel grid as FLAIR"),
        ([volume, volume], ["FLAIR", "T1"], "FLAIR is chosen as FLAIR and as T1: choose a volume for each"),
        ([volume, smaller], ["FLAIR", "T1"], "smaller does not have the same voxel grid as FLAIR"),
    ):
        with pytest.raises(AutoMedSAMError, match=sentence):
            check_volumes(volumes, modalities)


def test_a_colour_volume_is_refused(scene: Any) -> None:
    import slicer
    import vtk

    from AutoMedSAMLib.errors import AutoMedSAMError
    from AutoMedSAMLib.run.validation import check_volumes

    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    photo = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    photo.SetAndObserveImageData(image)
    with pytest.raises(AutoMedSAMError, match="photo is a color volume"):
        check_volumes([photo], ["X-ray"])


def test_two_modalities_on_one_grid_are_taken_even_under_different_transforms_that_agree(
    volume: Any, add_volume: Any
) -> None:
    from AutoMedSAMLib.run.validation import check_volumes

    other = add_volume(np.zeros(SHAPE, np.int16), TURNED @ OBLIQUE, "T1")
    put_under(volume, TURNED)
    check_volumes([volume, other], ["FLAIR", "T1"])


def test_a_new_segmentation_moves_with_its_volume(volume: Any, scene: Any) -> None:
    from AutoMedSAMLib.model.bundle_info import find_model
    from AutoMedSAMLib.scene.output_segmentation import OutputNode

    transform = put_under(volume, TURNED)
    node = OutputNode(None, volume, find_model("glioma")).node
    assert node.GetTransformNodeID() == transform.GetID()
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
