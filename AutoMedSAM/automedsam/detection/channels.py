"""The images that the detector and the segmenter look at, made of a volume's modalities as its bundle declares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.channels import Channel
from automedsam.detection.detector import ADJACENT_SLICES, context_steps, stack_adjacent_slices


def detector_frames(
    slices: NDArray[np.uint8], slice_spacing: float, context_mm: float, channels: Sequence[Channel]
) -> NDArray[np.uint8]:
    """The detector's frames.

    Args:
        slices: `(C, N, H, W)` gray levels of each modality.
        slice_spacing: distance between slices in mm.
        context_mm: distance of one step to a neighboring slice in mm; it is at least one slice.
        channels: what each channel of a frame shows.

    Returns:
        `(N, H, W, len(channels))`; beyond the ends the end slices repeat. Read-only where it is a view.
    """
    if tuple(channels) == ADJACENT_SLICES:
        return stack_adjacent_slices(slices[0], slice_spacing, context_mm)
    count = slices.shape[1]
    step = context_steps(slice_spacing, context_mm, count)
    frames = np.empty((count, *slices.shape[2:], len(channels)), np.uint8)
    for place, channel in enumerate(channels):
        shown = np.clip(np.arange(count) + channel.step * step, 0, count - 1)
        frames[..., place] = slices[channel.modality][shown]
    return frames


def segmenter_slices(slices: NDArray[np.uint8], channels: Sequence[int]) -> NDArray[np.uint8]:
    """The segmenter's slices.

    Args:
        slices: `(C, N, H, W)` gray levels of each modality.
        channels: the modality of each of the network's three input channels.

    Returns:
        `(N, H, W)`, a view, where all three show one modality; else `(N, 3, H, W)`.
    """
    if len(set(channels)) == 1:
        one: NDArray[np.uint8] = slices[channels[0]]
        return one
    return np.stack([slices[modality] for modality in channels], axis=1)
