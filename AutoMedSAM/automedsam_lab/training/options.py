"""Options that all training recipes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """Where a training computes and what it begins with.

    Attributes:
        device: "auto", "cpu", "cuda" or another device of PyTorch, as far as the recipe supports it.
        resume: Continue from the checkpoint in the run's folder.
        start_from: Weights to begin with; random weights if None.
    """

    device: str = "auto"
    resume: bool = False
    start_from: Path | None = None
