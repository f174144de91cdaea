"""The trunk of a distilled image encoder, in place of SAM 2's Hiera. Only the FP32 backend and the lab import it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from automedsam.sam2.efficient_blocks import OPERATIONS, conv_norm


class EfficientTrunk(nn.Module):
    """Four stages at strides 4, 8, 16 and 32; a strided convolution opens each.

    Args:
        widths: channels of each stage.
        operations: names of the operations of each stage, in order; see `OPERATIONS`.
        stages: the stages' modules in place of these operations, as an architecture search has them.
    """

    def __init__(
        self, widths: Sequence[int], operations: Sequence[Sequence[str]], stages: list[nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, max(16, widths[0] // 2), 3, stride=2),
            conv_norm(max(16, widths[0] // 2), widths[0], 3, stride=2),
        )
        self.down = nn.ModuleList(conv_norm(before, after, 3, stride=2) for before, after in pairwise(widths))
        self.stages = nn.ModuleList(
            stages
            or [
                nn.Sequential(*(OPERATIONS[name](width) for name in names))
                for width, names in zip(widths, operations, strict=True)
            ]
        )
        self.channel_list = list(widths[::-1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(B, 3, S, S)` to four levels, from stride 4 to stride 32."""
        level, levels = self.stem(image), []
        for index, stage in enumerate(self.stages):
            level = stage(self.down[index - 1](level) if index else level)
            levels.append(level)
        return levels
