"""Where one object is on one slice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from automedsam.core.boxes import Box
from automedsam.sam2.networks import Floats


class ObjectMask(NamedTuple):
    """Where one object is on one slice: logits, cut to where they are above 0.

    Attributes:
        top: first row.
        left: first column.
        logits: `(h, w)` float32; the object is where they are above 0. Empty if the object is not on the slice.
    """

    top: int
    left: int
    logits: Floats

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns that the logits lie on."""
        height, width = self.logits.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def bounds(self) -> Box | None:
        """The mask's bounding box in pixels; None if it is empty."""
        height, width = self.logits.shape
        return Box(self.left, self.top, width, height) if self.logits.size else None

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.logits > 0))


def cut_mask(logits: Floats, near: Box) -> ObjectMask:
    """The logits where they are above 0; outside the object's grown box nothing is."""
    left, top, right, bottom = (max(0, round(edge)) for edge in near.corners)
    inside = logits[top:bottom, left:right]
    above = inside > 0
    rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not len(rows):
        return ObjectMask(top, left, np.zeros((0, 0), np.float32))
    tight = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ObjectMask(top + int(rows[0]), left + int(columns[0]), tight.astype(np.float32))
