"""What gives the frames of a video, whatever it is stored as."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from automedsam.core.volume import Voxels

DEFAULT_RATE = Fraction(25)
"""Frames a second where a source does not tell."""


class FrameSource(Protocol):
    """A file or folder that holds frames."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def rate(self) -> Fraction:
        """Frames a second; 25 where the source does not tell."""

    @property
    def count(self) -> int | None:
        """The number of frames in its header; None if it has none."""

    def frames(self) -> Iterator[Voxels]:
        """All frames from the first, `(h, w)` or `(h, w, c)`; may be asked for again."""
