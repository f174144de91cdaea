"""SAM 2's Hiera in a form that runs faster in ONNX Runtime and computes the same.

Three things change (Ryali et al., 2023, arXiv:2306.00989, as in `sam2.modeling.backbones.hieradet`):

- Queries, keys and values come from layers of their own, before windows are made: cutting one result in three
  copies all of it.
- A grid that is no multiple of the window is not padded: at 512 px, windows of 14 cells would pad 32 x 32 cells to
  42 x 42, 1.7 times as many. Padded cells are zero before the projection, so that each one's key and value are the
  biases: n of them in a softmax are one key whose logit is raised by log n.
- Of the neck's levels that get nothing from the level below, the 1 x 1 convolution and the mask decoder's own one
  that follows it are one.
"""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise, product
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from sam2.modeling.backbones.hieradet import MultiScaleAttention, MultiScaleBlock
    from sam2.modeling.sam2_base import SAM2Base


def for_export(model: SAM2Base) -> SAM2Base:
    """A copy whose Hiera blocks have the faster form; a model with another trunk is given back as it is.

    Args:
        model: a SAM 2 model in evaluation mode.
    """
    from sam2.modeling.backbones.hieradet import Hiera

    if not isinstance(model.image_encoder.trunk, Hiera):
        return model
    model = deepcopy(model)
    trunk, neck, decoder = model.image_encoder.trunk, model.image_encoder.neck, model.sam_mask_decoder
    trunk.blocks = nn.ModuleList(_Block(block) for block in trunk.blocks)
    for level, name in enumerate(("conv_s0", "conv_s1")):
        if level not in neck.fpn_top_down_levels:
            holder = neck.convs[len(neck.convs) - 1 - level]
            holder.conv = _merged(holder.conv, getattr(decoder, name))
            setattr(decoder, name, nn.Identity())
    return model.eval()


def _merged(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1 x 1 convolution for two in a row."""
    merged = nn.Conv2d(first.in_channels, second.out_channels, 1)
    one, other = first.state_dict(), second.state_dict()
    outer = other["weight"][:, :, 0, 0].double()
    weight = (outer @ one["weight"][:, :, 0, 0].double())[:, :, None, None]
    merged.load_state_dict({"weight": weight, "bias": outer @ one["bias"].double() + other["bias"]})
    return merged


class _Block(nn.Module):
    """`MultiScaleBlock.forward` on cells `(B, H, W, C)`."""

    def __init__(self, block: MultiScaleBlock) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.pool = block.norm1, block.norm2, block.mlp, block.pool
        self.proj = block.proj if block.dim != block.dim_out else None
        self.attn = _WindowAttention(block.attn, block.window_size)

    def forward(self, cells: Tensor) -> Tensor:
        normed = self.norm1(cells)
        shortcut = cells if self.proj is None else _pooled(self.proj(normed), self.pool)
        cells = shortcut + self.attn(normed)
        return cast(Tensor, cells + self.mlp(self.norm2(cells)))


class _WindowAttention(nn.Module):
    """`MultiScaleAttention` within windows of `side` cells; of all cells if `side` is 0."""

    def __init__(self, attention: MultiScaleAttention, side: int) -> None:
        super().__init__()
        self.query, self.key, self.value = _cut_in_three(attention.qkv)
        self.proj, self.pool = attention.proj, attention.q_pool
        self.heads, self.side = attention.num_heads, side

    def forward(self, cells: Tensor) -> Tensor:
        height, width = int(cells.shape[1]), int(cells.shape[2])
        queries, keys, values = _pooled(self.query(cells), self.pool), self.key(cells), self.value(cells)
        shrink = height // int(queries.shape[1])
        rows, columns = (_strips(length, self.side or length) for length in (height, width))
        regions = [
            self._attend(queries, keys, values, (top, bottom, left, right), shrink)
            for (top, bottom), (left, right) in product(rows, columns)
        ]
        bands = [torch.cat(regions[at : at + len(columns)], 2) for at in range(0, len(regions), len(columns))]
        return cast(Tensor, self.proj(torch.cat(bands, 1)))

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, region: tuple[int, int, int, int], shrink: int
    ) -> Tensor:
        """The answers `(B, h, w, C)` of a region of whole windows, or of windows cut alike."""
        top, bottom, left, right = region
        shape = (bottom - top, right - left)
        if self.side:
            shape = (min(self.side, shape[0]), min(self.side, shape[1]))
        keys, values = (self._windows(part[:, top:bottom, left:right], shape) for part in (keys, values))
        mask, absent = None, max(self.side**2 - shape[0] * shape[1], 0)
        if absent:
            keys, values = self._with_absent(keys, self.key.bias), self._with_absent(values, self.value.bias)
            mask = torch.zeros(1, keys.shape[2])
            mask[:, -1] = math.log(absent)
        asked = queries[:, top // shrink : bottom // shrink, left // shrink : right // shrink]
        small = (shape[0] // shrink, shape[1] // shrink)
        answers = F.scaled_dot_product_attention(self._windows(asked, small), keys, values, attn_mask=mask)
        down, across = (bottom - top) // shape[0], (right - left) // shape[1]
        grid = answers.reshape(-1, down, across, self.heads, *small, answers.shape[-1])
        return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, down * small[0], across * small[1], asked.shape[-1])

    def _with_absent(self, cells: Tensor, bias: Tensor) -> Tensor:
        """One more cell in each window: what all that is not there gives."""
        absent = bias.reshape(1, self.heads, 1, -1).expand(cells.shape[0], -1, -1, -1)
        return torch.cat([cells, absent], 2)

    def _windows(self, cells: Tensor, shape: tuple[int, int]) -> Tensor:
        """`(B, h, w, C)` to `(windows, heads, cells of a window, C / heads)`."""
        height, width, channels = (int(size) for size in cells.shape[1:])
        down, across = height // shape[0], width // shape[1]
        grid = cells.reshape(-1, down, shape[0], across, shape[1], self.heads, channels // self.heads)
        return grid.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, self.heads, shape[0] * shape[1], channels // self.heads)


def _cut_in_three(layer: nn.Linear) -> list[nn.Linear]:
    """The layers of queries, keys and values: the rows that they give lie side by side."""
    width = layer.out_features // 3
    layers = [nn.Linear(layer.in_features, width) for _ in range(3)]
    for third, part in enumerate(layers):
        rows = slice(third * width, (third + 1) * width)
        part.load_state_dict({key: values[rows] for key, values in layer.state_dict().items()})
    return layers


def _strips(length: int, side: int) -> list[tuple[int, int]]:
    """Where whole windows end, and the rest."""
    return list(pairwise(sorted({0, length - length % side, length})))


def _pooled(cells: Tensor, pool: nn.Module | None) -> Tensor:
    if pool is None:
        return cells
    return cast(Tensor, pool(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
