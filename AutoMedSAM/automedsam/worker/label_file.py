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


def reopen_label_file(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8] | None:
    """Maps the file of an earlier run on the same grid; None if there is none."""
    try:
        labels: NDArray[np.uint8] = np.load(path, mmap_mode="r+", allow_pickle=False)
    except UNREADABLE:
        return None
    fits = isinstance(labels, np.ndarray) and labels.shape == shape and labels.dtype == np.uint8
    return labels if fits else None
