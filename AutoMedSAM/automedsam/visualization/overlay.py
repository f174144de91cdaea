"""Outlines and boxes drawn on a picture at its own resolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.memory import check_room_for_scipy
from automedsam.core.segmentation import Segment, segment_masks

Picture = NDArray[np.uint8]

_BOX_COLOR = (60, 255, 120)
# Pixels of the shorter side for each pixel of a line's width.
_SIDE_A_PIXEL = 300


def draw(
    picture: NDArray[np.generic],
    labels: NDArray[np.generic],
    segments: Sequence[Segment],
    boxes: Iterable[Box] = (),
    *,
    min_width: int = 1,
) -> Picture:
    """Draws what was found.

    Args:
        picture: `(h, w)` gray or `(h, w, c)` with red, green and blue first, 0 to 255.
        labels: `(h, w)`, the segments' values.
        segments: each is outlined in its own colour, the line within the mask.
        boxes: in pixels of the picture; their outermost pixels are drawn, over the outlines, in green.
        min_width: of a line, in pixels; lines are a pixel wide for each 300 pixels of the shorter side.

    Returns:
        `(h, w, 3)` RGB, a new array.
    """
    drawn = _as_rgb(picture)
    width = max(min_width, round(min(drawn.shape[:2]) / _SIDE_A_PIXEL))
    for segment, mask in segment_masks(labels, segments):
        _draw_outline(drawn, mask, segment.color, width)
    for box in boxes:
        _draw_box(drawn, box, width)
    return drawn


def _as_rgb(picture: NDArray[np.generic]) -> Picture:
    if picture.ndim == 2 or picture.shape[2] < 3:
        gray = picture if picture.ndim == 2 else picture[..., 0]
        return np.repeat(gray[..., np.newaxis], 3, -1).astype(np.uint8)
    return picture[..., :3].astype(np.uint8)


def _draw_outline(picture: Picture, mask: NDArray[np.bool_], colour: tuple[float, float, float], width: int) -> None:
    check_room_for_scipy()
    from scipy.ndimage import binary_erosion

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    # Erosion takes long, and only where the mask is does it change anything.
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = mask[window]
    line = inside & ~binary_erosion(inside, iterations=width)
    picture[window][line] = np.rint(255 * np.asarray(colour)).astype(np.uint8)


def _draw_box(picture: Picture, box: Box, width: int) -> None:
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box.corners)
    for rows, columns in (
        (slice(y0, min(y0 + width, y1)), slice(x0, x1)),
        (slice(max(y0, y1 - width), y1), slice(x0, x1)),
        (slice(y0, y1), slice(x0, min(x0 + width, x1))),
        (slice(y0, y1), slice(max(x0, x1 - width), x1)),
    ):
        picture[rows, columns] = _BOX_COLOR
