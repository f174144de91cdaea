"""A small U-Net that segments what a box shows: a network for streamed training that fits any machine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam_lab.training.segmenter.clip_run import filled_boxes

_GROUPS = 4


class BoxUnet(nn.Module):
    """Three levels with group normalization, which does not depend on the batch.

    Args:
        width: channels of the first level; doubled at each further one.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        channels = (width, 2 * width, 4 * width)
        self.down = nn.ModuleList(
            _block(old, new, stride) for old, new, stride in zip((4, *channels), channels, (2, 2, 2), strict=False)
        )
        self.up = nn.ModuleList(_block(a + b, b, 1) for a, b in ((channels[2], channels[1]), (channels[1], width)))
        self.read = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Mask logits `(B, S, S)` of images `(B, 3, S, S)` in 0..1 and half-open boxes `(B, 4)` `x0, y0, x1, y1`."""
        size = images.shape[-1]
        features = torch.cat([images - 0.5, filled_boxes(boxes, size)[:, None]], 1)
        levels: list[Tensor] = []
        for block in self.down:
            features = block(features)
            levels.append(features)
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            features = F.interpolate(features, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            features = block(torch.cat([features, skip], 1))
        logits = F.interpolate(self.read(features), size=(size, size), mode="bilinear", align_corners=False)
        return logits[:, 0]


def _block(old: int, new: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(old, new, 3, stride, 1, bias=False),
        nn.GroupNorm(_GROUPS, new),
        nn.ReLU(),
        nn.Conv2d(new, new, 3, 1, 1, bias=False),
        nn.GroupNorm(_GROUPS, new),
        nn.ReLU(),
    )
