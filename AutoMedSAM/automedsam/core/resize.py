"""Linear resizing of slices and mask logits, the same with and without torch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.memory import check_room_for_scipy

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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
    resized = np.empty((*images.shape[:-2], *size), np.float32)
    for at in np.ndindex(images.shape[:-2]):
        resized[at] = (columns @ (rows @ images[at].astype(np.float32, copy=False)).T).T
    return resized


@lru_cache(maxsize=64)
def _weights(old: int, new: int, antialias: bool) -> csr_matrix:
    """The `(new, old)` matrix of linear interpolation weights, float32.

    Nearly all of it is zero. A product with all of it takes three times as long, and is shared among BLAS's threads,
    which burn time waiting for one another where other programs run as well.
    """
    check_room_for_scipy()
    from scipy.sparse import csr_matrix

    scale = old / new
    centers = (np.arange(new) + 0.5) * scale - 0.5
    if not antialias or scale <= 1:
        centers = np.clip(centers, 0, old - 1)
    support = max(scale, 1.0) if antialias else 1.0
    weights = np.clip(1 - np.abs(np.arange(old) - centers[:, None]) / support, 0, None)
    return csr_matrix(weights / weights.sum(1, keepdims=True), dtype=np.float32)
