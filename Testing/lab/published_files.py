"""Files of the published checkpoints' layouts, with random weights."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_checkpoint import TINY as TINY_NETWORK

from automedsam.sam2.build import build_sam2
from automedsam_lab.checkpoints.model_zoo import NO_OBJECT_EMBEDDING, Config

TINY = Config(TINY_NETWORK.name, TINY_NETWORK.about, TINY_NETWORK.architecture)
TINY_SAM2 = Config(
    "tiny_2.0",
    "a tiny SAM 2.0",
    replace(TINY.architecture, temporal_pointers=False),
    zeros=(NO_OBJECT_EMBEDDING,),
)


def random_weights(config: Config, seed: int = 0) -> dict[str, Any]:
    """Weights by key, as a checkpoint of this network has them."""
    import torch

    torch.manual_seed(seed)
    state = build_sam2(config.architecture).state_dict()
    return {key: value for key, value in state.items() if key not in config.zeros}


def write_medsam2(path: Path, weights: Mapping[str, Any]) -> Path:
    """The layout of MedSAM2 and of Meta: the weights under "model"."""
    import torch

    torch.save({"model": OrderedDict(weights)}, path)
    return path


def write_medical_sam2(path: Path, weights: Mapping[str, Any]) -> Path:
    """The layout of Medical SAM 2: a bare ordered dictionary in bfloat16."""
    import torch

    torch.save(OrderedDict((key, value.bfloat16()) for key, value in weights.items()), path)
    return path
