"""Boxes of a plane's frames as voxel bounds of the volume as given, and back: what a viewer can draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from automedsam.core.boxes import Box
from automedsam.core.volume import Plane, Volume
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
