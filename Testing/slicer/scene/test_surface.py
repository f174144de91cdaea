"""Surfaces for the 3-D view: those that Slicer itself would make, without a long wait."""

import time
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from three_tries import three_tries
from vtk.util.numpy_support import vtk_to_numpy

OBLIQUE = np.array([[0.9, -0.1, 0.3, -20.0], [0.12, 0.8, -0.5, 5.0], [-0.1, 0.2, 2.8, 33.0], [0.0, 0.0, 0.0, 1.0]])
MIRRORED = OBLIQUE @ np.diag([1.0, 1.0, -1.0, 1.0])


def balls(shape: tuple[int, int, int], radius: float, count: int) -> np.ndarray:
    """So many balls side by side, 3 voxels apart, as label 1."""
    labels = np.zeros(shape, np.uint8)
    offsets = np.indices([2 * int(radius) + 3] * 3) - int(radius) - 1
    ball = (offsets**2).sum(axis=0) <= radius**2
    steps = [range(0, size - len(ball) + 1, len(ball)) for size in shape]
    corners = [(k, j, i) for k in steps[0] for j in steps[1] for i in steps[2]]
    assert len(corners) >= count
    for corner in corners[:count]:
        labels[tuple(slice(begin, begin + len(ball)) for begin in corner)] |= ball
    return labels


def rough(shape: tuple[int, int, int]) -> np.ndarray:
    """Random lumps that touch the borders, and others beside them."""
    noise = gaussian_filter(np.random.default_rng(3).normal(size=shape), 4)
    return np.where(noise > 0.8 * noise.std(), 1, np.where(noise < -noise.std(), 2, 0)).astype(np.uint8)


def segmentation_of(scene: Any, labels: np.ndarray, matrix: np.ndarray, **settings: str) -> Any:
    import slicer

    from AutoMedSAMLib.model.bundle_info import find_model
    from AutoMedSAMLib.scene.segment_writer import SegmentWriter

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    for name, value in settings.items():
        node.GetSegmentation().SetConversionParameter(name.replace("_", " "), value)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    slicer.util.updateVolumeFromArray(volume, labels)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    writer = SegmentWriter(node, find_model("hippocampus"), volume, 0)
    writer.write(dict(enumerate(labels)))
    writer.install()
    writer.finish({"model": "hippocampus"})
    return writer


def ours(writer: Any) -> Any:
    from AutoMedSAMLib.scene.closed_surface import surface_steps

    for _ in surface_steps(writer):
        pass
    return writer.node.GetSegmentation().GetSegment(writer.segment_ids[1]).GetRepresentation("Closed surface")


def slicers(writer: Any) -> Any:
    segments = writer.node.GetSegmentation()
    segments.RemoveRepresentation("Closed surface")
    assert segments.CreateRepresentation("Closed surface")
    return segments.GetSegment(writer.segment_ids[1]).GetRepresentation("Closed surface")


def points_and_normals(surface: Any) -> tuple[np.ndarray, np.ndarray | None]:
    normals = surface.GetPointData().GetNormals()
    return vtk_to_numpy(surface.GetPoints().GetData()).copy(), None if normals is None else vtk_to_numpy(normals).copy()


@pytest.mark.parametrize("matrix", [OBLIQUE, MIRRORED], ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("smoothing", ["0.0", "0.5", "1.0"])
def test_surface_is_the_one_that_slicer_makes(
    scene: Any, monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray, smoothing: str
) -> None:
    from AutoMedSAMLib.scene import closed_surface as surface
    from AutoMedSAMLib.scene import surface_pieces

    assert surface._iterations(float(smoothing)) is not None, "this Slicer smooths in a way that is not known"
    # Many slabs and pieces, where a small volume would have one.
    monkeypatch.setattr(surface_pieces, "_SLAB_VOXELS", 7 * 42 * 50)
    monkeypatch.setattr(surface_pieces, "_PIECE_POINTS", 1000)
    writer = segmentation_of(scene, rough((36, 42, 50)), matrix, Smoothing_factor=smoothing)
    points, normals = points_and_normals(ours(writer))
    expected, expected_normals = points_and_normals(slicers(writer))
    assert len(points) == len(expected) > 4000
    distance, nearest = cKDTree(expected).query(points)
    # In mm, where the finest spacing is 0.8 mm; the most smoothing reaches furthest.
    assert distance.max() < {"0.0": 1e-4, "0.5": 0.01, "1.0": 0.05}[smoothing]
    alike = (normals * expected_normals[nearest]).sum(axis=1)
    assert np.quantile(alike, 0.01) > 0.99


def test_surface_is_closed_where_pieces_meet_and_at_the_border(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoMedSAMLib.scene import surface_pieces

    monkeypatch.setattr(surface_pieces, "_SLAB_VOXELS", 7 * 60 * 70)
    monkeypatch.setattr(surface_pieces, "_PIECE_POINTS", 500)
    surface = ours(segmentation_of(scene, rough((50, 60, 70)), OBLIQUE))
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    counts = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)[1]
    assert (counts % 2 == 0).all()


@pytest.mark.parametrize(
    "settings", [{"Decimation_factor": "0.5"}, {"Compute_surface_normals": "0"}, {"Conversion_method": "1"}]
)
def test_the_conversion_settings_of_the_segmentation_hold(scene: Any, settings: dict[str, str]) -> None:
    writer = segmentation_of(scene, balls((30, 30, 30), 8, 1), OBLIQUE, **settings)
    points, normals = points_and_normals(ours(writer))
    expected, expected_normals = points_and_normals(slicers(writer))
    assert len(points) == len(expected) > 100
    assert cKDTree(expected).query(points)[0].max() < 1e-3
    assert (normals is None) == (expected_normals is None)


@pytest.mark.parametrize(
    ("shape", "radius", "count"),
    [((155, 240, 240), 15.6, 38), ((160, 240, 240), 52.0, 1), ((100, 512, 512), 40.0, 12)],
    ids=["38 objects of 600 ml", "one of 600 ml", "a fine CT"],
)
@pytest.mark.alone
def test_no_step_holds_the_window_up(scene: Any, shape: tuple[int, int, int], radius: float, count: int) -> None:
    from AutoMedSAMLib.scene.closed_surface import surface_steps

    writer = segmentation_of(scene, balls(shape, radius, count), np.diag([-1.0, -1.0, 1.0, 1.0]))

    def longest_step() -> float:
        """In processor time, so that other work on this machine counts little."""
        waits = []
        began = time.thread_time()
        for _ in surface_steps(writer):
            waits.append(time.thread_time() - began)
            began = time.thread_time()
        waits.append(time.thread_time() - began)
        return max(waits)

    assert min(three_tries(longest_step, 0.1)) < 0.1


def test_empty_label_has_an_empty_surface(scene: Any) -> None:
    assert ours(segmentation_of(scene, np.zeros((5, 6, 7), np.uint8), OBLIQUE)).GetNumberOfPoints() == 0
