"""The starter bundles' promptable segmenter: a small SAM 2 that learns from scratch on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

STARTER = Sam2Architecture(
    image_size=192,
    trunk="conv",
    embed_dim=32,
    stages=(1, 2, 3, 2),
    fpn_top_down_levels=(0, 1, 2, 3),
    d_model=128,
    memory_dim=32,
    memory_layers=2,
    memory_feedforward=512,
    fuser_layer_scale=0.1,
    num_maskmem=5,
    max_obj_ptrs_in_encoder=4,
    temporal_pointers=False,
    multimask=False,
)


def build_trainable(architecture: Sam2Architecture = STARTER) -> SAM2Base:
    """A network whose memory attention starts out local, and whose mask prompts start out loud.

    From a plain initialisation the memory attention of a small model had learnt nothing after hundreds of
    steps. Equal query and key biases let the rotary encoding peak at the same
    position, and smaller cross-attention weights keep that peak: the model starts by copying the neighbouring
    slice's mask, and learns to do better.

    A mask prompt (a filled box here) has, freshly initialised, a tenth of the image features' contrast; a larger
    last layer lets the decoder notice it from the first step.
    """
    import torch

    model = build_sam2(architecture)
    with torch.no_grad():
        for layer in model.memory_attention.layers:
            for attention in (layer.self_attn, layer.cross_attn_image):
                attention.q_proj.bias.fill_(0.8)
                attention.k_proj.bias.fill_(0.8)
            layer.cross_attn_image.q_proj.weight.mul_(0.3)
            layer.cross_attn_image.k_proj.weight.mul_(0.3)
        model.mask_downsample.weight.fill_(0.25)
        model.mask_downsample.bias.fill_(-2.0)
        model.sam_prompt_encoder.mask_downscaling[-1].weight.mul_(10.0)
    return model
