"""What a user marks on a slice beside boxes: points, and masks edited by hand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Point:
    """A click on a slice.

    Attributes:
        x: in pixels of the slice; 0 is the left edge of the first column, so 0.5 is its center.
        y: in pixels; 0 is the top edge of the first row.
        positive: whether it is on the object.

    Example:
        >>> Point(12.5, 30.5, positive=False).positive
        False
    """

    x: float
    y: float
    positive: bool = True


class EditedMask:
    """A mask that a user edited: what the object is on this slice, voxel for voxel. Equal if the pixels are.

    Args:
        pixels: `(H, W)`, the object where it is not 0; copied.

    Example:
        >>> EditedMask(np.eye(3, dtype=np.uint8)) == EditedMask(np.eye(3, dtype=np.bool_))
        True
    """

    def __init__(self, pixels: NDArray[np.bool_] | NDArray[np.uint8]) -> None:
        self.pixels = np.array(pixels, np.bool_, order="C")
        self.pixels.flags.writeable = False
        self.digest = hashlib.sha256(repr(self.pixels.shape).encode() + np.packbits(self.pixels).tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EditedMask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)
