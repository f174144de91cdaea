"""SAM 2's image encoder with a Hiera, in a form that runs faster in ONNX Runtime and computes the same.

Four things change (Ryali et al., 2023, arXiv:2306.00989, as in `sam2.modeling.backbones.hieradet`):

- Cells are a list in which the windows lie side by side (see `window_order`), and are put into another order only
  where a stage has other windows: no window is cut out of a grid and put back, and pooling takes four neighbours
  together.
- Queries, keys and values come from layers of their own: cutting one result in three copies all of it.
- A grid that is no multiple of the window is not padded: at 512 px, windows of 14 cells would pad 32 x 32 cells to
  42 x 42, 1.7 times as many. Padded cells are zero before the projection, so that each one's key and value are the
  biases: n of them in a softmax are one key whose logit is raised by log n.
- The neck's 1 x 1 convolutions are products of cells and weights, as all else here is. Of its levels that get nothing
  from the level below, it and the mask decoder's own one that follows it are one.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from automedsam.quantization.window_order import Region, pooled_order, regions, window_order

if TYPE_CHECKING:
    from sam2.modeling.backbones.hieradet import MultiScaleAttention, MultiScaleBlock
    from sam2.modeling.backbones.image_encoder import ImageEncoder
    from sam2.modeling.sam2_base import SAM2Base


def for_export(model: SAM2Base) -> SAM2Base:
    """A copy whose image encoder has the faster form; a model with another trunk is given back as it is.

    Args:
        model: a SAM 2 model in evaluation mode.
    """
    from sam2.modeling.backbones.hieradet import Hiera

    if not isinstance(model.image_encoder.trunk, Hiera):
        return model
    model = deepcopy(model)
    neck, decoder = model.image_encoder.neck, model.sam_mask_decoder
    for level, name in enumerate(("conv_s0", "conv_s1")):
        if level not in neck.fpn_top_down_levels:
            holder = neck.convs[len(neck.convs) - 1 - level]
            holder.conv = _merged(holder.conv, getattr(decoder, name))
            setattr(decoder, name, nn.Identity())
    # 4 pixels a side are a cell of the patch embedding.
    model.image_encoder = _Encoder(model.image_encoder, model.image_size // 4)
    return model.eval()


def _merged(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1 x 1 convolution for two in a row."""
    merged = nn.Conv2d(first.in_channels, second.out_channels, 1)
    one, other = first.state_dict(), second.state_dict()
    outer = other["weight"][:, :, 0, 0].double()
    weight = (outer @ one["weight"][:, :, 0, 0].double())[:, :, None, None]
    merged.load_state_dict({"weight": weight, "bias": outer @ one["bias"].double() + other["bias"]})
    return merged


class _Encoder(nn.Module):
    """`ImageEncoder` on square images of `4 * side` pixels; of what it gives, what `forward_image` takes."""

    def __init__(self, encoder: ImageEncoder, side: int) -> None:
        super().__init__()
        self.trunk, self.neck, self.scalp = _Trunk(encoder.trunk, side), encoder.neck, encoder.scalp
        convolutions = [holder.conv for holder in encoder.neck.convs][::-1]
        self.laterals = nn.ModuleList(
            _Lateral(conv, order) for conv, order in zip(convolutions, self.trunk.orders, strict=True)
        )

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        """`(B, 3, S, S)` to the maps of all levels but the last ones that are left out."""
        neck, levels = self.neck, self.trunk(image)
        maps: list[Tensor] = []
        for level in reversed(range(len(levels))):
            lateral = self.laterals[level](levels[level])
            if maps and level in neck.fpn_top_down_levels:
                lateral = lateral + F.interpolate(maps[0], scale_factor=2.0, mode=neck.fpn_interp_model)
            maps.insert(0, lateral)
        return {"backbone_fpn": maps[: len(maps) - self.scalp]}


class _Lateral(nn.Module):
    """A 1 x 1 convolution of cells in some order, to maps."""

    back: Tensor

    def __init__(self, convolution: nn.Conv2d, order: NDArray[np.int64]) -> None:
        super().__init__()
        self.layer = nn.Linear(convolution.in_channels, convolution.out_channels)
        values = convolution.state_dict()
        self.layer.load_state_dict({"weight": values["weight"][:, :, 0, 0], "bias": values["bias"]})
        self.side = math.isqrt(len(order))
        self.register_buffer("back", torch.from_numpy(np.argsort(order)))

    def forward(self, cells: Tensor) -> Tensor:
        """`(B, N, in)` to `(B, out, side, side)`."""
        found: Tensor = self.layer(cells).index_select(1, self.back)
        found = found.reshape(-1, self.side, self.side, self.layer.out_features).permute(0, 3, 1, 2)
        return found


