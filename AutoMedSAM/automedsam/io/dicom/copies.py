"""Whether two DICOM frames at one place are copies of each other."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from automedsam.core.volume import Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.decoding import stored_frames
from automedsam.io.dicom.frames import Frame


def same_pixels(one: Frame, other: Frame) -> bool:
    """Whether two frames store the same pixels and make the same values of them; no if either cannot be read."""
    if one.rescale != other.rescale:
        return False
    try:
        mine, its = _frame(one), _frame(other)
    except AutoMedSAMError:
        return False
    return mine is not None and its is not None and np.array_equal(mine, its)


def _frame(frame: Frame) -> Voxels | None:
    stored = _stored(frame.header.path) if frame.header.frames > 1 else stored_frames(frame.header.path)
    return stored[frame.index] if frame.index < len(stored) else None


@lru_cache(maxsize=2)
def _stored(path: Path) -> Voxels:
    """The frames of a file of several, which are asked for one after the other."""
    return stored_frames(path)
