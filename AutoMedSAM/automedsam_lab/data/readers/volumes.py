"""Slices of a labelled volume, as the engine cuts and shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.readers.base import AnnotatedImage, ArchiveEntry, ReaderOptions
from automedsam_lab.data.readers.mask_boxes import outlines

# Of a slice's pixels, for it to show anything at all.
_SHOWING = 0.01


def read_labeled(root: Path, source: ArchiveEntry, channel: int = 0) -> tuple[Volume, np.ndarray]:
    """One modality of a case and its labels.

    Args:
        root: the archive's root.
        source: the case; its first image is read.
        channel: of a 4-D image.

    Returns:
        The 3-D volume, and `(K, J, I)` uint8 in the prepared dataset's values on its grid.

    Raises:
        AutoMedSAMError: if a file cannot be read, the two lie on different grids, or a label is not of the scheme.
    """
    image, label = root / source.images[0], root / str(source.label)
    volume = read_volume(image)
    if volume.array.ndim == 4:
        if channel >= volume.channels:
            message = f"{image} has {volume.channels} channels and no number {channel + 1}; choose another modality."
            raise AutoMedSAMError(message)
        volume = replace(volume, array=volume.array[channel])
    stored = read_volume(label, check_voxels=False)
    if stored.array.ndim == 4 or not volume.same_grid(stored):
        message = f"The label {label} does not lie on the grid of {image}; use matching files."
        raise AutoMedSAMError(message)
    return volume, translate(stored.array, source.values, label)


def translate(stored: np.ndarray, values: dict[int, int], path: Path) -> np.ndarray:
    """Stored label values as the prepared dataset's.

    Args:
        stored: label values of any type and shape.
        values: what each stored value becomes; 0 stays 0.
        path: the label's file, for the message.

    Returns:
        uint8 of the same shape.

    Raises:
        AutoMedSAMError: if a value is not declared, or not a whole number.
    """
    translated = np.zeros(stored.shape, dtype=np.uint8)
    unknown = []
    for value in np.unique(stored[stored != 0]):
        if value in values:
            translated[stored == value] = values[int(value)]
        else:
            unknown.append(f"{value:g}")
    if unknown:
        more = ", ..." if len(unknown) > 5 else ""
        known = ", ".join(str(value) for value in sorted(values)) or "none"
        message = (
            f"The label {path} holds {', '.join(unknown[:5])}{more}, but its scheme knows {known}; "
            "declare the scheme that it follows, or repair the file."
        )
        raise AutoMedSAMError(message)
    return translated


def slices(volume: Volume, labels: np.ndarray, choices: ReaderOptions) -> Iterator[AnnotatedImage]:
    """The slices that teach something: all with an object, and some without.

    Args:
        volume: of one channel.
        labels: `(K, J, I)` uint8 on its grid.
        choices: plane, window, and how many slices without an object to keep.

    Yields:
        Slices in order. Those without an object are taken at even distances from those that show anything.
    """
    plane = choices.plane or volume.default_plane()
    shown = replace(volume, array=to_uint8(volume.array, choices.window))
    frames = shown.to_frames(plane)[0]
    marks = replace(volume, array=labels).to_frames(plane)[0]
    filled = marks.any(axis=(1, 2))
    empty = np.flatnonzero(~filled & ((frames > 0).mean(axis=(1, 2)) > _SHOWING))
    wanted = min(len(empty), math.ceil(choices.empty * max(1, int(filled.sum()))))
    chosen = empty[(2 * np.arange(wanted) + 1) * len(empty) // (2 * wanted)] if wanted else empty[:0]
    for index in sorted({*np.flatnonzero(filled).tolist(), *chosen.tolist()}):
        mask = np.ascontiguousarray(marks[index])
        yield AnnotatedImage(np.ascontiguousarray(frames[index]), mask, outlines(mask), index, plane.value)
