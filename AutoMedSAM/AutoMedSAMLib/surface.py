"""The closed surface by which a segment is seen in 3-D, made from just its own voxels."""

from __future__ import annotations

from collections.abc import Iterator

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from AutoMedSAMLib.geometry import Matrix
from AutoMedSAMLib.label_layer import BINARY_LABELMAP
from AutoMedSAMLib.segment_writer import CLOSED_SURFACE, Labels, SegmentWriter

# Names of Slicer's conversion parameters.
_NORMALS = "Compute surface normals"
_METHOD = "Conversion method"


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
        None, after some tens of milliseconds of work each time (for a lesion of 30 mm).
    """
    segments = writer.node.GetSegmentation()
    for value, segment_id in sorted(writer.segment_ids.items()):
        found = writer.voxels_of(value)
        yield
        surface = vtk.vtkPolyData()
        if found is not None:
            voxels, first = found
            surface = _without_normals(_image(voxels, first, writer.matrix), segments)
            yield
            if _wants_normals(segments):
                surface = _with_normals(surface)
                yield
        segment = segments.GetSegment(segment_id)
        if segment is not None:
            segment.AddRepresentation(CLOSED_SURFACE, surface)
            segments.InvokeEvent(slicer.vtkSegmentation.RepresentationModified, segment_id)
    segments.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)


def _image(voxels: Labels, first: tuple[int, int, int], matrix: Matrix) -> slicer.vtkOrientedImageData:
    """Voxels `(K, J, I)` of which the first has the index `first` (K, J, I) on the grid of `matrix`."""
    extent = [(begin, begin + count - 1) for begin, count in zip(first, voxels.shape, strict=True)]
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(end for pair in reversed(extent) for end in pair))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = voxels.ravel()
    return image


def _without_normals(image: slicer.vtkOrientedImageData, like: slicer.vtkSegmentation) -> vtk.vtkPolyData:
    alone, part = slicer.vtkSegmentation(), slicer.vtkSegment()
    alone.SetSourceRepresentationName(BINARY_LABELMAP)
    alone.CopyConversionParameters(like)
    alone.SetConversionParameter(_NORMALS, "0")
    part.SetLabelValue(1)
    part.AddRepresentation(BINARY_LABELMAP, image)
    alone.AddSegment(part, "part")
    if not alone.CreateRepresentation(CLOSED_SURFACE):
        return vtk.vtkPolyData()
    return part.GetRepresentation(CLOSED_SURFACE)


def _wants_normals(segments: slicer.vtkSegmentation) -> bool:
    flying_edges = segments.GetConversionParameter(_METHOD) in ("", "0")
    return flying_edges and segments.GetConversionParameter(_NORMALS) != "0"


def _with_normals(surface: vtk.vtkPolyData) -> vtk.vtkPolyData:
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(surface)
    normals.ConsistencyOn()
    # Splitting sharp edges would open the surface.
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()
