"""Colours as grey levels."""

from __future__ import annotations

import numpy as np

from automedsam.core.volume import Voxels

# Red, green and blue as ITU-R BT.601 weighs them.
_LUMINANCE = (0.299, 0.587, 0.114)


def luminance(array: Voxels) -> Voxels:
    """Grey levels as ITU-R BT.601 weighs red, green and blue; alpha is left out.

    Args:
        array: `(K, J, I)` gray, or `(c, K, J, I)`: grey and alpha, RGB or RGBA.

    Returns:
        `(K, J, I)` of the same type.
    """
    if array.ndim == 3:
        return array
    if len(array) < 3:
        gray: Voxels = array[0]
        return gray
    weights = np.asarray(_LUMINANCE, dtype=np.float32)
    mixed = np.empty(array.shape[1:], array.dtype)
    # Slice by slice, since the floats take four times the memory of the colours.
    for index in range(len(mixed)):
        colours = array[:3, index].astype(np.float32)
        mixed[index] = np.rint(np.tensordot(weights, colours, axes=1)).astype(array.dtype)
    return mixed


def image_luminance(picture: Voxels) -> Voxels:
    """`luminance` of a picture `(h, w)` or `(h, w, c)`, as `(h, w)`."""
    return picture if picture.ndim == 2 else luminance(np.moveaxis(picture, -1, 0)[:, np.newaxis])[0]


def is_colored(array: Voxels) -> bool:
    """Whether red, green and blue differ anywhere in `(c, K, J, I)`; grey saved as RGB is not coloured."""
    if array.ndim != 4 or len(array) < 3:
        return False
    return bool((array[0] != array[1]).any() or (array[0] != array[2]).any())


def is_colored_picture(picture: Voxels) -> bool:
    """`is_colored` of a picture `(h, w)` or `(h, w, c)`."""
    return picture.ndim == 3 and is_colored(np.moveaxis(picture, -1, 0)[:, np.newaxis])
