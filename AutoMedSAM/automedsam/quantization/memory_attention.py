"""SAM 2's memory attention in a form that takes a fraction of the products, and computes the same.

Four things change (Ravi et al., 2024, arXiv:2408.00714, as in `sam2.modeling.sam.transformer.RoPEAttention`):

- Values are mixed before they are projected. Each row of a softmax adds up to one, so that a linear layer may as well
  come after it: the memories' values are then as wide as a memory (64) instead of the model (256), the layer that
  makes values and the one that follows the attention are one, and all layers share the same values.
- The rotary pairs of queries and keys are apart by half the width instead of side by side: the same sum in another
  order, and a rotation is two products of whole halves.
- Keys of memories are made channel by channel, as the scores need them, so that nothing of their size is transposed.
- The scores' scale is in the queries' layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from automedsam.sam2.torch_networks import MemoryAttention, _tokens

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


class FusedMemoryAttention(MemoryAttention):
    """`MemoryAttention` with the inputs and outputs that it has there.

    Args:
        model: a SAM 2 model in evaluation mode.
    """

    def __init__(self, model: SAM2Base) -> None:
        super().__init__(model)
        self.own = nn.ModuleList(_SelfAttention(layer.self_attn) for layer in self.layers)
        self.cross = nn.ModuleList(_MemoryCrossAttention(layer.cross_attn_image) for layer in self.layers)
        del self.age_encoding, self.memory_position
        grid = model.memory_encoder.position_encoding(torch.zeros(1, 1, self.cells, self.cells))
        self.register_buffer("memory_position", grid.flatten(2)[0, :, None])
        ages = model.maskmem_tpos_enc.detach().reshape(-1, self.memory_width).T
        self.register_buffer("age_encoding", ages.clone())

    def forward(self, features: Tensor, memories: Tensor, ages: Tensor, pointers: Tensor, distances: Tensor) -> Tensor:
        current = (_tokens(features) + self.image_position)[0]
        channels = memories.flatten(2).permute(1, 0, 2)
        keys = channels + self.memory_position + self.age_encoding[:, ages][..., None]
        keys = keys.reshape(self.memory_width, -1)
        # A pointer is as wide as the model, a memory narrower: a pointer is cut into several tokens.
        split = self.width // self.memory_width
        pointer = pointers.reshape(-1, self.memory_width)
        pointer_keys = (pointer + self._when(distances).repeat_interleave(split, 0)).T
        values = torch.cat([channels.permute(1, 2, 0).reshape(-1, self.memory_width), pointer])
        turns = (self.cosine, self.sine)
        for layer, own, cross in zip(self.layers, self.own, self.cross, strict=True):
            current = current + own(layer.norm1(current), turns)
            current = current + cross(layer.norm2(current), keys, pointer_keys, values, turns)
            current = current + layer.linear2(layer.activation(layer.linear1(layer.norm3(current))))
        found: Tensor = self.norm(current).T.reshape(1, self.width, self.cells, self.cells)
        return found

    def give_back(self, model: SAM2Base) -> None:
        """Gives a SAM 2 model weights with which its memory attention computes what this one does.

        Of values and the layer after the attention only the product is known: the values' layer then changes nothing,
        and the other has the product.

        Args:
            model: of the architecture that this was made of.
        """
        with torch.no_grad():
            model.maskmem_tpos_enc.copy_(self.age_encoding.T.reshape(model.maskmem_tpos_enc.shape))
            for layer, own, cross in zip(model.memory_attention.layers, self.own, self.cross, strict=True):
                pairs: tuple[tuple[Any, Any], ...] = ((layer.self_attn, own), (layer.cross_attn_image, cross))
                for attention, faster in pairs:
                    faster.queries.give_back(attention.q_proj, math.sqrt(attention.internal_dim))
                    faster.keys.give_back(attention.k_proj)
                    values, out = attention.v_proj, attention.out_proj
                    nn.init.eye_(values.weight)
                    values.bias.zero_()
                    out.weight.zero_()
                    out.weight[:, : values.in_features] = faster.out_proj.weight
                    out.bias.copy_(faster.out_proj.bias)


class _Attention(nn.Module):
    """The layers of an attention: queries with the scores' scale in them, keys, and values with what follows."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.queries = _Halves(attention.q_proj, 1 / math.sqrt(attention.internal_dim))
        self.keys = _Halves(attention.k_proj)
        self.out_proj = _after(attention.v_proj, attention.out_proj)


class _SelfAttention(_Attention):
    def forward(self, tokens: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """`(f * f, C)` to the same."""
        scores = self.queries(tokens, turns) @ self.keys(tokens, turns).T
        mixed: Tensor = self.out_proj(scores.softmax(-1) @ tokens)
        return mixed


class _MemoryCrossAttention(_Attention):
    def forward(
        self, tokens: Tensor, keys: Tensor, pointer_keys: Tensor, values: Tensor, turns: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Tokens `(f * f, C)`, keys `(M, K * f * f)` and `(M, 4 * P)`, values of all `(..., M)` to `(f * f, C)`."""
        all_keys = torch.cat([self.keys.of_channels(keys, turns), self.keys.unturned(pointer_keys)], 1)
        scores = self.queries(tokens, turns) @ all_keys
        mixed: Tensor = self.out_proj(scores.softmax(-1) @ values)
        return mixed


class _Halves(nn.Module):
    """A layer of queries or keys whose rotary pairs lie half the width apart: two layers of half the width."""

    def __init__(self, layer: nn.Linear, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = (self._every_other(layer, start, scale) for start in (0, 1))

    def forward(self, tokens: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """`(n, in)` to turned `(n, out)`."""
        cosine, sine = turns
        first, second = self.first(tokens), self.second(tokens)
        return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)

    def of_channels(self, channels: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """`(in, K * f * f)` to turned `(out, K * f * f)`."""
        cosine, sine = (turn.T[:, None] for turn in turns)
        shape = (cosine.shape[0], -1, cosine.shape[2])
        first, second = (half.reshape(shape) for half in self._apply_to_channels(channels))
        turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine])
        return turned.reshape(2 * shape[0], -1)

    def unturned(self, channels: Tensor) -> Tensor:
        """`(in, n)` to `(out, n)`."""
        return torch.cat(self._apply_to_channels(channels))

    def give_back(self, layer: nn.Linear, scale: float = 1.0) -> None:
        """Gives a layer the weights of both halves, times `scale`."""
        for start, half in enumerate((self.first, self.second)):
            layer.weight[start::2], layer.bias[start::2] = half.weight * scale, half.bias * scale

    def _apply_to_channels(self, channels: Tensor) -> list[Tensor]:
        return [half.weight @ channels + half.bias[:, None] for half in (self.first, self.second)]

    @staticmethod
    def _every_other(layer: nn.Linear, start: int, scale: float) -> nn.Linear:
        half = nn.Linear(layer.in_features, layer.out_features // 2)
        half.load_state_dict({key: values[start::2] * scale for key, values in layer.state_dict().items()})
        return half


def _after(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One layer for two in a row."""
    merged = nn.Linear(first.in_features, second.out_features)
    one, other = first.state_dict(), second.state_dict()
    outer = other["weight"].double()
    merged.load_state_dict(
        {"weight": outer @ one["weight"].double(), "bias": outer @ one["bias"].double() + other["bias"]}
    )
    return merged
