"""Published checkpoints held against the networks that they should fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from automedsam.sam2.checkpoint_file import read_state_dict, read_stored
from automedsam.sam2.checkpoint_shapes import (
    MetaTensorMode,
    Mismatch,
    compare,
    network_shapes,
    other_model,
    shapes_of,
)
from automedsam_lab.checkpoints.model_zoo import CONFIGS, Config

__all__ = [
    "MetaTensorMode",
    "Mismatch",
    "compare",
    "config_shapes",
    "match_state_dict",
    "mismatch_message",
    "read_state_dict",
    "read_stored",
    "shapes_of",
]


def config_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a configuration's checkpoints; no weight is allocated."""
    return network_shapes(config.architecture, config.zeros)


def mismatch_message(path: Path, state: Mapping[str, Tensor], config: Config, mismatch: Mismatch) -> str:
    """One sentence on what of a checkpoint does not fit, and on which model it may be."""
    others = [other.name for other in CONFIGS.values() if other is not config and not match_state_dict(state, other)]
    if others:
        advice = f"it fits {' and '.join(others)}: give --config {others[0]}"
    else:
        known = other_model(state)
        advice = f"it is a checkpoint of {known}" if known else "it is another model's checkpoint, or a changed one"
    return f"{path} does not fit {config.name} ({config.about}), {advice}; {mismatch.summary()}."


def match_state_dict(state: Mapping[str, Tensor], config: Config) -> Mismatch:
    """What of a checkpoint does not fit a configuration; false if all does."""
    return compare(shapes_of(state), config_shapes(config))
