"""A small picture of a case: the slice on which most was found, with outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.resize import resize_linear
from automedsam.core.segmentation import Segment
from automedsam.visualization.overlay import draw

_SIDE = 160


def thumbnail(
    slices: NDArray[Any], labels: NDArray[Any], spacing: tuple[float, float], segments: Sequence[Segment]
) -> NDArray[np.uint8]:
    """The slice on which most was found, else the middle one, with outlines.

    Args:
        slices: Gray levels 0 to 255 `(N, H, W)`.
        labels: Label values `(N, H, W)`.
        spacing: Of rows and of columns in mm.
        segments: What the values mean.

    Returns:
        `(h, w, 3)`, of 160 pixels at the most.
    """
    areas = (labels > 0).sum((1, 2))
    index = int(areas.argmax()) if areas.any() else len(labels) // 2
    height, width = slices[index].shape
    scale = _SIDE / max(height * spacing[0], width * spacing[1])
    size = (max(1, round(height * spacing[0] * scale)), max(1, round(width * spacing[1] * scale)))
    gray = np.clip(np.rint(resize_linear(slices[index], size)), 0, 255).astype(np.uint8)
    small = np.zeros(size, np.uint8)
    for segment in segments:
        small[resize_linear(labels[index] == segment.value, size) > 0.5] = segment.value
    return draw(gray, small, segments)
