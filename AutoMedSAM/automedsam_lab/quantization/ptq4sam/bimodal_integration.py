"""Bimodal integration of PTQ4SAM (Lv et al., CVPR 2024, section 3.2): two peaks of a key activation become one.

The keys of the mask decoder's token-to-image attention can have two peaks, one on each side of zero, which one
INT8 range covers badly. Each channel lies in one of them, so a sign for each channel joins them. The same signs
on the query leave every product as it was: `(q g) . (k g) = q . k` for `g` of 1 and -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from automedsam.sam2.propagation import SegmenterSettings
from automedsam.sam2.torch_networks import TorchNetworks
from automedsam_lab.quantization.fidelity import PromptedClip, propagate_clips

if TYPE_CHECKING:
    from sam2.modeling.sam.transformer import Attention
    from sam2.modeling.sam2_base import SAM2Base

POINTS = 128
PEAK_HEIGHT = 0.01
PEAK_DISTANCE = 32


@dataclass(frozen=True)
class Integration:
    """What was found at one attention, and done.

    Attributes:
        attention: its name in the mask decoder's transformer.
        bimodal: whether its keys have two peaks; only then anything is folded.
        turned: channels whose sign was changed.
        channels: all of them.
    """

    attention: str
    bimodal: bool
    turned: int
    channels: int


def integrate_bimodal(model: SAM2Base, clip: PromptedClip, settings: SegmenterSettings) -> list[Integration]:
    """Looks at the keys of one clip's first slice, and folds signs into the weights where they are bimodal.

    The model answers as before, to float rounding. It is to be exported afterwards.

    Args:
        model: in evaluation mode, on the CPU; its query and key projections are changed.
        clip: the first calibration image.
        settings: how the model is run.

    Returns:
        What was done at each token-to-image attention.
    """
    first = PromptedClip(clip.frames[:1], clip.box)
    with _keys_of(model) as keys:
        propagate_clips(TorchNetworks(model), settings, [first])
    done = []
    for name, attention in token_to_image_attentions(model).items():
        bimodal = is_bimodal(keys[name].numpy())
        signs = channel_signs(keys[name])
        if bimodal:
            fold_signs(attention, signs)
        turned = int((signs < 0).sum()) if bimodal else 0
        done.append(Integration(name, bimodal, turned, len(signs)))
    return done


def token_to_image_attentions(model: SAM2Base) -> dict[str, Attention]:
    """The attentions of the mask decoder in which prompt tokens ask the image; none has rotary encodings."""
    transformer = model.sam_mask_decoder.transformer
    found = {f"layers.{i}": layer.cross_attn_token_to_image for i, layer in enumerate(transformer.layers)}
    return {**found, "final": transformer.final_attn_token_to_image}


def is_bimodal(values: np.ndarray) -> bool:
    """Whether a smoothed histogram of all values has exactly two peaks, as PTQ4SAM's code decides it.

    A Gaussian kernel density at 128 points between the least and the greatest value; peaks are at least a
    hundredth of the sum of these densities high, and 32 points apart.
    """
    from scipy.signal import find_peaks
    from scipy.stats import gaussian_kde

    flat = np.asarray(values, np.float64).ravel()
    if flat.size < 2 or flat.min() == flat.max():
        return False
    density = gaussian_kde(flat)(np.linspace(flat.min(), flat.max(), POINTS))
    peaks, _ = find_peaks(density, height=PEAK_HEIGHT * density.sum(), distance=PEAK_DISTANCE)
    return len(peaks) == 2


def channel_signs(keys: Tensor) -> Tensor:
    """The sign of each channel's mean `(C,)`, of keys `(..., C)`; 1 for a mean of 0."""
    return torch.where(keys.reshape(-1, keys.shape[-1]).mean(0) < 0, -1.0, 1.0)


def fold_signs(attention: Attention, signs: Tensor) -> None:
    """Multiplies the rows of the query's and the key's weights and biases by `signs` `(C,)` of 1 and -1."""
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.mul_(signs[:, None])
            projection.bias.mul_(signs)


@contextmanager
def _keys_of(model: SAM2Base) -> Iterator[dict[str, Tensor]]:
    """Takes down the output of each key projection, of the first image alone."""
    keys: dict[str, Tensor] = {}

    def keep_first(name: str, output: Tensor) -> None:
        keys.setdefault(name, output[0].clone())

    hooks = [
        attention.k_proj.register_forward_hook(lambda _, __, output, name=name: keep_first(name, output))
        for name, attention in token_to_image_attentions(model).items()
    ]
    try:
        yield keys
    finally:
        for hook in hooks:
            hook.remove()
