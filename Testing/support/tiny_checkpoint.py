"""A published checkpoint of a tiny SAM 2.1, with random weights."""

from pathlib import Path
from typing import Any

from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.published_networks import PublishedNetwork

TINY = PublishedNetwork(
    "tiny",
    "a tiny SAM 2.1",
    Sam2Architecture(
        image_size=64,
        embed_dim=16,
        num_heads=2,
        stages=(1, 1, 2, 1),
        global_att_blocks=(3,),
        window_spec=(4, 4, 2, 2),
        window_pos_embed_bkg_spatial_size=(3, 3),
        d_model=64,
        memory_dim=16,
        memory_layers=1,
        memory_feedforward=64,
        num_maskmem=3,
        max_obj_ptrs_in_encoder=3,
    ),
)


def write_checkpoint(path: Path) -> Path:
    """Writes weights as MedSAM2 and Meta do: under "model", without the architecture."""
    import torch

    from automedsam.sam2.build import build_sam2

    torch.manual_seed(0)
    weights: Any = build_sam2(TINY.architecture).state_dict()
    torch.save({"model": weights}, path)
    return path
