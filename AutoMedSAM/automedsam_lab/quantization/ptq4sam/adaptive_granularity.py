"""Adaptive granularity quantization of PTQ4SAM (Lv et al., CVPR 2024, section 3.3) for what a softmax gives.

A logarithmic grid whose base is a root of 2, chosen for each attention. No kernel of ONNX Runtime computes with
such a grid: it is simulated here, values are rounded to the grid and the product is taken in FP32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

GRANULARITIES = (1, 2, 4)


class Granularity(NamedTuple):
    """The grid of one attention.

    Attributes:
        scale: the grid's greatest value s.
        tau: steps in a factor of 2: the base is 2 ** (1 / tau).
        error: the squared error of the attention's outputs on the samples it was chosen on.
    """

    scale: float
    tau: int
    error: float


def quantize_softmax(probabilities: Tensor, scale: float, tau: int, bits: int) -> Tensor:
    """Rounds to the grid: `q = round(-tau log2(x / s))`, `x^ = s 2^(-q / tau)`, and 0 where `q > 2^bits - 1`.

    What is greater than the scale becomes the scale.

    Args:
        probabilities: of any shape, 0 to 1.
        scale: s, above 0.
        tau: 1, 2 or 4.
        bits: of a code.
    """
    codes = torch.round(-tau * torch.log2(probabilities / scale)).clamp_(min=0)
    return torch.where(codes <= 2**bits - 1, scale * torch.exp2(-codes / tau), 0.0)


def search_granularity(samples: Sequence[tuple[Tensor, Tensor]], bits: int) -> Granularity:
    """The scale and tau of the least `||x^ V - x V||^2` over samples.

    For each tau a bounded search of the scale between min(0.1, 0.01 m) and m, the greatest probability.

    Args:
        samples: probabilities `(..., Q, K)` and values `(..., K, C)` of one attention.
        bits: of a code.
    """
    from scipy.optimize import minimize_scalar

    greatest = max(float(probabilities.max()) for probabilities, _ in samples)
    wanted = [probabilities @ values for probabilities, values in samples]

    def error(scale: float, tau: int) -> float:
        return sum(
            float((quantize_softmax(probabilities, scale, tau, bits) @ values - right).square().sum())
            for (probabilities, values), right in zip(samples, wanted, strict=True)
        )

    best = Granularity(greatest, GRANULARITIES[0], float("inf"))
    for tau in GRANULARITIES:
        bounds = (min(0.1, 0.01 * greatest), greatest)
        found = minimize_scalar(error, args=(tau,), bounds=bounds, method="bounded")
        if found.fun < best.error:
            best = Granularity(float(found.x), tau, float(found.fun))
    return best
