"""Intensities of any scanner as the 8 bits that the detector and the segmenter look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    from automedsam.core.volume import Volume, Voxels

_BACKGROUND_SHARE = 0.1
_PERCENTILES = (0.5, 99.5)
_SAMPLE = 500_000


def to_uint8(array: Voxels, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Map intensities to 0..255.

    With a window (CT), intensities are clipped to it and scaled linearly. Without (MR, whose units mean
    nothing), a constant background is recognized by the corners: their commonest value, where at least a tenth of
    all voxels equal it exactly, be it the 0 of a skull-stripped volume or what z-scoring made of it. It
    becomes 0, and the rest, clipped to its 0.5 and 99.5 percentiles, becomes 1..255. With no such background
    every voxel is clipped and scaled to 0..255.

    Args:
        array: Finite intensities `(K, J, I)` or frames `(N, H, W)`, one channel, any type.
        window: Lowest and highest intensity to tell apart, in the volume's own units.

    Returns:
        An array of the same shape.

    Raises:
        AutoMedSAMError: If the window is empty.
    """
    if window is not None:
        low, high = window
        if not low < high:
            message = f"The intensity window {low} to {high} is empty; give the lower value first."
            raise AutoMedSAMError(message)
        return _scale(array, low, high, darkest=0)
    background = _constant_background(array)
    voxels = _in_order_of_memory(array)
    if background is None:
        return _scale(array, *_limits(voxels), darkest=0)
    low, high = _limits(voxels[voxels != background])
    scaled = _scale(array, low, high, darkest=1)
    np.copyto(scaled, 0, where=array == background)
    return scaled


def check_finite_and_varied(volume: Volume) -> None:
    """Refuse voxels that no model can make sense of.

    Args:
        volume: The volume to look at, each channel by itself.

    Raises:
        AutoMedSAMError: If a voxel is NaN or infinite, or if all voxels of a channel are equal.
    """
    channels = volume.array if volume.array.ndim == 4 else volume.array[np.newaxis]
    for index, channel in enumerate(channels):
        called = volume.name or "The volume"
        if len(channels) > 1:
            called += f" (channel {index + 1} of {len(channels)})"
        low, high = channel.min(), channel.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            count = channel.size - np.count_nonzero(np.isfinite(channel))
            raise AutoMedSAMError(not_finite(called, count))
        if low == high:
            message = f"{called} has the same value ({low:g}) in every voxel; choose another volume."
            raise AutoMedSAMError(message)


def not_finite(called: str, count: int) -> str:
    """What to say of a volume with `count` voxels that are NaN or infinite."""
    voxels = "1 voxel that is" if count == 1 else f"{count} voxels that are"
    return f"{called} has {voxels} NaN or infinite; fill in numbers and save it again."


def _constant_background(array: Voxels) -> np.generic | None:
    ends = np.ix_(*((0, -1) for _ in range(array.ndim)))
    values, counts = np.unique(array[ends], return_counts=True)
    commonest: np.generic = values[np.argmax(counts)]
    equal = np.count_nonzero(array == commonest)
    return commonest if _BACKGROUND_SHARE * array.size <= equal < array.size else None


def _in_order_of_memory(array: Voxels) -> Voxels:
    """All voxels, in the same order for every view of a volume, so that each is sampled and seen alike."""
    forward = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    return forward.ravel(order="K")


def _limits(voxels: Voxels) -> tuple[float, float]:
    step = -(-voxels.size // _SAMPLE)
    low, high = (float(limit) for limit in np.percentile(voxels[::step], _PERCENTILES))
    if low < high:
        return low, high
    # So few voxels differ that the percentiles miss them (a small object on a flat field).
    return float(voxels.min()), float(voxels.max())


def _scale(array: Voxels, low: float, high: float, darkest: int) -> NDArray[np.uint8]:
    """Clip to `low`..`high` and stretch to `darkest`..255; where the two are equal all becomes 255."""
    if low == high:
        return np.full(array.shape, 255, dtype=np.uint8)
    scaled = np.empty(array.shape, np.uint8)
    # Slice by slice: a long film as floats would be four times as large as it is.
    for index, part in enumerate(array):
        work = part.astype(np.result_type(array.dtype, np.float32))
        np.clip(work, low, high, out=work)
        work -= low
        work *= (255 - darkest) / (high - low)
        work += darkest
        scaled[index] = np.rint(work, out=work)
    return scaled
