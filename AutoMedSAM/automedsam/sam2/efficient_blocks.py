"""The operations that an encoder's stages choose from, each on `(B, C, h, w)` and of the same shape out.

All activations are ReLU and all norms batch norms, which fold into plain INT8 convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

HEAD_WIDTH = 16
_EPSILON = 1e-4


def conv_norm(
    before: int, after: int, side: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """A convolution without bias, its batch norm, and ReLU if `act`."""
    convolution = nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


class Residual(nn.Module):
    """A body around which its input passes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = inputs + self.body(inputs)
        return result


def mbconv(width: int, side: int, expand: int) -> nn.Module:
    """Inverted bottleneck with a depthwise convolution (MobileNetV2, Sandler et al., 2018)."""
    inner = width * expand
    return Residual(
        nn.Sequential(
            conv_norm(width, inner), conv_norm(inner, inner, side, groups=inner), conv_norm(inner, width, act=False)
        )
    )


def fused_mbconv(width: int, expand: int) -> nn.Module:
    """Inverted bottleneck with one dense 3 x 3 convolution (EfficientNetV2, Tan and Le, 2021)."""
    return Residual(nn.Sequential(conv_norm(width, width * expand, 3), conv_norm(width * expand, width, act=False)))


class RepDepthwise(nn.Module):
    """Depthwise 3 x 3, depthwise 1 x 1 and identity, added: one depthwise 3 x 3 once it is trained.

    Structural re-parameterization (RepVGG, Ding et al., 2021) in the form of RepViT (Wang et al., 2024).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.large = conv_norm(width, width, 3, groups=width, act=False)
        self.small = nn.Conv2d(width, width, 1, groups=width)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.norm(self.large(inputs) + self.small(inputs) + inputs)
        return result

    def merged(self) -> nn.Conv2d:
        """The same in one convolution, of running statistics."""
        large: Any = self.large
        small: Any = self.small
        kernel, bias = folded(large[0].weight, 0, large[1])
        kernel[:, :, 1:2, 1:2] += small.weight + 1
        kernel, bias = folded(kernel, bias + small.bias, self.norm)
        width = len(bias)
        one: Any = nn.Conv2d(width, width, 3, padding=1, groups=width)
        one.weight.data, one.bias.data = kernel, bias
        merged: nn.Conv2d = one
        return merged


def folded(kernel: Tensor, bias: Tensor | float, norm: Any) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution and the batch norm behind it, of running statistics."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return kernel * scale[:, None, None, None], (bias - norm.running_mean) * scale + norm.bias


def rep_block(width: int) -> nn.Module:
    """RepViT's block: a re-parameterized depthwise convolution mixes tokens, two 1 x 1 mix channels."""
    mixer = Residual(nn.Sequential(conv_norm(width, 2 * width), conv_norm(2 * width, width, act=False)))
    return nn.Sequential(RepDepthwise(width), mixer)


class LinearAttention(nn.Module):
    """ReLU linear attention (EfficientViT, Cai et al., 2023), whose cost grows with the number of tokens alone.

    Attributes:
        received: `(B, h, w)`, how much each token was attended to in the last forward in training mode, the mean of
            heads and queries; None before.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            message = f"Linear attention needs a width that {HEAD_WIDTH} divides, not {width}."
            raise ValueError(message)
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.out = conv_norm(width, width, act=False)
        self.received: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        batch, width, height, columns = inputs.shape
        tokens = height * columns
        with torch.autocast(inputs.device.type, enabled=False):
            qkv = self.qkv(inputs.float()).reshape(batch, self.heads, 3, HEAD_WIDTH, tokens)
            # The mean over tokens, not the sum, keeps the numbers in the range of the others, for INT8.
            query, key, value = qkv[:, :, 0].relu(), qkv[:, :, 1].relu() / tokens, qkv[:, :, 2]
            weight = 1 / ((query * key.sum(-1, keepdim=True)).sum(2, keepdim=True) + _EPSILON)
            if self.training:
                weighted_query = (query * weight).sum(-1, keepdim=True)
                self.received = (key * weighted_query).sum(2).mean(1).reshape(batch, height, columns)
            mixed = ((value @ key.transpose(-1, -2)) @ query) * weight
        result: Tensor = self.out(mixed.reshape(batch, width, height, columns))
        return result


def attention_block(width: int) -> nn.Module:
    """Linear attention and an inverted bottleneck, as EfficientViT's block."""
    return nn.Sequential(Residual(LinearAttention(width)), mbconv(width, 3, 2))


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    **{
        f"mb_k{side}_e{expand}": partial(mbconv, side=side, expand=expand) for side in (3, 5, 7) for expand in (2, 4, 6)
    },
    "fused_e2": partial(fused_mbconv, expand=2),
    "fused_e4": partial(fused_mbconv, expand=4),
    "rep": rep_block,
    "attention": attention_block,
    "identity": lambda _width: nn.Identity(),
}


def reparameterized(network: nn.Module) -> nn.Module:
    """A copy for inference in which every `RepDepthwise` is one convolution."""
    for module in network.modules():
        if isinstance(module, LinearAttention):
            module.received = None  # part of a graph of gradients, which is not copied
    merged = copy.deepcopy(network).eval()
    with torch.no_grad():
        _merge(merged)
    return merged


def _merge(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, RepDepthwise):
            setattr(module, name, child.merged())
        else:
            _merge(child)
