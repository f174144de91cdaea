"""Published checkpoints held against the networks that they should fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from automedsam.sam2.checkpoint_file import read_state_dict, read_stored
from automedsam.sam2.checkpoint_shapes import MetaTensorMode, Mismatch, compare, network_shapes, shapes_of
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

# A key that only this model has, for those that people mistake for SAM 2's.
OTHER_MODELS = {
    "SAM 1 or MedSAM": "image_encoder.blocks.0.attn.rel_pos_h",
    "MobileSAM or LiteMedSAM": "image_encoder.layers.0.blocks.0.conv1.c.weight",
    "EfficientTAM": "image_encoder.neck.convs.0.conv_1x1.weight",
    "YOLO-NAS, which is given as --detector": "heads.head1.cls_pred.weight",
    "the lab's own segmenter, which is not converted but exported": "image_encoder.trunk.stem.0.weight",
}
_WIDTHS_OF_SAM2 = {144: "SAM 2 large, which is too slow on a CPU and not read"}
_PATCHES = "image_encoder.trunk.patch_embed.proj.weight"


def config_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a configuration's checkpoints; no weight is allocated."""
    return network_shapes(config.architecture, config.zeros)


def mismatch_message(path: Path, state: Mapping[str, Tensor], config: Config, mismatch: Mismatch) -> str:
    """One sentence on what of a checkpoint does not fit, and on which model it may be."""
    others = [other.name for other in CONFIGS.values() if other is not config and not match_state_dict(state, other)]
    if others:
        advice = f"it fits {' and '.join(others)}: give --config {others[0]}"
    else:
        known = _other_model(state)
        advice = f"it is a checkpoint of {known}" if known else "it is another model's checkpoint, or a changed one"
    return f"{path} does not fit {config.name} ({config.about}), {advice}; {mismatch.summary()}."


def match_state_dict(state: Mapping[str, Tensor], config: Config) -> Mismatch:
    """What of a checkpoint does not fit a configuration; false if all does."""
    return compare(shapes_of(state), config_shapes(config))


def _other_model(state: Mapping[str, Tensor]) -> str | None:
    if _PATCHES in state and len(state[_PATCHES]) in _WIDTHS_OF_SAM2:
        return _WIDTHS_OF_SAM2[len(state[_PATCHES])]
    return next((name for name, key in OTHER_MODELS.items() if key in state), None)
