"""What the processes of a training add up after each step, in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.shards.stream import MicroBatch
from automedsam_lab.training.distributed import World

LOSS = "loss"
# How many figures a loss may have; a process without an example in a step does not know how many it has.
MAX_FIGURES = 8


@dataclass
class StepSums:
    """Sums over the examples of one step, of one process or of all.

    Attributes:
        figures: sums of the loss and the other figures.
        examples: how many examples trained.
        images: how many images were read.
        error: why reading ended; one sentence.
    """

    figures: dict[str, float | Tensor] = field(default_factory=dict)
    examples: int = 0
    images: int = 0
    error: str | None = None

    @classmethod
    def of(cls, batches: Sequence[MicroBatch]) -> StepSums:
        """The counts of some micro-batches, still without figures."""
        error = next((batch.error for batch in batches if batch.error is not None), None)
        return cls({}, sum(batch.examples for batch in batches), sum(batch.images for batch in batches), error)

    def add(self, figures: dict[str, Tensor], examples: int) -> None:
        """Add the means of a micro-batch of so many examples."""
        for name, value in figures.items():
            self.figures[name] = self.figures.get(name, 0.0) + value.detach().float() * examples

    def means(self) -> dict[str, float]:
        """The figures' means over the examples."""
        return {name: float(value) / max(1, self.examples) for name, value in self.figures.items()}


def add_up(own: StepSums, parameters: Sequence[nn.Parameter], world: World) -> StepSums:
    """Add up the gradients, in place, and the figures of all processes.

    DistributedDataParallel gives the mean over processes; here processes may have unequal numbers of examples.

    Raises:
        AutoMedSAMError: in every process, if one of them could not read its images.
    """
    if world.size == 1:
        if own.error is not None:
            raise AutoMedSAMError(own.error)
        return own
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    names = [LOSS, *sorted(own.figures.keys() - {LOSS})]
    figures = [float(own.figures.get(name, 0.0)) for name in names]
    head = [own.examples, own.images, own.error is not None, *figures, *[0.0] * (MAX_FIGURES - len(figures))]
    message = torch.cat(
        [torch.tensor(head, dtype=torch.float32, device=world.device), *(one.reshape(-1) for one in gradients)]
    )
    torch.distributed.all_reduce(message)
    examples, images, failures, *sums = message[: len(head)].tolist()
    if failures:
        errors: list[Any] = [None] * world.size
        torch.distributed.all_gather_object(errors, own.error)
        raise AutoMedSAMError(next(error for error in errors if error is not None))
    at = len(head)
    for gradient in gradients:
        gradient.copy_(message[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return StepSums(dict(zip(names, sums, strict=False)), int(examples), int(images))


def average_buffers(network: nn.Module, world: World) -> None:
    """Bring running statistics, which each process gathers from its own images, to their mean."""
    if world.size == 1:
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            torch.distributed.all_reduce(buffer)
            buffer.div_(world.size)


def copy_from_first(network: nn.Module, world: World) -> None:
    """Have all processes begin with the weights of the first."""
    if world.size > 1:
        for value in network.state_dict().values():
            torch.distributed.broadcast(value, 0)


def largest(value: float, world: World) -> float:
    """The largest value of all processes."""
    if world.size == 1:
        return value
    tensor = torch.tensor([value], device=world.device)
    torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
    return float(tensor)
