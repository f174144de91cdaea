"""The search space: of each block an operation, of each stage a width; and what a network in it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import OPERATION_NAMES
from automedsam_lab.models.student.architecture import StudentArchitecture
from automedsam_lab.search.latency_table import CostTable, down_key, operation_key, stem_key

SIDES = (64, 32, 16, 8)
# Milliseconds of stem and stages in INT8 on one thread.
TARGETS_MS = {"s": 2.0, "m": 3.2, "l": 5.0}
_TRIES = 20_000


@dataclass(frozen=True)
class SearchSpace:
    """Which networks there are.

    Attributes:
        depths: blocks of each stage.
        widths: of each stage, rising; a block's weights are those of the greatest.
        operations: what a block may be.
    """

    depths: tuple[int, ...] = (2, 2, 4, 2)
    widths: tuple[tuple[int, ...], ...] = ((16, 32), (32, 64), (64, 128), (96, 192))
    operations: tuple[str, ...] = OPERATION_NAMES

    @property
    def blocks(self) -> list[int]:
        """The stage of each block."""
        return [stage for stage, depth in enumerate(self.depths) for _ in range(depth)]

    @property
    def largest(self) -> tuple[int, ...]:
        """The greatest width of each stage."""
        return tuple(options[-1] for options in self.widths)

    def architecture(self, choice: Choice, name: str = "") -> StudentArchitecture:
        """The network of a choice."""
        names = [self.operations[one] for one in choice.operations]
        stages, begin = [], 0
        for depth in self.depths:
            stages.append(tuple(names[begin : begin + depth]))
            begin += depth
        widths = tuple(options[one] for options, one in zip(self.widths, choice.widths, strict=True))
        return StudentArchitecture(widths, tuple(stages), name=name)


@dataclass(frozen=True)
class Choice:
    """One network of a space.

    Attributes:
        operations: of each block, the index into the space's.
        widths: of each stage, the index into its widths.
    """

    operations: tuple[int, ...]
    widths: tuple[int, ...]


class SpaceCosts:
    """The costs of a space's parts, from a table.

    Args:
        space: the space.
        table: measured milliseconds, or multiply-accumulates.

    Attributes:
        blocks: of each block `(operations, widths)`.
        joints: for each pair of neighbouring stages `(widths, widths)`, the strided convolution between them.
        stem: `(widths,)` of the first stage.
        unit: of all of them.

    Raises:
        AutoMedSAMError: if the table lacks a part.
    """

    def __init__(self, space: SearchSpace, table: CostTable) -> None:
        self.space, self.unit = space, table.kind.unit
        self.blocks = [
            np.array(
                [
                    [table.cost(operation_key(name, width, SIDES[stage])) for width in space.widths[stage]]
                    for name in space.operations
                ]
            )
            for stage in space.blocks
        ]
        self.joints = [
            np.array([[table.cost(down_key(before, after, SIDES[stage])) for after in nexts] for before in options])
            for stage, (options, nexts) in enumerate(zip(space.widths[:-1], space.widths[1:], strict=True), start=1)
        ]
        self.stem = np.array([table.cost(stem_key(width)) for width in space.widths[0]])

    def of(self, choice: Choice) -> float:
        """The cost of a network's stem and stages."""
        stages = self.space.blocks
        value = self.stem[choice.widths[0]]
        value += sum(
            self.blocks[block][operation, choice.widths[stages[block]]]
            for block, operation in enumerate(choice.operations)
        )
        pairs = pairwise(choice.widths)
        return float(value + sum(joint[pair] for joint, pair in zip(self.joints, pairs, strict=True)))

    def expected(self, operations: NDArray[np.float64], widths: Sequence[NDArray[np.float64]]) -> float:
        """The expected cost of probabilities `(blocks, operations)` and, of each stage, `(widths,)`."""
        stages = self.space.blocks
        value = float(self.stem @ widths[0])
        value += sum(float(operations[b] @ self.blocks[b] @ widths[stage]) for b, stage in enumerate(stages))
        pairs = pairwise(widths)
        return value + sum(float(one @ joint @ other) for joint, (one, other) in zip(self.joints, pairs, strict=True))


def random_choice(
    space: SearchSpace,
    rng: np.random.Generator,
    operations: NDArray[np.float64] | None = None,
    widths: Sequence[NDArray[np.float64]] | None = None,
) -> Choice:
    """Draws a network, uniformly or by probabilities as of `SpaceCosts.expected`."""
    count = len(space.operations)
    drawn = [
        int(rng.choice(count, p=None if operations is None else operations[block]))
        for block in range(len(space.blocks))
    ]
    chosen = [
        int(rng.choice(len(options), p=None if widths is None else widths[stage]))
        for stage, options in enumerate(space.widths)
    ]
    return Choice(tuple(drawn), tuple(chosen))


def affordable_choices(
    costs: SpaceCosts,
    budget: tuple[float, float],
    count: int,
    rng: np.random.Generator,
    probabilities: tuple[NDArray[np.float64], Sequence[NDArray[np.float64]]] | None = None,
) -> list[Choice]:
    """Draws different networks whose cost lies in a budget.

    Args:
        costs: of the space.
        budget: the least and the greatest cost.
        count: how many at most.
        rng: the source of chance.
        probabilities: of operations and widths; uniform if None.

    Returns:
        The networks; fewer than `count` where they are rare.

    Raises:
        AutoMedSAMError: if not one was found.
    """
    found: dict[Choice, None] = {}
    for _ in range(_TRIES):
        choice = random_choice(costs.space, rng, *(probabilities or (None, None)))
        if budget[0] <= costs.of(choice) <= budget[1]:
            found[choice] = None
        if len(found) == count:
            break
    if not found:
        message = f"No network of the space costs between {budget[0]:.3g} and {budget[1]:.3g}: give another --target."
        raise AutoMedSAMError(message)
    return list(found)


def single_operation_choices(costs: SpaceCosts, budget: float) -> list[Choice]:
    """For each operation but identity, the dearest affordable network that has it everywhere."""
    space, found = costs.space, []
    widths = list(product(*(range(len(options)) for options in space.widths)))
    for index, name in enumerate(space.operations):
        choices = [Choice((index,) * len(space.blocks), chosen) for chosen in widths]
        inside = [choice for choice in choices if name != "identity" and costs.of(choice) <= budget]
        if inside:
            found.append(max(inside, key=costs.of))
    return found
