"""What a run takes of its volume and its bundle: slices, channels, gray levels, and the rules of labels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Plane, Volume
from automedsam.detection.channels import segmenter_slices
from automedsam.errors import AutoMedSAMError
from automedsam.tracking.label_rules import LabelRules


def frames_within(slices: tuple[int, int] | None, count: int) -> tuple[int, int]:
    """The first and the last frame that are looked at, of `count`.

    Raises:
        AutoMedSAMError: If they are not in the volume.
    """
    first, last = slices or (0, count - 1)
    if not 0 <= first <= last < count:
        message = f"The slices {first} to {last} are not in the volume: choose among 0 to {count - 1}."
        raise AutoMedSAMError(message)
    return first, last


def gray_levels(volume: Volume, bundle: Bundle, plane: Plane) -> NDArray[np.uint8]:
    """`(C, N, H, W)` gray levels of each modality, contiguous."""
    frames = volume.to_frames(plane)
    levels = [to_uint8(channel, bundle.window_of(index)) for index, channel in enumerate(frames)]
    return np.ascontiguousarray(levels[0][np.newaxis] if len(levels) == 1 else np.stack(levels))


def label_rules(channels: NDArray[np.uint8], bundle: Bundle) -> LabelRules:
    """What the bundle declares of single labels; labels of one image share its slices."""
    images = {three: segmenter_slices(channels, three) for three in set(bundle.label_channels.values())}
    return LabelRules(
        bundle.inside,
        {label: images[three] for label, three in bundle.label_channels.items()},
    )


def check_channels(volume: Volume, bundle: Bundle) -> None:
    """Checks that there is one image for each of the bundle's modalities, each another.

    Raises:
        AutoMedSAMError: If that is not so.
    """
    wanted = bundle.modalities
    if volume.channels != len(wanted):
        kinds = "modality" if len(wanted) == 1 else "modalities"
        message = (
            f"The model {bundle.name} takes {len(wanted)} {kinds} ({', '.join(wanted)}), and the input has "
            f"{volume.channels}: give just {'that one' if len(wanted) == 1 else 'those'}."
        )
        raise AutoMedSAMError(message)
    for index, other in combinations(range(volume.channels), 2):
        if np.array_equal(volume.array[index], volume.array[other]):
            message = (
                f"The images given as {wanted[index]} and as {wanted[other]} are the same, voxel for voxel: give one "
                "image for each modality."
            )
            raise AutoMedSAMError(message)
