"""How a streamed training runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class StreamedModel(str, Enum):
    """The networks that can be trained on shards."""

    UNET = "unet"
    STARTER = "starter"


class Precision(str, Enum):
    """In what the network computes; weights and their averages are always kept in 32 bits."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    def resolved(self, device: str) -> Precision:
        """AUTO as what suits a device: bfloat16 on GPUs that have it, float16 on others, float32 on CPUs."""
        if self is not Precision.AUTO:
            return self
        if not device.startswith("cuda"):
            return Precision.FP32
        import torch

        return Precision.BF16 if torch.cuda.is_bf16_supported() else Precision.FP16

    @property
    def dtype(self) -> torch.dtype:
        """PyTorch's name."""
        import torch

        return {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}.get(self, torch.float32)


@dataclass(frozen=True)
class StreamedSettings:
    """How a streamed training runs.

    A step takes `lanes * batch` images, whatever the number of processes; each process accumulates the gradients of
    its lanes.

    Attributes:
        epochs: how often each image is seen.
        steps: optimizer steps after which training ends before that; None for no limit.
        lanes: micro-batches of a step; the number of processes must divide it.
        batch: images of a micro-batch.
        rate: the peak learning rate.
        weight_decay: of AdamW.
        warmup: steps until the peak learning rate.
        max_grad_norm: the largest norm of the gradient.
        precision: of the computation.
        seed: of the order, the weights, the prompts and the dropout.
        workers: processes that read data, for each process that trains; None for as many as there are cores to spare.
        log_every: steps between two rows of the log.
        checkpoint_every: steps between two checkpoints; the end of an epoch has one, too.
        validation_steps: batches of the validation part after each epoch, at most.
    """

    epochs: int = 1
    steps: int | None = None
    lanes: int = 8
    batch: int = 4
    rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 100
    max_grad_norm: float = 1.0
    precision: Precision = Precision.AUTO
    seed: int = 0
    workers: int | None = None
    log_every: int = 10
    checkpoint_every: int = 200
    validation_steps: int = 50

    def total_steps(self, per_epoch: int) -> int:
        """Steps of the whole training."""
        total = self.epochs * per_epoch
        return total if self.steps is None else min(total, self.steps)

    def rate_at(self, step: int, total: int) -> float:
        """Linear warm-up, then a cosine down to a twentieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(step / max(1, total), 1.0)))
        return self.rate * min(1.0, (step + 1) / max(1, self.warmup)) * (0.05 + 0.95 * cosine)

    def fixed(self) -> dict[str, Any]:
        """What a resumed training may not change: it would train on some images twice and on others never."""
        return {"lanes": self.lanes, "batch": self.batch, "seed": self.seed}
