"""Prompts of a training: boxes, exact or a little off, and points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.distillation.pack import SIDE

# Each side of a jittered box moves by up to this share of the box's width or height.
JITTER = 0.1
LEAST_SIDE = 2.0


def jitter_box(
    box: Sequence[float] | NDArray[np.float64],
    rng: np.random.Generator,
    content: tuple[int, int],
    share: float = JITTER,
) -> NDArray[np.float32]:
    """A box whose sides were moved, each by itself, and that still lies on the picture.

    Args:
        box: half-open `x0, y0, x1, y1` in frame pixels.
        rng: the source of chance.
        content: height and width of the picture in the frame.
        share: how far a side moves at most, of the box's width or height.
    """
    exact = np.asarray(box, np.float64)
    most = np.tile(exact[2:] - exact[:2], 2) * share
    moved = exact + rng.uniform(-1, 1, 4) * most
    limits = np.array([content[1], content[0]] * 2, np.float64)
    moved = moved.clip(0, limits)
    # A box must not turn inside out or vanish at the rim.
    moved[:2] = np.minimum(moved[:2], limits[:2] - LEAST_SIDE).clip(0)
    moved[2:] = np.minimum(np.maximum(moved[2:], moved[:2] + LEAST_SIDE), limits[2:])
    return moved.astype(np.float32)


def points_in(mask: NDArray[np.bool_], rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random pixel centres `(count, 2)` of `x, y` on a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows), size=count)
    return np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], 1).astype(np.float32)


def check_points(points: NDArray[np.float32], content: tuple[int, int]) -> None:
    """Refuses points that are not on the picture.

    Args:
        points: `(n, 2)` of `x, y` in frame pixels.
        content: height and width of the picture in the frame.

    Raises:
        AutoMedSAMError: if one of them is outside, or no number.
    """
    limits = np.array([content[1], content[0]])
    outside = ~((points >= 0) & (points < limits)).all(1)
    if outside.any():
        x, y = points[outside][0]
        message = (
            f"The point ({x:g}, {y:g}) is outside the image of {content[1]} x {content[0]} pixels; click on the image."
        )
        raise AutoMedSAMError(message)


def filled_box(box: NDArray[np.float32] | Sequence[float], side: int = SIDE) -> NDArray[np.bool_]:
    """The pixels `(side, side)` whose centres lie in a half-open box in frame pixels."""
    x0, y0, x1, y1 = (float(value) * side / SIDE for value in box)
    centres = np.arange(side) + 0.5
    return ((centres >= y0) & (centres < y1))[:, None] & ((centres >= x0) & (centres < x1))
