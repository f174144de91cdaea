"""Boxes, points and masks of a plane's frames in voxels of the volume as given, and back: what a viewer can draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nextafter

import numpy as np

from automedsam.core.boxes import Box
from automedsam.core.prompts import Point
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.errors import AutoMedSAMError


class IjkBoxConverter:
    """Converts boxes between a plane's frames and the voxels `(I, J, K)` of a volume.

    A frame's slices, rows and columns each follow one voxel axis, some against its index; so an edge is moved
    and turned around, and never rounded beyond what a float64 holds: a detector's float32 edges come back as
    they were.

    Args:
        volume: the volume; only its shape and direction matter.
        plane: the plane of the frames.

    Attributes:
        axis: the axis of `(K, J, I)` that the frames' slices follow.
    """

    def __init__(self, volume: Volume, plane: Plane) -> None:
        self._axes = volume.frame_axes(plane)
        self._shape = volume.shape
        self.axis = self._axes[0][0]

    def slice_index(self, frame: int) -> int:
        """The voxel index along `axis` of a frame; the same sum also leads from a voxel index to its frame."""
        axis, flipped = self._axes[0]
        return self._shape[axis] - 1 - frame if flipped else frame

    def frame_range(self, slices: Sequence[int]) -> tuple[int, int]:
        """The first and the last frame of a range of voxel indices along `axis`, given first and last.

        Raises:
            AutoMedSAMError: if they are not in the volume.
        """
        count = self._shape[self.axis]
        if not 0 <= min(slices) <= max(slices) < count:
            message = f"The slices {slices[0]} to {slices[1]} are not in the volume: choose among 0 to {count - 1}."
            raise AutoMedSAMError(message)
        first, last = (self.slice_index(index) for index in slices)
        return min(first, last), max(first, last)

    def to_ijk_bounds(self, frame: int, box: Box) -> list[float]:
        """Half-open voxel ranges `[i0, i1, j0, j1, k0, k1]` of a box; along `axis` it is one slice thick."""
        x0, y0, x1, y1 = box.corners
        low_high = [0.0] * 6
        for (axis, flipped), low, high in zip(self._axes, (frame, y0, x0), (frame + 1, y1, x1), strict=True):
            count = self._shape[axis]
            place = 2 * (2 - axis)
            low_high[place : place + 2] = (count - high, count - low) if flipped else (low, high)
        return [float(edge) for edge in low_high]

    def box(self, index: int, bounds: Sequence[float], score: float, label: int) -> tuple[int, Box]:
        """The frame and the box in its pixels; what is outside the volume is cut off.

        Args:
            index: the voxel index of its slice along `axis`.
            bounds: as `to_ijk_bounds` gives them; those along `axis` are not looked at.
            score: 0 to 1.
            label: the label value.

        Raises:
            AutoMedSAMError: if nothing of it lies in the volume.
        """
        edges: list[tuple[float, float]] = []
        for axis, flipped in self._axes[1:]:
            count = self._shape[axis]
            place = 2 * (2 - axis)
            low, high = (min(max(float(edge), 0.0), float(count)) for edge in bounds[place : place + 2])
            edges.append((count - high, count - low) if flipped else (low, high))
        (y0, y1), (x0, x1) = edges
        inside = 0 <= index < self._shape[self.axis] and all(isfinite(edge) for edge in bounds)
        if not inside or not (x0 < x1 and y0 < y1):
            message = f"The box on slice {index} is outside the volume: move it into the volume, or reject it."
            raise AutoMedSAMError(message)
        return self.slice_index(index), Box(x0, y0, x1 - x0, y1 - y0, score, label)

    def point(self, position: Sequence[float], *, positive: bool) -> tuple[int, Point]:
        """The frame and the point in its pixels.

        Args:
            position: i, j, k in voxels; whole numbers are voxel centers.
            positive: whether it is on the object.

        Raises:
            AutoMedSAMError: if it is not in the volume.
        """
        edges = []
        for axis, flipped in self._axes:
            count, edge = self._shape[axis], float(position[2 - axis]) + 0.5
            if not 0 <= edge <= count:
                shown = ", ".join(f"{value:g}" for value in position)
                message = (
                    f"The point at voxel ({shown}) lies outside the volume: move it into the volume, or delete it."
                )
                raise AutoMedSAMError(message)
            # The far edge of the last voxel belongs to it.
            edges.append(min(count - edge if flipped else edge, nextafter(count, 0)))
        frame, y, x = edges
        return int(frame), Point(x, y, positive)

    def frame_mask(self, mask: Voxels) -> Voxels:
        """A mask in the pixels of a frame `(H, W)`, from one whose axes are those of `(K, J, I)` without `axis`.

        Raises:
            AutoMedSAMError: if it is not of the size of a slice.
        """
        (rows, rows_flipped), (columns, columns_flipped) = self._axes[1:]
        wanted = tuple(count for axis, count in enumerate(self._shape) if axis != self.axis)
        if mask.shape != wanted:
            message = f"A mask of shape {mask.shape} does not lie on a slice of {wanted}: export it again."
            raise AutoMedSAMError(message)
        turned = mask if rows < columns else mask.T
        return turned[:: -1 if rows_flipped else 1, :: -1 if columns_flipped else 1]

    def volume_mask(self, mask: Voxels) -> Voxels:
        """Undoes `frame_mask`."""
        (rows, rows_flipped), (columns, columns_flipped) = self._axes[1:]
        turned = mask[:: -1 if rows_flipped else 1, :: -1 if columns_flipped else 1]
        return np.ascontiguousarray(turned if rows < columns else turned.T)
