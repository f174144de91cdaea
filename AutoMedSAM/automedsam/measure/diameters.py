"""The largest diameter of a region on a slice and the diameter perpendicular to it, in mm.

The long axis is that of RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45:228, 2009, doi:10.1016/j.ejca.2008.10.026):
the longest line between two points of the outline. The short axis is the longest line perpendicular to it. Their
product is the bidimensional measure of RANO (Wen et al., J Clin Oncol 28:1963, 2010, doi:10.1200/JCO.2009.26.3541).
Both lines run from margin to margin, as calipers do: cavities and notches that they cross count.

The outline is that of marching squares at one half: it passes midway between a pixel of the region and its neighbor
outside. Lines between the centers of pixels would be one pixel too short, lines between their corners too long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError

Points = NDArray[np.float64]

EQUAL = 1e-9
"""Lengths that differ by less than this share are equal: rounding does not choose among them."""

# Sides of pixels in mm that an image may have: from ten nanometers to a kilometer.
_MIN_STEP, _MAX_STEP = 1e-5, 1e6
# Corners of a cell of 2 x 2 pixels as bits: upper left 1, upper right 2, lower left 4, lower right 8. For each set of
# corners in the region, the edges that the outline joins. Pixels that touch at a corner belong together.
_TOP, _LEFT, _RIGHT, _BOTTOM = range(4)
_CROSSINGS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((_LEFT, _TOP),),
    2: ((_TOP, _RIGHT),),
    3: ((_LEFT, _RIGHT),),
    4: ((_LEFT, _BOTTOM),),
    5: ((_TOP, _BOTTOM),),
    6: ((_LEFT, _TOP), (_RIGHT, _BOTTOM)),
    7: ((_RIGHT, _BOTTOM),),
    8: ((_RIGHT, _BOTTOM),),
    9: ((_TOP, _RIGHT), (_LEFT, _BOTTOM)),
    10: ((_TOP, _BOTTOM),),
    11: ((_LEFT, _BOTTOM),),
    12: ((_LEFT, _RIGHT),),
    13: ((_TOP, _RIGHT),),
    14: ((_LEFT, _TOP),),
}
# The middle of each edge, as row and column from the center of the cell's upper left pixel.
_MIDDLES = np.array([[0.0, 0.5], [0.5, 0.0], [0.5, 1.0], [1.0, 0.5]])


@dataclass(frozen=True)
class Diameters:
    """The diameters of a region on a slice.

    Attributes:
        long_mm: The largest diameter.
        short_mm: The largest diameter perpendicular to it.
        long_ends: Its ends `(2, 2)`: row and column of each, in pixels; the center of the first pixel is 0, 0.
        short_ends: As `long_ends`, of the perpendicular diameter.
    """

    long_mm: float
    short_mm: float
    long_ends: Points
    short_ends: Points

    @property
    def product_mm2(self) -> float:
        """The product of the two diameters."""
        return self.long_mm * self.short_mm


def plane_basis(row_step: Points, column_step: Points) -> Points:
    """Where rows and columns lie in their plane.

    Args:
        row_step: `(3,)`, from one row to the next in mm.
        column_step: `(3,)`, from one column to the next in mm. They need not be perpendicular (sheared grids).

    Returns:
        `(2, 2)` matrix; rows and columns times it are two perpendicular coordinates in mm.

    Raises:
        AutoMedSAMError: If no image can have such pixels: they are too large or too small, or rows and columns lie in
            one line.
    """
    steps = np.array([row_step, column_step], float)
    sound = bool(np.isfinite(steps).all()) and float(np.abs(steps).max()) < _MAX_STEP
    if sound:
        length = float(np.linalg.norm(column_step))
        along = column_step / length if length else column_step
        across = float(np.linalg.norm(row_step - (row_step @ along) * along))
        if min(length, across) > _MIN_STEP:
            return np.array([[row_step @ along, across], [length, 0.0]])
    message = (
        f"The pixels of the grid cannot be measured (steps of {np.array2string(steps[0], precision=3)} and "
        f"{np.array2string(steps[1], precision=3)} mm): repair the header of the file or export it again."
    )
    raise AutoMedSAMError(message)


def longest_possible(mask: NDArray[np.bool_], basis: Points) -> float:
    """A length in mm that no diameter of a mask, cut to its bounding box, exceeds."""
    rows, columns = mask.shape
    one, other = np.array([rows, columns]) @ basis, np.array([rows, -columns]) @ basis
    return float(max(np.linalg.norm(one), np.linalg.norm(other)))


def largest_diameter(mask: NDArray[np.bool_], basis: Points) -> float:
    """The largest diameter of a region in mm; quicker than `diameters`.

    Args:
        mask: `(h, w)`, true in at least one pixel.
        basis: Of `plane_basis`.
    """
    corners = _corners(outline_segments(mask) @ basis)
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())


def diameters(mask: NDArray[np.bool_], basis: Points) -> Diameters:
    """Measure a region.

    Args:
        mask: `(h, w)`, true in at least one pixel. All true pixels are one region, connected or not.
        basis: Of `plane_basis`.

    Returns:
        Of several lines that are equally long, the one with the longest perpendicular.
    """
    # Lines run from margin to margin, so holes do not matter, and an outline without them is short.
    outline = outline_segments(_filled(mask)) @ basis
    corners = _corners(outline)
    lengths = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    longest = float(lengths.max())
    found: tuple[float, Points, Points] | None = None
    for one, other in zip(*np.nonzero(np.triu(lengths) >= longest * (1 - EQUAL)), strict=True):
        ends = corners[[one, other]]
        width, across = _longest_across(outline, (ends[1] - ends[0]) / lengths[one, other])
        if found is None or width > found[0] * (1 + EQUAL):
            found = width, ends, across
    assert found is not None
    to_pixels = np.linalg.inv(basis)
    return Diameters(longest, found[0], found[1] @ to_pixels, found[2] @ to_pixels)


def outline_segments(mask: NDArray[np.bool_]) -> Points:
    """The outline of a mask by marching squares (Lorensen and Cline 1987, in two dimensions).

    Args:
        mask: `(h, w)`.

    Returns:
        `(n, 2, 2)`: for each piece of the outline the row and column of both ends, in pixels.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    cells = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
    pieces = []
    for case, crossings in _CROSSINGS.items():
        # The padding shifts cells by one pixel.
        corners = np.argwhere(cells == case) - 1.0
        pieces += [corners[:, None] + _MIDDLES[list(edges)][None] for edges in crossings]
    return np.concatenate(pieces)


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    filled: NDArray[np.bool_] = binary_fill_holes(mask)
    return filled


