"""Boxes and tracklets of reference masks."""

from __future__ import annotations

import numpy as np

from automedsam.core.boxes import Box, Tracklet
from automedsam_lab.metrics.masks import Mask


def true_tracklet(reference: Mask, label: int) -> Tracklet:
    """The boxes that a perfect detector would draw around one label.

    Args:
        reference: `(N, H, W)` with at least one voxel.
        label: the label's value.

    Returns:
        A tight box on every slice that shows the label; the seed is where its area is the largest.
    """
    areas = np.count_nonzero(reference, axis=(1, 2))
    boxes = {int(index): tight_box(reference[index], label) for index in np.flatnonzero(areas)}
    return Tracklet(label, boxes, int(areas.argmax()))


def tight_box(mask: Mask, label: int = 1) -> Box:
    """The smallest half-open box around a mask `(H, W)` with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return Box(float(columns[0]), float(rows[0]), float(width), float(height), label=label)
