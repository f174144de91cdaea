"""Orders of a grid's cells in which whole attention windows, and all that is pooled together, lie side by side."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Windows of one shape, one after the other.

    Attributes:
        first: where the first one begins, in cells.
        windows: how many there are.
        cells: of each of them.
        absent: cells that the grid's edge cuts off each of them.
    """

    first: int
    windows: int
    cells: int
    absent: int


def regions(height: int, width: int, side: int) -> list[Region]:
    """The windows of `side` cells that cover a grid from its upper left corner; one of all cells if `side` is 0."""
    if not side:
        return [Region(0, 1, height * width, 0)]
    found, first = [], 0
    for (top, bottom), (left, right) in product(_strips(height, side), _strips(width, side)):
        rows, columns = min(side, bottom - top), min(side, right - left)
        windows = (bottom - top) * (right - left) // (rows * columns)
        found.append(Region(first, windows, rows * columns, side**2 - rows * columns))
        first += windows * rows * columns
    return found


def window_order(height: int, width: int, side: int) -> NDArray[np.int64]:
    """The cells `row * width + column` window by window, as `regions` has them.

    Within a window they follow a Z curve (Morton, 1966): four that are pooled together are neighbours, and what is
    pooled of them follows the Z curve of the smaller window.
    """
    side = side or max(height, width)
    order = []
    for (top, bottom), (left, right) in product(_strips(height, side), _strips(width, side)):
        rows, columns = np.mgrid[top:bottom, left:right].reshape(2, -1)
        window = (rows - top) // side * (1 + (right - left) // side) + (columns - left) // side
        within = _interleaved((rows - top) % side, (columns - left) % side)
        order.append((rows * width + columns)[np.lexsort((within, window))])
    return np.concatenate(order).astype(np.int64)


def pooled_order(order: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The order of the cells of half a grid's side, each of four neighbours in `order`.

    Args:
        order: of a grid.
        width: its width.

    Raises:
        ValueError: if four neighbours are not what 2 x 2 pooling takes together.
    """
    rows, columns = np.divmod(order.reshape(-1, 4), width)
    rows, columns = rows // 2, columns // 2
    if (rows != rows[:, :1]).any() or (columns != columns[:, :1]).any():
        message = "The cells that are pooled together do not lie side by side."
        raise ValueError(message)
    pooled: NDArray[np.int64] = rows[:, 0] * (width // 2) + columns[:, 0]
    return pooled


def _strips(length: int, side: int) -> list[tuple[int, int]]:
    """Where whole windows end, and the rest."""
    return list(pairwise(sorted({0, length - length % side, length})))


def _interleaved(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place on a Z curve: the bits of row and column by turns."""
    code = np.zeros_like(rows)
    for bit in range(16):
        code |= (rows >> bit & 1) << (2 * bit + 1) | (columns >> bit & 1) << (2 * bit)
    return code
