"""A picture of a result: some slices side by side, with outlines and boxes in the segments' colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.intensity import to_uint8
from automedsam.core.memory import check_room_for_scipy
from automedsam.core.resize import resize_linear
from automedsam.core.segmentation import Segmentation, segment_masks
from automedsam.core.volume import Plane
from automedsam.io.atomic import atomic_write
from automedsam.io.segmentation_writer import write_verified

Picture = NDArray[np.uint8]

_GROUND = 16
_GAP = 8
_MARGIN = 5
_TINT = 0.18
_LINE = 2
_BOX_COLOR = (255, 214, 64)


def montage(
    segmentation: Segmentation,
    plane: Plane | None = None,
    *,
    columns: int = 4,
    rows: int = 2,
    tile_width: int = 320,
    min_score: float = 0.0,
) -> Picture:
    """Draws slices spread evenly over what was found.

    Args:
        segmentation: The first channel of its volume is shown, cropped to what is not background.
        plane: Of the slices; that of the segmentation's boxes if None. Boxes show in their own plane alone.
        columns: Tiles side by side.
        rows: Tiles below each other; fewer where there are fewer slices.
        tile_width: Of one tile in pixels; its height follows from the millimetres.
        min_score: Boxes of a lower confidence, 0 to 1, are left out.

    Returns:
        `(height, width, 3)` RGB.
    """
    plane = plane or segmentation.plane
    volume = segmentation.volume
    gray = to_uint8(volume.to_frames(plane)[0])
    labels = replace(volume, array=segmentation.labels).to_frames(plane)[0]
    view = _view(gray)
    _, row_mm, column_mm = volume.frame_spacing(plane)
    height, width = gray[0][view].shape
    size = (max(1, round(tile_width * height * row_mm / (width * column_mm))), tile_width)
    tiles = []
    for index in _picks(labels, columns * rows):
        tile = _draw_labels(gray[index][view], labels[index][view], segmentation, size)
        if plane is segmentation.plane:
            boxes = segmentation.boxes.get(index, [])
            _draw_boxes(tile, [box for box in boxes if box.score >= min_score], view, (height, width))
        tiles.append(tile)
    return _side_by_side(tiles, columns)


def write_png(picture: Picture, path: Path) -> None:
    """Writes `(height, width, 3)` RGB.

    Raises:
        AutoMedSAMError: If the file cannot be written.
    """
    import SimpleITK as sitk

    with atomic_write(path) as unfinished:
        write_verified(sitk.GetImageFromArray(picture, isVector=True), unfinished)


def _picks(labels: NDArray[np.uint8], most: int) -> list[int]:
    """Slices spread evenly from the first to the last with a label; over all of them where there is none."""
    found = np.flatnonzero(labels.any((1, 2)))
    first, last = (found[0], found[-1]) if len(found) else (0, len(labels) - 1)
    count = min(most, int(last - first) + 1)
    edges = np.linspace(first, last + 1, count + 1)
    return [int(place) for place in (edges[:-1] + edges[1:]) / 2]


def _view(gray: Picture) -> tuple[slice, slice]:
    """Rows and columns of `(N, H, W)` that hold anything on any slice, with a margin."""
    anything = np.any(gray, axis=0)
    sides = []
    for axis in (1, 0):
        found = np.flatnonzero(np.any(anything, axis=axis))
        first, last = (found[0], found[-1]) if len(found) else (0, anything.shape[1 - axis] - 1)
        sides.append(slice(max(0, int(first) - _MARGIN), int(last) + 1 + _MARGIN))
    return sides[0], sides[1]


def _draw_labels(
    gray: Picture, labels: NDArray[np.uint8], segmentation: Segmentation, size: tuple[int, int]
) -> Picture:
    """One tile `(*size, 3)`: the slice, each segment tinted and outlined in its colour."""
    check_room_for_scipy()
    from scipy.ndimage import binary_erosion

    tile = np.repeat(resize_linear(gray, size)[..., np.newaxis], 3, -1)
    for segment, shown in segment_masks(labels, segmentation.segments):
        mask = resize_linear(shown, size) > 0.5
        colour = 255 * np.asarray(segment.color, dtype=np.float32)
        outline = mask & ~binary_erosion(mask, iterations=_LINE)
        tile[mask] = (1 - _TINT) * tile[mask] + _TINT * colour
        tile[outline] = colour
    return np.clip(np.rint(tile), 0, 255).astype(np.uint8)


def _draw_boxes(tile: Picture, boxes: list[Box], view: tuple[slice, slice], shape: tuple[int, int]) -> None:
    """Draws rectangles in place; boxes are in pixels of the whole slice, the tile shows `view` of it."""
    rows, columns = view
    down, across = tile.shape[0] / shape[0], tile.shape[1] / shape[1]
    for box in boxes:
        x0, y0, x1, y1 = box.corners
        left, right = round((x0 - columns.start) * across), round((x1 - columns.start) * across)
        top, bottom = round((y0 - rows.start) * down), round((y1 - rows.start) * down)
        for edge in _edges(max(top, 0), max(bottom, 0), max(left, 0), max(right, 0)):
            tile[edge] = _BOX_COLOR


def _edges(top: int, bottom: int, left: int, right: int) -> Iterator[tuple[slice, slice]]:
    yield slice(top, top + 1), slice(left, right)
    yield slice(max(bottom - 1, 0), bottom), slice(left, right)
    yield slice(top, bottom), slice(left, left + 1)
    yield slice(top, bottom), slice(max(right - 1, 0), right)


def _side_by_side(tiles: list[Picture], columns: int) -> Picture:
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    picture: Picture = np.full(shape, _GROUND, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        picture[top : top + height, left : left + width] = tile
    return picture
