"""The labels file that a worker writes and its owner reads, both through memory maps."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError

# What numpy raises for damaged files, whose header it gives to Python's own tokenizer and parser.
UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, TokenError)


def create_label_file(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Makes a file of zeros and maps it.

    Args:
        path: where; a file that is there is replaced, and whoever has mapped that one keeps what it held.
        shape: voxels along K, J, I.

    Raises:
        AutoMedSAMError: if there is no place for it.
    """
    try:
        # The zeros are written out: a map of a hole in a full disk would end the process at its first voxel.
        beside = path.with_name(path.name + ".new")
        with beside.open("wb") as file:
            np.save(file, np.zeros(shape, np.uint8), allow_pickle=False)
        beside.replace(path)
        labels: NDArray[np.uint8] = np.load(path, mmap_mode="r+", allow_pickle=False)
    except OSError as error:
        message = f"The labels cannot be written to {path.parent} ({error.strerror or error}): make room there."
        raise AutoMedSAMError(message) from error
    return labels


def write_mask_file(path: Path, mask: NDArray[np.bool_]) -> None:
    """Writes a mask of a slice as uint8; a reader finds the whole file or none.

    Raises:
        AutoMedSAMError: if there is no place for it.
    """
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            np.save(file, mask.astype(np.uint8), allow_pickle=False)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        message = f"The mask cannot be written to {path.parent} ({error.strerror or error}): make room there."
        raise AutoMedSAMError(message) from error


def read_mask_file(path: Path) -> NDArray[np.bool_]:
    """A mask `(rows, columns)` of 0 and 1 that a user edited.

    Raises:
        AutoMedSAMError: if the file cannot be read, or holds something else.
    """
    try:
        mask = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        message = f"The edited mask cannot be read from {path}: edit it again."
        raise AutoMedSAMError(message) from error
    sound = isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.dtype.kind in "bu"
    if not sound or (mask.size and int(mask.max()) > 1):
        message = f"The file {path} holds no mask of 0 and 1 on a slice: edit it again."
        raise AutoMedSAMError(message)
    read: NDArray[np.bool_] = mask.astype(np.bool_)
    return read


def reopen_label_file(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    """Maps the file of an earlier run on the same grid; None if there is none."""
    try:
        labels: NDArray[np.uint8] = np.load(path, mmap_mode="r+", allow_pickle=False)
    except UNREADABLE:
        return None
    fits = isinstance(labels, np.ndarray) and labels.shape == shape and labels.dtype == np.uint8
    return labels if fits else None
