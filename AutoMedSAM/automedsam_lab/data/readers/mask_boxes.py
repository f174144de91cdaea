"""Objects of a mask: one box for each connected piece of each label."""

from __future__ import annotations

import numpy as np

from automedsam.core.boxes import Box
from automedsam_lab.data.readers.base import AnnotatedObject

# Pixels that touch at a corner are one piece.
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def outlines(labels: np.ndarray) -> tuple[AnnotatedObject, ...]:
    """The connected pieces of each label.

    Args:
        labels: `(h, w)` uint8; 0 is none.

    Returns:
        A piece's box in pixels, half-open, with its label and its number of pixels; ordered by label, then by row.
    """
    # Takes a second to import, and every command of the lab comes by here.
    from scipy import ndimage

    # Objects fill a small share of most pictures: nothing is looked for beside them.
    (top, left), within = _around(labels != 0)
    inside = labels[within]
    found = []
    for value in np.flatnonzero(np.bincount(inside.ravel(), minlength=1)[1:]) + 1:
        pieces, _ = ndimage.label(inside == value, _EIGHT_NEIGHBOURS)
        sizes = np.bincount(pieces.ravel())
        for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            width, height = columns.stop - columns.start, rows.stop - rows.start
            box = Box(left + columns.start, top + rows.start, width, height, 1.0, int(value))
            found.append(AnnotatedObject(box, float(sizes[piece])))
    return tuple(found)


def _around(filled: np.ndarray) -> tuple[tuple[int, int], tuple[slice, slice]]:
    """The first row and column of what is filled, and the rows and columns that it spans; none where nothing is."""
    rows, columns = (np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (0, 0), (slice(0), slice(0))
    top, left = int(rows[0]), int(columns[0])
    return (top, left), (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
