"""The closed surface by which a segment is seen in 3-D."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator
from typing import TypeVar

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from AutoMedSAMLib.scene.geometry import Matrix
from AutoMedSAMLib.scene.segment_writer import CLOSED_SURFACE, SegmentWriter
from AutoMedSAMLib.scene.shared_labelmap import BINARY_LABELMAP
from AutoMedSAMLib.scene.surface_pieces import contour, smoothed_at_once, surface_in_pieces

# Names of Slicer's conversion parameters.
_METHOD = "Conversion method"  # no tr
_DECIMATION = "Decimation factor"  # no tr
_SMOOTHING = "Smoothing factor"  # no tr
_JOINT = "Joint smoothing"  # no tr
_NORMALS = "Compute surface normals"  # no tr
_BALL = 16

_Result = TypeVar("_Result")


def wants_surfaces(writer: SegmentWriter) -> bool:
    """Whether surfaces are to be made: where they are shown, or would be out of date otherwise.

    Slicer expects all segments of a segmentation to have a surface or none of them. Where others have none,
    theirs would have to be made as well, which is for the user to decide (Show 3D).
    """
    display, segments = writer.node.GetDisplayNode(), writer.node.GetSegmentation()
    if segments.ContainsRepresentation(CLOSED_SURFACE):
        return True
    others = set(segments.GetSegmentIDs()) - set(writer.segment_ids.values())
    return display is not None and bool(display.GetVisibility3D()) and not others


def surface_steps(writer: SegmentWriter) -> Iterator[None]:
    """Makes the surfaces as Slicer does, with the segmentation's own settings; between steps, others may have a turn.

    Yields:
        None, after some tens of milliseconds of work each time, however large an object is. Where only Slicer itself
        can do it (decimation, joint smoothing, surface nets, a version that smooths otherwise), a segment is one step.
    """
    segments = writer.node.GetSegmentation()
    settings = tuple(_number(segments, name, 0.0) for name in (_METHOD, _DECIMATION, _JOINT))
    smoothing, normals = _number(segments, _SMOOTHING, 0.5), _number(segments, _NORMALS, 1.0) > 0
    iterations = None if any(settings) else _iterations(smoothing)
    yield
    for value, segment_id in sorted(writer.segment_ids.items()):
        surface, labels = vtk.vtkPolyData(), writer.labels_of(value)
        if labels is not None and iterations is None:
            surface = _made_by_slicer(labels == value, writer.matrix, segments)
        elif labels is not None and iterations is not None:
            surface = yield from surface_in_pieces(
                labels, value, writer.matrix, _pass_band(smoothing), iterations, normals=normals
            )
        yield
        segment = segments.GetSegment(segment_id)
        if segment is not None:
            segment.AddRepresentation(CLOSED_SURFACE, surface)
            segments.InvokeEvent(slicer.vtkSegmentation.RepresentationModified, segment_id)
    segments.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)


def _made_by_slicer(filled: NDArray[np.bool_], matrix: Matrix, like: slicer.vtkSegmentation) -> vtk.vtkPolyData:
    """The surface of voxels `(K, J, I)` on the grid of `matrix`, with another segmentation's conversion settings."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reversed(filled.shape))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = filled.ravel()
    alone, part = slicer.vtkSegmentation(), slicer.vtkSegment()
    alone.SetSourceRepresentationName(BINARY_LABELMAP)
    alone.CopyConversionParameters(like)
    part.SetLabelValue(1)
    part.AddRepresentation(BINARY_LABELMAP, image)
    alone.AddSegment(part, "part")
    if not alone.CreateRepresentation(CLOSED_SURFACE):
        return vtk.vtkPolyData()
    return part.GetRepresentation(CLOSED_SURFACE)


def _pass_band(smoothing: float) -> float:
    return 10.0 ** (-4.0 * smoothing)


@functools.cache
def _iterations(smoothing: float) -> int | None:
    """How often this version of Slicer smooths, found on a small ball; 0 if it does not, None if not known."""
    if smoothing <= 0:
        return 0
    away = np.indices((_BALL, _BALL, _BALL)) - _BALL // 2
    ball = (away**2).sum(axis=0) < (_BALL // 3) ** 2
    segmentation = slicer.vtkSegmentation()
    segmentation.SetConversionParameter(_SMOOTHING, str(smoothing))
    segmentation.SetConversionParameter(_NORMALS, "0")
    wanted = _made_by_slicer(ball, np.eye(4), segmentation)
    points, triangles = _at_once(contour(ball.astype(np.uint8), 1))
    # Versions differ: a fixed count, or one that grows with the factor.
    for count in (20, round(20 + 40 * smoothing)):
        ours = smoothed_at_once(points, triangles, _pass_band(smoothing), count)
        if wanted.GetNumberOfPoints() == len(ours):
            theirs = vtk_to_numpy(wanted.GetPoints().GetData())
            if np.allclose(np.sort(ours, axis=0), np.sort(theirs, axis=0), atol=1e-3):
                return count
    return None


def _at_once(steps: Generator[None, None, _Result]) -> _Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _number(segments: slicer.vtkSegmentation, parameter: str, default: float) -> float:
    """A conversion parameter; the default where this version of Slicer does not have it."""
    try:
        return float(segments.GetConversionParameter(parameter))
    except ValueError:
        return default
