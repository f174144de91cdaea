"""The values that DICOM frames stand for: what is stored, by each frame's own slope and intercept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.volume import Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.decoding import stored_frames
from automedsam.io.dicom.frames import Frame
from automedsam.io.dicom.headers import Header, item, parsing, read_dataset

_BITS = (1, 8, 16, 32, 64)


def values_of(frames: Sequence[Frame], *, as_displayed: bool = False) -> Voxels:
    """Read frames as the values that they stand for: pixel x slope + intercept of their own.

    Args:
        frames: Of one size; each file is decoded once.
        as_displayed: Turn pictures whose lowest values are shown white (MONOCHROME1), so that they look as on a screen.

    Returns:
        `(N, rows, columns)`: integers where slope and intercept are integers and the same for all, else floats. Colour
        becomes luminance.

    Raises:
        AutoMedSAMError: If pixels are missing or damaged, or coded in a way that cannot be decoded here.
        OSError: If a file cannot be read.
    """
    header = frames[0].header
    odd = next((frame.header for frame in frames if frame.header.bits[0] not in _BITS), None)
    if odd is not None:
        message = f"{odd.path} stores {odd.bits[0]} bits a pixel, which cannot be decoded here; export it with 16."
        raise AutoMedSAMError(message)
    array = np.empty((len(frames), header.rows, header.columns), _type_of(frames))
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.header.path, []).append(place)
    for path, wanted in places.items():
        stored = stored_frames(path)
        for place in wanted:
            frame = frames[place]
            if frame.index >= len(stored) or stored.shape[1:3] != array.shape[1:]:
                message = f"{path} is damaged: its frames do not match its header; copy or export it again."
                raise AutoMedSAMError(message)
            array[place] = _values(stored[frame.index], frame, as_displayed=as_displayed)
    return array


def as_seen(stored: Voxels, header: Header) -> Voxels:
    """Turn a picture `(h, w)` whose lowest values are shown white (MONOCHROME1), so that it looks as on a screen."""
    if not header.inverted or header.floating or stored.ndim != 2:
        return stored
    low, high = _limits(header)
    return (low + high - stored.astype(np.int64)).astype(stored.dtype)


def _values(stored: Voxels, frame: Frame, *, as_displayed: bool) -> Voxels:
    from automedsam.core.color import image_luminance

    header = frame.header
    if stored.ndim == 3:
        return image_luminance(stored.astype(np.float64) if stored.itemsize > 2 else stored)
    if header.table:
        stored = _by_table(stored, header.path)
    elif as_displayed:
        stored = as_seen(stored, header)
    slope, intercept = frame.rescale
    if (slope, intercept) == (1.0, 0.0) or header.table:
        return stored
    return stored.astype(np.float64) * slope + intercept


def _type_of(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest type that holds all values."""
    if frames[0].header.colour:
        bits = max(frame.header.bits[0] for frame in frames)
        return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.float64)
    if any(frame.header.table for frame in frames):
        return np.dtype(np.uint16)
    wide = any(frame.header.bits[0] > 16 for frame in frames)
    rescales = {frame.rescale for frame in frames}
    whole = len(rescales) == 1 and all(number.is_integer() for number in frames[0].rescale)
    if any(frame.header.floating for frame in frames) or not whole:
        return np.dtype(np.float64 if wide and not _all_single(frames) else np.float32)
    slope, intercept = (int(number) for number in frames[0].rescale)
    ends = [bound * slope + intercept for frame in frames for bound in _limits(frame.header)]
    plain = (slope, intercept) == (1, 0)
    if plain and len({(frame.header.bits[0], frame.header.signed) for frame in frames}) == 1:
        return np.dtype(f"{'i' if frames[0].header.signed else 'u'}{frames[0].header.bits[0] // 8 or 1}")
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
    for kind in kinds:
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float64)


def _all_single(frames: Sequence[Frame]) -> bool:
    return all(frame.header.floating and frame.header.bits[0] == 32 for frame in frames)


def _limits(header: Header) -> tuple[int, int]:
    """The lowest and highest pixel that the bits in use can store."""
    bits = header.bits[1]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)


def _by_table(stored: Voxels, path: Path) -> Voxels:
    """Values that a table gives (Modality LUT, PS3.3 C.11.1); outside of it its ends hold."""
    with parsing(path):
        table = item(read_dataset(path), "ModalityLUTSequence")
        assert table is not None
        length, first = (int(number) for number in table.LUTDescriptor[:2])
        content = table.LUTData
        if isinstance(content, bytes):
            content = np.frombuffer(content, "<u2" if len(content) >= 2 * (length or 1 << 16) else "u1")
        entries = np.asarray(content, np.uint16)[: length or 1 << 16]
        return entries[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)]
