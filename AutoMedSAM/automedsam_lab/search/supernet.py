"""All networks of a space in one, with shared weights (one-shot; Pham et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from automedsam.sam2.efficient_blocks import OPERATIONS
from automedsam.sam2.efficient_trunk import EfficientTrunk
from automedsam_lab.models.student.network import Student
from automedsam_lab.search.space import Choice, SearchSpace


@dataclass(frozen=True)
class Paths:
    """What runs in a forward pass.

    Attributes:
        operations: of each block, pairs of an operation's index and its weight; None weighs 1.
        widths: of each stage, a weight of each width; one-hot where a single one runs.
    """

    operations: Sequence[Sequence[tuple[int, Tensor | None]]]
    widths: Sequence[Tensor]


class MixedBlock(nn.Module):
    """Every operation at the greatest width."""

    def __init__(self, space: SearchSpace, stage: int) -> None:
        super().__init__()
        self.options = nn.ModuleList(OPERATIONS[name](space.widths[stage][-1]) for name in space.operations)

    def forward(self, inputs: Tensor, chosen: Sequence[tuple[int, Tensor | None]]) -> Tensor:
        """The weighted sum of the chosen operations' outputs."""
        parts = [self.options[index](inputs) * (1 if weight is None else weight) for index, weight in chosen]
        result: Tensor = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        return result


class MixedStage(nn.Module):
    """Blocks of one stage; a narrower width is the first channels, the others are 0 (FBNetV2, Wan et al., 2020)."""

    masks: Tensor

    def __init__(self, space: SearchSpace, stage: int) -> None:
        super().__init__()
        options = space.widths[stage]
        self.blocks = nn.ModuleList(MixedBlock(space, stage) for _ in range(space.depths[stage]))
        self.register_buffer(
            "masks", torch.stack([(torch.arange(options[-1]) < width).float() for width in options]), persistent=False
        )
        self.paths: Sequence[Sequence[tuple[int, Tensor | None]]] = ()
        self.width = torch.ones(len(options))

    def forward(self, inputs: Tensor) -> Tensor:
        mask = (self.width @ self.masks).reshape(1, -1, 1, 1)
        features = inputs * mask
        for block, chosen in zip(self.blocks, self.paths, strict=True):
            features = block(features, chosen) * mask
        return features


class Supernet(nn.Module):
    """A student whose stages hold all operations of a space."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        largest = space.architecture(Choice((0,) * len(space.blocks), tuple(len(one) - 1 for one in space.widths)))
        stages: list[nn.Module] = [MixedStage(space, stage) for stage in range(len(space.depths))]
        self.student = Student(largest, EfficientTrunk(largest.widths, largest.stages, stages))

    def set_paths(self, paths: Paths) -> None:
        """Chooses what the next forward passes run."""
        begin = 0
        for stage, depth in zip(self._stages(), self.space.depths, strict=True):
            stage.paths = paths.operations[begin : begin + depth]
            begin += depth
        for stage, width in zip(self._stages(), paths.widths, strict=True):
            stage.width = width

    def _stages(self) -> Iterator[MixedStage]:
        for stage in self.student.image_encoder.trunk.stages:
            assert isinstance(stage, MixedStage)
            yield stage


def paths_of(space: SearchSpace, choice: Choice) -> Paths:
    """A single network of the space."""
    widths = [torch.eye(len(options))[index] for options, index in zip(space.widths, choice.widths, strict=True)]
    return Paths([[(operation, None)] for operation in choice.operations], widths)


def fair_choices(space: SearchSpace, turn: int, seed: int) -> Choice:
    """Networks by turn of which each operation of each block comes once in as many turns as there are operations.

    Strict fairness (FairNAS, Chu et al., 2021): no operation is trained more than another before they are compared.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + turn // len(space.operations))
    place = turn % len(space.operations)
    operations = [int(torch.randperm(len(space.operations), generator=generator)[place]) for _ in space.blocks]
    chance = torch.Generator().manual_seed(seed * 1_000_003 + 500_009 + turn)
    widths = [int(torch.randint(len(options), (1,), generator=chance)) for options in space.widths]
    return Choice(tuple(operations), tuple(widths))
