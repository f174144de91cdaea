"""Labels of several segments in one image, as Slicer shares it among them."""

from __future__ import annotations

import math
import time

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.util import arrayFromVTKMatrix, vtkMatrixFromArray
from vtk.util.numpy_support import vtk_to_numpy

from AutoMedSAMLib.scene.geometry import Matrix

BINARY_LABELMAP = "Binary labelmap"  # no tr

_GRID_TOLERANCE = 0.05
_SLAB_VOXELS = 1 << 21


class SharedLabelmap:
    """A `vtkOrientedImageData` of labels over a whole volume, to be cleared before it is used.

    Args:
        shape: voxels along K, J, I.
        matrix: 4 x 4, voxel indices (I, J, K) to mm in the segmentation's own RAS.

    Attributes:
        image: the image; what owns it must say itself that it was changed, see `SegmentWriter`.
    """

    def __init__(self, shape: tuple[int, int, int], matrix: Matrix) -> None:
        self.shape, self.matrix = shape, matrix
        self.image = slicer.vtkOrientedImageData()
        self.image.SetDimensions(*reversed(shape))
        self.image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        self.image.SetImageToWorldMatrix(vtkMatrixFromArray(matrix))
        self._cleared = 0

    def clear(self, seconds: float = math.inf) -> bool:
        """Continues to set all labels to zero for about so long; a large volume's would take a tenth of a second.

        Returns:
            Whether all are zero.
        """
        until = time.perf_counter() + seconds
        voxels = self.array.reshape(-1)
        while self._cleared < voxels.size and time.perf_counter() < until:
            voxels[self._cleared : self._cleared + _SLAB_VOXELS] = 0
            self._cleared += _SLAB_VOXELS
        return self._cleared >= voxels.size

    @property
    def array(self) -> NDArray[np.uint8]:
        """The labels `(K, J, I)` themselves, no copy."""
        return vtk_to_numpy(self.image.GetPointData().GetScalars()).reshape(self.shape)

    @property
    def is_intact(self) -> bool:
        """Whether the image was not cropped, extended or converted since."""
        k, j, i = self.shape
        whole = (0, i - 1, 0, j - 1, 0, k - 1)
        return self.image.GetExtent() == whole and self.image.GetScalarType() == vtk.VTK_UNSIGNED_CHAR


def segment_mask_on_grid(
    segment: slicer.vtkSegment, shape: tuple[int, int, int], matrix: Matrix
) -> NDArray[np.bool_] | None:
    """A segment's voxels on a volume's grid, without resampling.

    Slicer cuts images to what they hold when it saves them, so that the segment's may be smaller.

    Args:
        segment: any segment with a binary label map.
        shape: voxels along K, J, I of the grid.
        matrix: 4 x 4, the grid's voxel indices (I, J, K) to mm in the segmentation's own RAS.

    Returns:
        A mask `(K, J, I)`; None if the segment's voxels are not voxels of this grid.
    """
    image = segment.GetRepresentation(BINARY_LABELMAP)
    if image is None or image.IsEmpty():
        return np.zeros(shape, bool)
    offset = _offset(image, matrix, shape)
    if offset is None:
        return None
    extent = np.reshape(image.GetExtent(), (3, 2))[::-1]
    own = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(np.ptp(extent, axis=1) + 1)
    own = own == segment.GetLabelValue()
    if own.shape == shape and not (extent[:, 0] + offset).any():
        return own
    first = extent[:, 0] + offset
    skipped = np.maximum(-first, 0)
    inside = tuple(
        slice(skip, skip + max(0, min(count, begin + size) - max(begin, 0)))
        for skip, begin, size, count in zip(skipped, first, own.shape, shape, strict=True)
    )
    if np.count_nonzero(own[inside]) != np.count_nonzero(own):
        return None
    there = tuple(
        slice(max(begin, 0), max(begin, 0) + part.stop - part.start) for begin, part in zip(first, inside, strict=True)
    )
    mask = np.zeros(shape, bool)
    mask[there] = own[inside]
    return mask


class SegmentPlanes:
    """A segment's slices on a volume's grid, one at a time: the whole of a large one takes long.

    Args:
        segment: any segment with a binary label map.
        shape: voxels along K, J, I of the grid.
        matrix: 4 x 4, the grid's voxel indices (I, J, K) to mm in the segmentation's own RAS.
        axis: the axis of `(K, J, I)` that the slices follow.
        copies: where the segments' images are copied to, one for all that share it; if None, the slices are those of
            the image as it is when each is taken.

    Attributes:
        is_on_grid: whether the segment's voxels are voxels of this grid.
    """

    def __init__(
        self,
        segment: slicer.vtkSegment,
        shape: tuple[int, int, int],
        matrix: Matrix,
        axis: int,
        copies: dict[str, NDArray[np.generic]] | None = None,
    ) -> None:
        self._shape, self._axis, self._value = shape, axis, segment.GetLabelValue()
        image = segment.GetRepresentation(BINARY_LABELMAP)
        self._array: NDArray[np.generic] | None = None
        self._first = np.zeros(3, int)
        self.is_on_grid = True
        if image is not None and not image.IsEmpty():
            offset = _offset(image, matrix, shape)
            self.is_on_grid = offset is not None
            if offset is not None:
                extent = np.reshape(image.GetExtent(), (3, 2))[::-1]
                scalars = vtk_to_numpy(image.GetPointData().GetScalars())
                self._array = scalars.reshape(np.ptp(extent, axis=1) + 1)
                if copies is not None:
                    if image.__this__ not in copies:
                        copies[image.__this__] = self._array.copy()
                    self._array = copies[image.__this__]
                self._first = extent[:, 0] + offset

    def holds_all(self) -> bool:
        """Whether no voxel of the segment is beyond the grid; its image may be."""
        if self._array is None:
            return True
        inside = tuple(
            slice(max(-begin, 0), max(count - begin, 0))
            for begin, count in zip(self._first.tolist(), self._shape, strict=True)
        )
        if self._array[inside].shape == self._array.shape:
            return True
        own = self._array == self._value
        return np.count_nonzero(own) == np.count_nonzero(own[inside])

    def plane(self, number: int) -> NDArray[np.bool_]:
        """The mask of a slice: the grid's axes without the slice axis. Voxels beyond the grid are left out."""
        shape = [count for n, count in enumerate(self._shape) if n != self._axis]
        mask = np.zeros(shape, bool)
        if self._array is None:
            return mask
        at = number - int(self._first[self._axis])
        if not 0 <= at < self._array.shape[self._axis]:
            return mask
        own = np.take(self._array, at, axis=self._axis) == self._value
        first = [int(begin) for n, begin in enumerate(self._first) if n != self._axis]
        here = tuple(
            slice(max(b, 0), max(min(b + size, n), 0)) for b, size, n in zip(first, own.shape, shape, strict=True)
        )
        there = tuple(slice(part.start - b, part.stop - b) for part, b in zip(here, first, strict=True))
        mask[here] = own[there]
        return mask


def _offset(image: slicer.vtkOrientedImageData, matrix: Matrix, shape: tuple[int, int, int]) -> NDArray[np.int_] | None:
    """By how many voxels (K, J, I) an image's indices differ from a grid's; None if it is another lattice."""
    own = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(own)
    between = np.linalg.inv(matrix) @ arrayFromVTKMatrix(own)
    drift = np.abs(between[:3, :3] - np.eye(3)) @ np.array(shape[::-1])
    offset = np.rint(between[:3, 3])
    if max(drift.max(), np.abs(between[:3, 3] - offset).max()) > _GRID_TOLERANCE:
        return None
    return offset[::-1].astype(int)
