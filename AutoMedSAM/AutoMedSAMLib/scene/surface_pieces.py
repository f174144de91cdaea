"""Slicer's closed surface of a label, made piece by piece, so that no piece takes long."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

Labels = NDArray[np.uint8]
Points = NDArray[np.float32]
Triangles = NDArray[np.int64]

_SLAB_VOXELS = 1 << 20
_PIECE_POINTS = 3_000
_POINTS_AT_ONCE = 50_000
_CELLS_AT_ONCE = 50_000
# How far around a piece points have a say in its smoothing, in voxels for each iteration.
_HALO = 0.4


def surface_in_pieces(
    labels: Labels, value: int, matrix: NDArray[np.float64], pass_band: float, iterations: int, *, normals: bool
) -> Generator[None, None, vtk.vtkPolyData]:
    """The surface that Slicer's conversion of a binary label map makes by flying edges, without decimation.

    Args:
        labels: label values `(K, J, I)`.
        value: which label.
        matrix: 4 x 4, voxel indices (I, J, K) to mm.
        pass_band: of the windowed sinc smoothing, 0 to 1.
        iterations: of that smoothing; none if 0.
        normals: whether to compute point normals.

    Yields:
        None, after some tens of milliseconds of work each time.

    Returns:
        Triangles in mm; empty if no voxel has the label.
    """
    points, triangles = yield from contour(labels, value)
    if iterations and len(points):
        points = yield from _smoothed(points, triangles, pass_band, iterations)
    points = yield from _in_mm(points, matrix)
    surface = _poly_data(points, triangles)
    yield
    if normals and len(points):
        array = numpy_to_vtk((yield from _normals(points, triangles)), deep=True)
        array.SetName("Normals")
        surface.GetPointData().SetNormals(array)
    return surface


def _in_mm(points: Points, matrix: NDArray[np.float64]) -> Generator[None, None, Points]:
    """Points `(N, 3)` in voxel indices, in mm."""
    placed = np.empty_like(points)
    for begin in range(0, len(points), _POINTS_AT_ONCE):
        some = slice(begin, begin + _POINTS_AT_ONCE)
        placed[some] = points[some] @ matrix[:3, :3].T + matrix[:3, 3]
        yield
    return placed


def contour(labels: Labels, value: int) -> Generator[None, None, tuple[Points, Triangles]]:
    """The label's faceted surface in voxel indices (I, J, K), made slab by slab and joined where slabs meet."""
    points: list[Points] = [np.zeros((0, 3), np.float32)]
    triangles: list[Triangles] = [np.zeros((0, 3), np.int64)]
    count, seam = 0, (np.zeros(0, np.int64), np.zeros(0, np.int64))
    thickness = max(_SLAB_VOXELS // max(labels[0].size, 1), 1)
    # One empty slice before the first and after the last closes the surface.
    for begin in range(-1, len(labels), thickness):
        end = min(begin + thickness, len(labels))
        here = _slab(labels, value, begin, end)
        if here is not None:
            new, faces = here
            # Neighbours share a slice, and the points on it: those of the slab before are taken.
            old = np.flatnonzero(new[:, 2] == begin)
            ids = np.empty(len(new), np.int64)
            fresh = np.ones(len(new), bool)
            fresh[old] = False
            ids[fresh] = count + np.arange(np.count_nonzero(fresh))
            ids[old] = seam[1][np.searchsorted(seam[0], _keys(new[old]))]
            count += int(np.count_nonzero(fresh))
            points.append(new[fresh])
            triangles.append(ids[faces])
            last = np.flatnonzero(new[:, 2] == end)
            keys = _keys(new[last])
            order = np.argsort(keys)
            seam = keys[order], ids[last][order]
        yield
    return np.concatenate(points), np.concatenate(triangles)


def _slab(labels: Labels, value: int, begin: int, end: int) -> tuple[Points, Triangles] | None:
    """The surface between two slices; slices before the first and after the last are empty. None if there is none."""
    filled = labels[max(begin, 0) : end + 1] == value
    rows, columns = np.flatnonzero(filled.any(axis=(0, 2))), np.flatnonzero(filled.any(axis=(0, 1)))
    if not rows.size:
        return None
    filled = filled[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    filled = np.pad(filled, ((int(begin < 0), int(end == len(labels))), (1, 1), (1, 1)))
    k, j, i = filled.shape
    image = vtk.vtkImageData()
    image.SetExtent(columns[0] - 1, columns[0] + i - 2, rows[0] - 1, rows[0] + j - 2, begin, begin + k - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = filled.ravel()
    contour = vtk.vtkDiscreteFlyingEdges3D()
    contour.SetInputData(image)
    contour.ComputeGradientsOff()
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.SetValue(0, 1)
    contour.Update()
    found = contour.GetOutput()
    if not found.GetNumberOfPolys():
        return None
    faces = vtk_to_numpy(found.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(found.GetPoints().GetData()).copy(), faces.astype(np.int64)


def _keys(points: Points) -> NDArray[np.int64]:
    """A number for each point of a slice: its place, which is at a voxel or half-way to the next."""
    twice = np.rint(2 * points[:, :2]).astype(np.int64) + 2
    return twice[:, 1] << 32 | twice[:, 0]


def _smoothed(points: Points, triangles: Triangles, pass_band: float, iterations: int) -> Generator[None, None, Points]:
    """The points after windowed sinc smoothing, as Slicer does it in voxel indices."""
    smooth = points.copy()
    pieces = _pieces(points, np.arange(len(points)), triangles, _HALO * iterations)
    while (piece := next(pieces, None)) is not None:
        own, around = piece
        if own.size:
            used, places = np.unique(around, return_inverse=True)
            moved = smoothed_at_once(points[used], places.reshape(-1, 3), pass_band, iterations)
            smooth[own] = moved[np.searchsorted(used, own)]
        yield
    return smooth


def smoothed_at_once(points: Points, triangles: Triangles, pass_band: float, iterations: int) -> Points:
    """The points `(N, 3)` of a surface in voxel indices after windowed sinc smoothing with Slicer's settings."""
    smoother = vtk.vtkWindowedSincPolyDataFilter()
    smoother.SetInputData(_poly_data(points, triangles))
    smoother.SetNumberOfIterations(iterations)
    smoother.SetPassBand(pass_band)
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    smoother.NonManifoldSmoothingOn()
    smoother.NormalizeCoordinatesOn()
    smoother.Update()
    return vtk_to_numpy(smoother.GetOutput().GetPoints().GetData())


def _pieces(
    points: Points, own: NDArray[np.int64], around: Triangles, halo: float
) -> Iterator[tuple[NDArray[np.int64], Triangles]]:
    """Parts of a surface: the points of each, and the triangles within and around it; nothing where it only halves."""
    if len(own) <= _PIECE_POINTS:
        yield own, around
        return
    axis = int(np.argmax(np.ptp(points[own], axis=0)))
    along = points[own, axis]
    middle = float(np.median(along))
    yield own[:0], around[:0]
    place = points[around[:, 0], axis]
    for half, near in ((along <= middle, place <= middle + halo), (along > middle, place > middle - halo)):
        if half.all() or not half.any():
            # All on one plane: nothing is gained by halving.
            yield (own, around) if half.all() else (own[:0], around[:0])
        else:
            part = own[half], around[near]
            yield own[:0], around[:0]
            yield from _pieces(points, *part, halo)


def _normals(points: Points, triangles: Triangles) -> Generator[None, None, Points]:
    """A normal of length 1 for each point: the mean of those of its triangles."""
    sums = np.zeros((len(points), 3))
    for begin in range(0, len(triangles), _CELLS_AT_ONCE):
        some = triangles[begin : begin + _CELLS_AT_ONCE]
        a, b, c = (points[some[:, corner]] for corner in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
        for axis in range(3):
            sums[:, axis] += np.bincount(some.ravel(), np.repeat(normal[:, axis], 3), len(points))
        yield
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-20)).astype(np.float32)


def _poly_data(points: Points, triangles: Triangles) -> vtk.vtkPolyData:
    place, cells, surface = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    place.SetData(numpy_to_vtk(points, deep=True))
    cells.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles).ravel(), deep=True))
    surface.SetPoints(place)
    surface.SetPolys(cells)
    return surface
