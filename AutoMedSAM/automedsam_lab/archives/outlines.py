"""Objects of a mask: one box for each connected piece of each label."""

from __future__ import annotations

import numpy as np

from automedsam.boxes import Box
from automedsam_lab.archives.archive import Outline

# Pixels that touch at a corner are one piece.
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def outlines(labels: np.ndarray) -> tuple[Outline, ...]:
    """The connected pieces of each label.

    Args:
        labels: `(h, w)` uint8; 0 is none.

    Returns:
        A piece's box in pixels, half-open, with its label and its number of pixels; ordered by label, then by row.
    """
    # Takes a second to import, and every command of the lab comes by here.
    from scipy import ndimage

    found = []
    for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1:
        pieces, _ = ndimage.label(labels == value, _EIGHT_NEIGHBOURS)
        sizes = np.bincount(pieces.ravel())
        for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            box = Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start, 1.0, int(value))
            found.append(Outline(box, float(sizes[piece])))
    return tuple(found)
