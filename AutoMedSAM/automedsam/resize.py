"""Linear resizing of slices and mask logits, the same with and without torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def resize_linear(images: NDArray[Any], size: tuple[int, int], *, antialias: bool = True) -> NDArray[np.float32]:
    """Resizes the last two axes with linear weights between pixel centres.

    It equals `torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=antialias)`.

    Args:
        images: `(..., H, W)` of any number type.
        size: the new height and width in pixels.
        antialias: widen the weights where the size shrinks, so that no pixel is skipped.

    Returns:
        `(..., *size)` float32.
    """
    height, width = images.shape[-2:]
    rows = _weights(height, size[0], antialias)
    columns = _weights(width, size[1], antialias)
    resized: NDArray[np.float32] = rows @ images.astype(np.float32, copy=False) @ columns.T
    return resized


@lru_cache(maxsize=64)
def _weights(old: int, new: int, antialias: bool) -> NDArray[np.float32]:
    """The `(new, old)` matrix of linear interpolation weights."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if not antialias or scale <= 1:
        centres = np.clip(centres, 0, old - 1)
    support = max(scale, 1.0) if antialias else 1.0
    weights = np.clip(1 - np.abs(np.arange(old) - centres[:, None]) / support, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)
