"""Windows that lie side by side are the windows that a grid has, and pooling takes neighbours together."""

import numpy as np
import pytest

from automedsam.quantization.window_order import pooled_order, regions, window_order

# Height, width, window: whole windows, cut ones, one larger than the grid, an uneven grid, and everything at once.
GRIDS = [(8, 8, 4), (32, 32, 14), (12, 12, 14), (9, 7, 4), (16, 8, 0), (1, 5, 2)]


def windows_of(height: int, width: int, side: int) -> list[frozenset[int]]:
    """The cells of each window, cut out one by one."""
    cells, side = np.arange(height * width).reshape(height, width), side or max(height, width)
    corners = [(row, column) for row in range(0, height, side) for column in range(0, width, side)]
    return [frozenset(cells[row : row + side, column : column + side].ravel().tolist()) for row, column in corners]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_has_one_place(grid: tuple[int, int, int]) -> None:
    order = window_order(*grid)
    assert sorted(order) == list(range(grid[0] * grid[1]))


@pytest.mark.parametrize("grid", GRIDS)
def test_each_window_lies_in_one_piece(grid: tuple[int, int, int]) -> None:
    height, width, side = grid
    order, found, end = window_order(*grid), [], 0
    for region in regions(*grid):
        assert region.first == end, "a region begins where the last one ends"
        end += region.windows * region.cells
        pieces = order[region.first : end].reshape(region.windows, region.cells)
        found += [frozenset(piece.tolist()) for piece in pieces]
        assert region.absent == (side**2 - region.cells if side else 0)
    assert end == height * width
    assert sorted(found, key=min) == sorted(windows_of(*grid), key=min)


@pytest.mark.parametrize("grid", [(8, 8, 4), (32, 32, 14), (16, 16, 8), (12, 20, 14)])
def test_what_is_pooled_follows_the_order_of_half_the_window(grid: tuple[int, int, int]) -> None:
    height, width, side = grid
    pooled = pooled_order(window_order(*grid), width)
    np.testing.assert_array_equal(pooled, window_order(height // 2, width // 2, side // 2))


def test_neighbours_that_are_not_pooled_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not lie side by side"):
        pooled_order(np.arange(16), 4)
    with pytest.raises(ValueError, match="do not lie side by side"):
        pooled_order(window_order(6, 6, 3), 6)
