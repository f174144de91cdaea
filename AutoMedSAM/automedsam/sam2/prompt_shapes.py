"""Rectangles and masks that prompts are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.sam2.networks import Floats


class CropBox(NamedTuple):
    """The part of every slice that the network sees: half-open rows and columns in native pixels."""

    top: int
    left: int
    bottom: int
    right: int


def square(center: tuple[float, float], half: float, region: CropBox) -> Box:
    """A square of twice `half` round a point, as far as it lies in a region."""
    x0, y0 = max(region.left, center[0] - half), max(region.top, center[1] - half)
    x1, y1 = min(region.right, center[0] + half), min(region.bottom, center[1] + half)
    return Box(x0, y0, x1 - x0, y1 - y0)


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around a mask `(H, W)` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    size = int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
    return Box(int(columns[0]), int(rows[0]), *size)


def filled_box(corners: Floats, side: int) -> Floats:
    """Each pixel's share `(1, 1, S, S)` that lies in a box of corners `(2, 2)` as x, y."""
    edge = np.arange(side, dtype=np.float32)
    share = np.minimum(edge + 1, corners[1][:, None]) - np.maximum(edge, corners[0][:, None])
    columns, rows = np.clip(share, 0, 1)
    filled: Floats = (rows[:, None] * columns[None, :])[None, None].astype(np.float32)
    return filled
