"""The choice of `--on-error`."""

from __future__ import annotations

from enum import Enum


class OnError(str, Enum):
    """What to do about a file or a case that cannot be used."""

    SKIP = "skip"
    STOP = "stop"