class _Trunk(nn.Module):
    """`Hiera` on a square of `side * side` cells; `orders` has that of each stage's cells."""

    def __init__(self, trunk: Any, side: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.ends = set(trunk.stage_ends)
        order = np.arange(side * side)
        self.blocks, self.orders = nn.ModuleList(), []
        for index, block in enumerate(trunk.blocks):
            wanted = window_order(side, side, block.window_size)
            # To a block that sees everything, the order only matters if it pools.
            anything = not block.window_size and not block.pool
            move = None if anything or np.array_equal(order, wanted) else np.argsort(order)[wanted]
            order = order if anything else wanted
            self.blocks.append(_Block(block, side, move))
            if block.pool:
                order, side = pooled_order(order, side), side // 2
            if index in self.ends:
                self.orders.append(order)
        del trunk.blocks

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(B, 3, S, S)` to the cells `(B, N, C)` at the end of each stage."""
        grid = self.trunk.patch_embed(image)
        batch, height, width, channels = (int(size) for size in grid.shape)
        cells, levels = (grid + self._position(height, width)).reshape(batch, height * width, channels), []
        for index, block in enumerate(self.blocks):
            cells = block(cells)
            if index in self.ends:
                levels.append(cells)
        return levels

    def _position(self, height: int, width: int) -> Tensor:
        """The position embedding `(1, height, width, C)`."""
        whole, window = self.trunk.pos_embed, self.trunk.pos_embed_window
        tiled = window.repeat(1, 1, height // int(window.shape[2]), width // int(window.shape[3]))
        spread = F.interpolate(whole, size=(height, width), mode="bicubic")
        return cast(Tensor, (spread + tiled).permute(0, 2, 3, 1))


class _Block(nn.Module):
    """`MultiScaleBlock.forward` on cells `(B, N, C)`, which it first puts into its own order."""

    move: Tensor | None

    def __init__(self, block: MultiScaleBlock, side: int, move: NDArray[np.int64] | None) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.proj = block.proj if block.dim != block.dim_out else None
        self.pools = block.pool is not None
        self.attn = _WindowAttention(block.attn, regions(side, side, block.window_size))
        self.register_buffer("move", None if move is None else torch.from_numpy(move))

    def forward(self, cells: Tensor) -> Tensor:
        cells = cells if self.move is None else cells.index_select(1, self.move)
        normed = self.norm1(cells)
        shortcut = cells if self.proj is None else self.proj(normed)
        cells = (_pooled(shortcut) if self.pools else shortcut) + self.attn(normed)
        return cast(Tensor, cells + self.mlp(self.norm2(cells)))


class _WindowAttention(nn.Module):
    """`MultiScaleAttention` within windows that lie side by side."""

    def __init__(self, attention: MultiScaleAttention, windows: list[Region]) -> None:
        super().__init__()
        self.query, self.key, self.value = _cut_in_three(attention.qkv, attention.num_heads)
        self.proj, self.pools = attention.proj, attention.q_pool is not None
        self.heads, self.windows = attention.num_heads, windows
        self.channels = attention.proj.in_features
        self.width = self.channels // self.heads

    def forward(self, cells: Tensor) -> Tensor:
        queries, keys, values = self.query(cells), self.key(cells), self.value(cells)
        queries = _pooled(queries) if self.pools else queries
        answers = [self._attend(queries, keys, values, region) for region in self.windows]
        return cast(Tensor, self.proj(answers[0] if len(answers) == 1 else torch.cat(answers, 1)))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, region: Region) -> Tensor:
        """The answers `(B, n, C)` of a region."""
        windowed_queries = self._of_windows(queries, region, 4 if self.pools else 1)
        keys, values = self._of_windows(keys, region), self._of_windows(values, region)
        if region.absent:
            keys, values = self._with_absent(keys, self.key.bias), self._with_absent(values, self.value.bias)
        scores = windowed_queries @ keys.transpose(-1, -2)
        if region.absent:
            scores = scores + torch.tensor([0.0] * region.cells + [math.log(region.absent)])
        answers = scores.softmax(-1) @ values
        if self.heads > 1:
            answers = answers.reshape(-1, self.heads, int(windowed_queries.shape[1]), self.width).transpose(1, 2)
        return answers.reshape(int(queries.shape[0]), -1, self.channels)

    def _of_windows(self, cells: Tensor, region: Region, shrink: int = 1) -> Tensor:
        """`(B, N, C)` to `(windows * heads, cells of a window, C / heads)`; N and all else are `shrink` times fewer.

        Windows and heads are one axis lest ONNX Runtime make one transposition of this and that of the keys: it would
        move single numbers, where this one moves rows and the product takes the other in passing.
        """
        first, count = region.first // shrink, region.cells // shrink
        # What is an int here is a number in the graph, of which `quantize_scores` learns how many keys there are.
        if region.windows * count < int(cells.shape[1]):
            cells = cells[:, first : first + region.windows * count]
        if self.heads > 1:
            cells = cells.reshape(-1, count, self.heads, self.width).transpose(1, 2)
        return cells.reshape(-1, count, self.width)

    def _with_absent(self, cells: Tensor, bias: Tensor) -> Tensor:
        """One more cell in each window: what all that is not there gives."""
        absent = bias.reshape(self.heads, 1, self.width)
        return torch.cat([cells, torch.cat([absent] * (int(cells.shape[0]) // self.heads))], 1)


def _cut_in_three(layer: nn.Linear, heads: int) -> list[nn.Linear]:
    """The layers of queries (the scores' scale in them), keys and values: the rows that they give lie side by side."""
    width = layer.out_features // 3
    layers = [nn.Linear(layer.in_features, width) for _ in range(3)]
    for third, part in enumerate(layers):
        rows = slice(third * width, (third + 1) * width)
        scale = 1 / math.sqrt(width // heads) if third == 0 else 1.0
        part.load_state_dict({key: values[rows] * scale for key, values in layer.state_dict().items()})
    return layers


def _pooled(cells: Tensor) -> Tensor:
    """`(B, N, C)` to the greatest of each four, `(B, N / 4, C)`."""
    return cells.reshape(int(cells.shape[0]), -1, 4, int(cells.shape[2])).amax(2)
