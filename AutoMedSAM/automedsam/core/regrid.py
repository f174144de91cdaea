"""Labels moved to another grid whose voxels lie at the same points: axes are swapped or turned, never resampled."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError

# Share of a voxel by which grids that agree may differ, as files that round positions do.
_TOLERANCE = 0.1


def place_on(labels: Voxels, grid: Volume, target: Volume, name: str, other: str) -> Voxels:
    """Put labels on another grid.

    Args:
        labels: `(K, J, I)` on `grid`.
        grid: Where the labels lie; it may cover only a part of `target`, as Slicer's files do, or more than it.
        target: The other grid.
        name: What to call the labels in the error message.
        other: What to call the target in the error message.

    Returns:
        `(K, J, I)` on `target`; 0 where the labels do not reach.

    Raises:
        AutoMedSAMError: If the voxels of the two grids lie at different points.
    """
    to_target = np.linalg.inv(target.affine) @ grid.affine
    turn = np.rint(to_target[:3, :3]).astype(int)
    counts = np.array(grid.shape[::-1])
    offset = np.rint(to_target[:3, 3]).astype(int)
    corners = np.stack(np.meshgrid(*((0, count - 1) for count in counts), indexing="ij"), -1).reshape(-1, 3)
    exact = corners @ to_target[:3, :3].T + to_target[:3, 3]
    apart = np.abs(exact - (corners @ turn.T + offset)).max()
    # A single slice has no second corner, so the steps are compared as well.
    apart = max(float(apart), float(np.abs(to_target[:3, :3] - turn).max()))
    if apart > _TOLERANCE or not any(
        np.array_equal(np.abs(turn), np.eye(3, dtype=int)[list(p)]) for p in permutations(range(3))
    ):
        message = (
            f"{name} and {other} are on different grids (size {grid.shape[::-1]} and {target.shape[::-1]}, or another "
            "spacing, position or orientation): resample one of them first."
        )
        raise AutoMedSAMError(message)
    # Axes of (I, J, K): target axis t follows axis s of the labels.
    source = [int(np.flatnonzero(turn[axis])[0]) for axis in range(3)]
    moved = labels.transpose(2, 1, 0).transpose(source)
    low = []
    for axis in range(3):
        sign = turn[axis, source[axis]]
        start = int(offset[axis])
        if sign < 0:
            moved = np.flip(moved, axis)
            start -= moved.shape[axis] - 1
        low.append(start)
    placed = np.zeros(target.shape[::-1], labels.dtype)
    into, out = [], []
    for axis in range(3):
        first, last = max(low[axis], 0), min(low[axis] + moved.shape[axis], placed.shape[axis])
        into.append(slice(first, max(first, last)))
        out.append(slice(first - low[axis], max(first, last) - low[axis]))
    placed[tuple(into)] = moved[tuple(out)]
    return np.ascontiguousarray(placed.transpose(2, 1, 0))
