"""Checkpoints that are whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from automedsam.io.atomic import atomic_write


def save_checkpoint(content: Mapping[str, object], path: Path) -> Path:
    """Writes tensors and plain values for `torch.load(weights_only=True)`.

    Args:
        content: What to save.
        path: The file; its folder must exist.

    Returns:
        The file.

    Raises:
        AutoMedSAMError: if the file cannot be written; what was there before stays.
    """
    with atomic_write(path) as unfinished:
        torch.save(dict(content), unfinished)
    return path