def _corners(outline: Points) -> Points:
    """The corners of the convex hull `(n, 2)`, among which the ends of the largest diameter are."""
    from scipy.spatial import ConvexHull

    points = outline.reshape(-1, 2)
    corners: Points = np.unique(points[ConvexHull(points).vertices], axis=0)
    return corners


def _longest_across(outline: Points, along: Points) -> tuple[float, Points]:
    """The longest line perpendicular to a direction, from margin to margin, and its two ends.

    Between neighboring corners of the outline the length changes linearly, so the longest ends at a corner.
    """
    across = np.array([-along[1], along[0]])
    at, off = outline @ along, outline @ across
    places = np.unique(np.round(at, 9))
    best, ends = 0.0, np.zeros((2, 2))
    for some in np.array_split(places, max(1, len(places) * len(at) // 4_000_000)):
        low, high = _margins(at, off, some)
        widest = int(np.argmax(high - low))
        if high[widest] - low[widest] > best:
            best = float(high[widest] - low[widest])
            ends = some[widest] * along + np.array([[low[widest]], [high[widest]]]) * across
    return best, ends


def _margins(at: Points, off: Points, places: Points) -> tuple[Points, Points]:
    """Where perpendicular lines at some places cross the outline first and last."""
    begin, end = at.min(axis=1), at.max(axis=1)
    order = np.argsort(at, axis=1)
    first, last = np.take_along_axis(off, order, axis=1).T
    steep = end - begin > 1e-9
    share = np.clip((places[:, None] - begin) / np.where(steep, end - begin, 1.0), 0, 1)
    crossed = (begin <= places[:, None] + 1e-8) & (places[:, None] <= end + 1e-8)
    one = first + share * (last - first)
    # A piece that is perpendicular itself is crossed along its whole length.
    other = np.where(steep, one, last)
    low = np.where(crossed, np.minimum(one, other), np.inf).min(axis=1)
    high = np.where(crossed, np.maximum(one, other), -np.inf).max(axis=1)
    return low, high
