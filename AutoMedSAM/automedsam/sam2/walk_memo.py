"""Keeps what tracking computed on the last slices, so that a further prompt costs the slices from there on alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from automedsam.sam2.memory_bank import Memory
from automedsam.sam2.networks import Floats


class TrackedSlice(NamedTuple):
    """A slice's native logits `(H, W)`, what it leaves in the memory bank, and the network's score, 0 to 1."""

    logits: Floats
    memory: Memory
    score: float


class WalkMemo:
    """Results by a key that names all they depend on: the prompts so far and the slices walked through.

    Args:
        size: Slices that are kept; the oldest goes first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[str, TrackedSlice] = {}

    def get(self, key: str, compute: Callable[[], TrackedSlice]) -> TrackedSlice:
        """What is kept under a key; computed if there is nothing."""
        found = self._kept.pop(key, None) or compute()
        if self._size:
            self._kept[key] = found
            if len(self._kept) > self._size:
                del self._kept[next(iter(self._kept))]
        return found


def walk_key(*parts: object) -> str:
    """A key of the parts; arrays by their bytes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.tobytes() if hasattr(part, "tobytes") else repr(part).encode()
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()
