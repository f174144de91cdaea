"""A hash that names a volume: its voxels and their place."""

from __future__ import annotations

import hashlib

import numpy as np

from automedsam.core.volume import Volume


def volume_sha256(volume: Volume) -> str:
    """SHA-256 of a volume's voxel type, shape, voxels and grid (to 0.0001 mm), whatever file it was read from."""
    array = volume.array
    found = hashlib.sha256(f"{array.dtype.newbyteorder('<').str} {array.shape}".encode())
    # Slice by slice: a mapped file need not fit into memory, nor a copy in another order of bytes.
    for part in array.reshape(-1, *array.shape[-2:]):
        found.update(np.ascontiguousarray(part, array.dtype.newbyteorder("<")).tobytes())
    # Adding 0.0 makes a zero of a negative zero.
    grid = (*volume.spacing, *volume.origin, *volume.direction)
    found.update(" ".join(f"{round(float(number), 4) + 0.0:.4f}" for number in grid).encode())
    return found.hexdigest()
