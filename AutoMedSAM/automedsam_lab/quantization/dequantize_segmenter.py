"""A segmenter's weights out of its INT8 graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.export import export_segmenter
from automedsam.quantization.memory_attention import FusedMemoryAttention
from automedsam.quantization.segmenter import ATTENTION
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam_lab.quantization.dequantize import dequantize, fill, randomize_weights, trace

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

# Weights that no graph holds: no memory asks for the first, and of attentions `FusedMemoryAttention` has other forms.
_ELSEWHERE = re.compile(r"^(no_mem_pos_enc|maskmem_tpos_enc)$|^memory_attention\.layers\.\d+\.\w+_att\w*\.")
_TURNED = re.compile(r"^(own|cross)\.|^age_encoding$")


def restored_segmenter(architecture: Sam2Architecture, int8: Mapping[str, Path], folder: Path) -> SAM2Base:
    """A segmenter with the weights of quantized graphs; its batch norms add their biases and do nothing else.

    Args:
        architecture: of the network.
        int8: the quantized graph of each part.
        folder: to export to, which shows where each weight is stored.

    Raises:
        AutoMedSAMError: if another version exported the graphs, or a weight is in none of them.
    """
    model = build_sam2(architecture).eval()
    randomize_weights(model)
    attention = FusedMemoryAttention(model)
    export_segmenter(model, folder)
    weights = {folder / f"{part}.onnx": dequantize(int8[part]) for part in NETWORK_NAMES}
    places, turned = trace(model, weights), trace(attention, [folder / f"{ATTENTION}.onnx"])
    folded = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    lost = [name for name, weight in model.named_parameters() if name not in places and id(weight) not in folded]
    lost = [name for name in lost if not _ELSEWHERE.search(name)]
    lost += [name for name, _ in attention.named_parameters() if name not in turned and _TURNED.search(name)]
    if lost:
        message = (
            f"No exported graph holds {', '.join(lost[:3])} ({len(lost)} in all): this architecture cannot come back."
        )
        raise AutoMedSAMError(message)
    fill(model, places, weights)
    fill(attention, turned, weights)
    attention.give_back(model)
    return model
