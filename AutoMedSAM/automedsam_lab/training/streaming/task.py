"""What a streamed training needs to know of the network that it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from automedsam_lab.data.shards.stream import MakeExample

# Means over a micro-batch: "loss", a scalar to minimize, and figures for the log.
Loss = Callable[[nn.Module, dict[str, Tensor], np.random.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class StreamedTask:
    """A network with its examples and its loss.

    Attributes:
        name: checked when a training is resumed.
        network: what is trained.
        make: makes an example of an image, in a process that reads data.
        loss: computes the loss of a micro-batch; its random choices come from the generator or from PyTorch's.
        described: stored with the weights.
    """

    name: str
    network: nn.Module
    make: MakeExample
    loss: Loss
    described: Mapping[str, Any] = field(default_factory=dict)
