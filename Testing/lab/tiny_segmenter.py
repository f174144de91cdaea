"""A random segmenter small enough to be exported in a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.boxes import Box
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.quantization.fidelity import PromptedClip

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

SIZE = 64
TINY = Sam2Architecture(
    image_size=SIZE,
    trunk="conv",
    embed_dim=8,
    stages=(1, 1, 1, 1),
    fpn_top_down_levels=(0, 1, 2, 3),
    d_model=64,
    memory_dim=16,
    memory_layers=1,
    memory_feedforward=64,
    num_maskmem=3,
    max_obj_ptrs_in_encoder=3,
    temporal_pointers=False,
    multimask=False,
)
SETTINGS = SegmenterSettings.of(TINY, box_as_mask=True)


def tiny_model() -> SAM2Base:
    """Random weights that find an object on every slice."""
    import torch

    torch.manual_seed(0)
    model = build_sam2(TINY).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
    return model


def export(model: SAM2Base, folder: Path) -> dict[str, Path]:
    """The exported graph of each part."""
    from automedsam.quantization.export import export_segmenter

    export_segmenter(model, folder)
    return {part: folder / f"{part}.onnx" for part in NETWORK_NAMES}


def some_clips(count: int = 2, frames: int = 3) -> list[PromptedClip]:
    """Noise with a bright square that is boxed."""
    rng = np.random.default_rng(1)
    clips = []
    for _ in range(count):
        gray = rng.integers(0, 90, (frames, 40, 40)).astype(np.uint8)
        gray[:, 10:28, 12:26] += 120
        clips.append(PromptedClip(gray, Box(12, 10, 14, 18)))
    return clips
