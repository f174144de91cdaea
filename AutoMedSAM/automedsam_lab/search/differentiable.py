"""Differentiable search: architecture weights learn by gradient which operation and width each place should have.

First order (DARTS, Liu et al., 2019): network weights learn on one half of the training patients, architecture weights
on the other. Operations are drawn by Gumbel-softmax; an architecture step runs two of them in each block, as in
ProxylessNAS (Cai et al., 2019), so that their qualities are compared on one batch. Three measures are against collapse
to what is cheapest: a fair warm-up of all operations, a penalty on expected cost beyond the target alone (it starts at
half of the target, and so is reached from below), and an entropy term only in the last part, which sharpens what was
learnt.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.batches import Batch, BatchSource
from automedsam_lab.distillation.losses import EmbeddingHead, Term, losses, run, total
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.targets import Targets
from automedsam_lab.search.space import Choice, SpaceCosts
from automedsam_lab.search.supernet import Paths, Supernet, fair_choices, paths_of

SHARED_TERMS = frozenset({Term.LOGITS, Term.EMBEDDING})


@dataclass(frozen=True)
class SearchSettings:
    """How long and how hard to search.

    The time is split: `warmup_share` trains all operations fairly, the rest searches. A run with steps given is
    the same to the bit; with minutes it ends when they are over.

    Attributes:
        minutes: of warm-up and search together, of this process's CPU time, so that other programs do not shorten it.
        steps: of warm-up and search together, if not by time.
        target: expected cost that is not to be exceeded, in the table's unit.
        warmup_share: of the budget.
        batch: images a step.
        rate: of the network's weights.
        architecture_rate: of the architecture weights.
        temperature: of the Gumbel-softmax, at the beginning and at the end.
        cost_weight: of the penalty beyond the target.
        entropy_weight: at the end; 0 until `entropy_begin` of the search.
        entropy_begin: as a share of the search.
        bf16: compute in bfloat16 where that is safe.
        seed: of all chance.
    """

    minutes: float = math.inf
    steps: int | None = None
    target: float = 3.0
    warmup_share: float = 0.5
    batch: int = 6
    rate: float = 1e-3
    architecture_rate: float = 0.05
    temperature: tuple[float, float] = (2.0, 0.4)
    cost_weight: float = 2.0
    entropy_weight: float = 0.05
    entropy_begin: float = 0.6
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.minutes > 0 or (self.steps is not None and self.steps < 2):
            message = "A search needs time: give --minutes above 0, or --steps of at least 2."
            raise AutoMedSAMError(message)
        if math.isinf(self.minutes) and self.steps is None:
            message = "A search needs an end: give --minutes or --steps."
            raise AutoMedSAMError(message)
        if not self.target > 0:
            message = f"The target of a search is a cost above 0, not {self.target:g}: give another --target."
            raise AutoMedSAMError(message)


class ArchitectureWeights(nn.Module):
    """Logits of each block's operations and each stage's widths."""

    def __init__(self, costs: SpaceCosts, start_cost: float) -> None:
        super().__init__()
        space = costs.space
        operations, widths = starting_logits(costs, start_cost)
        self.operations = nn.Parameter(torch.from_numpy(operations).float())
        self.widths = nn.ParameterList(nn.Parameter(torch.from_numpy(one).float()) for one in widths)
        self._blocks = space.blocks
        self._cost = [torch.from_numpy(cost).float() for cost in costs.blocks]
        self._joints = [torch.from_numpy(joint).float() for joint in costs.joints]
        self._stem = torch.from_numpy(costs.stem).float()

    def probabilities(self) -> tuple[Tensor, list[Tensor]]:
        """Of operations `(blocks, operations)` and of the widths of each stage."""
        return self.operations.softmax(-1), [one.softmax(-1) for one in self.widths]

    def expected_cost(self) -> Tensor:
        """As `SpaceCosts.expected`, with a gradient."""
        operations, widths = self.probabilities()
        value = self._stem @ widths[0]
        for block, stage in enumerate(self._blocks):
            value = value + operations[block] @ self._cost[block] @ widths[stage]
        for joint, before, after in zip(self._joints, widths[:-1], widths[1:], strict=True):
            value = value + before @ joint @ after
        return value

    def entropy(self) -> Tensor:
        """The mean entropy of all choices, as a share of that of a uniform one."""
        operations, widths = self.probabilities()
        every = [one for one in (*operations, *widths) if len(one) > 1]
        return torch.stack([-(one * one.clamp(min=1e-9).log()).sum() / math.log(len(one)) for one in every]).mean()

    def two_paths(self, temperature: float, generator: torch.Generator) -> Paths:
        """Two operations of each block, drawn by Gumbel noise and weighted; of each stage one width."""
        drawn = []
        for logits in self.operations:
            noisy = (logits + gumbel(len(logits), generator)) / temperature
            best = noisy.topk(2).indices
            weights = noisy[best].softmax(0)
            drawn.append([(int(index), weight) for index, weight in zip(best, weights, strict=True)])
        widths = []
        for logits in self.widths:
            soft = ((logits + gumbel(len(logits), generator)) / temperature).softmax(0)
            hard = torch.eye(len(logits))[int(soft.argmax())]
            widths.append(hard + soft - soft.detach())
        return Paths(drawn, widths)

    def draw(self, generator: torch.Generator) -> Choice:
        """A single network by the probabilities."""
        operations, widths = self.probabilities()
        chosen = torch.multinomial(operations.detach(), 1, generator=generator)[:, 0]
        wide = [int(torch.multinomial(one.detach(), 1, generator=generator)) for one in widths]
        return Choice(tuple(int(one) for one in chosen), tuple(wide))


def starting_logits(costs: SpaceCosts, wanted: float) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Logits by which a dear operation or width is rarer, just so that the expected cost is as wanted.

    A cost above that of the uniform network, or below all, is met as nearly as possible.
    """
    mean_cost = np.stack([cost.mean(-1) for cost in costs.blocks])
    relative = mean_cost / max(float(mean_cost.mean()), 1e-9)
    space = costs.space

    def logits(lean: float) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        return -lean * relative, [-lean * np.linspace(0, 1, len(options)) for options in space.widths]

    def expected(lean: float) -> float:
        operations, widths = logits(lean)
        return costs.expected(_softmax(operations), [_softmax(one) for one in widths])

    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) > wanted else (low, middle)
    return logits(high if expected(0.0) > wanted else 0.0)


class StagedSearch(ABC):
    """What searches have in common: a fair warm-up, then the search, of so many steps or so much CPU time.

    Args:
        settings: how.

    Attributes:
        step: how many steps were taken.
        spent: seconds of CPU time that they took.
        history: a row for each step of the search.
        parts: names of the attributes whose state is stored.
        generator: of the chance in drawing networks.
    """

    parts: tuple[str, ...]

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.step, self.spent = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.generator = torch.Generator().manual_seed(settings.seed)

    @property
    def progress(self) -> float:
        """From 0 to 1, by steps or by time."""
        by_steps = 0.0 if self.settings.steps is None else self.step / self.settings.steps
        return max(by_steps, self.spent / (60 * self.settings.minutes))

    def advance(self) -> None:
        """A step of the warm-up, or of the search: one of the network's weights and one of the architecture's."""
        began, progress, share = time.process_time(), self.progress, self.settings.warmup_share
        if progress < share:
            self.warm_up()
        else:
            self.search((progress - share) / (1 - share))
        self.step += 1
        self.spent += time.process_time() - began

    @abstractmethod
    def warm_up(self) -> None:
        """Trains the weights of a network that the step's number chooses, fairly."""

    @abstractmethod
    def search(self, phase: float) -> None:
        """Trains weights and architecture, at a `phase` of 0..1 of the search."""

    def state(self) -> dict[str, Any]:
        """What `restore` takes, of tensors and numbers alone."""
        return {
            **{name: getattr(self, name).state_dict() for name in self.parts},
            "generator": self.generator.get_state(),
            "step": self.step,
            "spent": self.spent,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where `state` was taken."""
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.step, self.spent, self.history = int(state["step"]), float(state["spent"]), list(state["history"])

    def temperature(self, phase: float) -> float:
        """Of the Gumbel-softmax: it falls by the same factor in equal times."""
        hot, cold = self.settings.temperature
        return hot * (cold / hot) ** phase

    def regularized(self, phase: float, task: Tensor, cost: Tensor, entropy: Tensor) -> Tensor:
        """The architecture's loss: the task's, the penalty on cost beyond the target and, late, the entropy.

        It also goes into the history.
        """
        settings = self.settings
        late = max(0.0, (phase - settings.entropy_begin) / (1 - settings.entropy_begin))
        beyond = (cost / settings.target - 1).clamp(min=0)
        row = {
            "step": self.step,
            "loss": task,
            "cost": cost,
            "entropy": entropy,
            "temperature": self.temperature(phase),
        }
        self.history.append({name: float(torch.as_tensor(value).detach()) for name, value in row.items()})
        return task + settings.cost_weight * beyond + settings.entropy_weight * late * entropy


class Search(StagedSearch):
    """A search of the encoder in progress.

    Args:
        pack: the images.
        targets: of the teacher; None searches by references alone.
        costs: of the space.
        settings: how.
    """

    parts = ("supernet", "head", "weights", "optimiser", "architecture")

    def __init__(self, pack: Pack, targets: Targets | None, costs: SpaceCosts, settings: SearchSettings) -> None:
        super().__init__(settings)
        torch.manual_seed(settings.seed)
        self.costs = costs
        self.supernet = Supernet(costs.space).train()
        self.head = EmbeddingHead(self.supernet.student.architecture.d_model)
        self.weights = ArchitectureWeights(costs, settings.target / 2)
        parameters = [*self.supernet.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, settings.rate, weight_decay=0.02)
        self.architecture = torch.optim.Adam(self.weights.parameters(), settings.architecture_rate, betas=(0.5, 0.999))
        self.halves = patient_halves(pack, settings.seed)
        self.sources = [
            BatchSource(pack, rows, targets, seed=settings.seed + place) for place, rows in enumerate(self.halves)
        ]
        self.terms = SHARED_TERMS if targets is not None else frozenset()
        self.parameters = parameters

    def warm_up(self) -> None:
        self.train_weights(fair_choices(self.costs.space, self.step, self.settings.seed))

    def search(self, phase: float) -> None:
        self.train_weights(self.weights.draw(self.generator))
        self._train_architecture(phase)

    def train_weights(self, choice: Choice) -> None:
        """One step of the weights of a single network of the space."""
        self.supernet.set_paths(paths_of(self.costs.space, choice))
        loss = self._loss(self.sources[0].batch(self.step, self.settings.batch))
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()

    def _train_architecture(self, phase: float) -> None:
        self.supernet.set_paths(self.weights.two_paths(self.temperature(phase), self.generator))
        task = self._loss(self.sources[1].batch(self.step, self.settings.batch))
        loss = self.regularized(phase, task, self.weights.expected_cost(), self.weights.entropy())
        self.architecture.zero_grad()
        loss.backward()
        self.architecture.step()

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bf16):
            output = run(self.supernet.student, batch)
        loss = total(losses(output, batch, self.head, self.terms), 0.5)
        if not bool(loss.isfinite()):
            message = f"The loss is not finite at step {self.step}: the search diverged; give another --seed."
            raise AutoMedSAMError(message)
        return loss


def patient_halves(pack: Pack, seed: int) -> tuple[list[int], list[int]]:
    """The training images with masks, by patients in two halves: for weights, and for the architecture.

    Raises:
        AutoMedSAMError: if there are fewer than two patients.
    """
    rows = [row for row in pack.of_part(Part.TRAIN) if pack.images[row].masks]
    halves: tuple[list[int], list[int]] = ([], [])
    for name in pack.sets:
        patients = sorted({pack.images[row].patient for row in rows if pack.images[row].set == name})
        order = np.random.default_rng((seed, len(patients))).permutation(len(patients))
        half = {patients[place]: int(rank % 2) for rank, place in enumerate(order)}
        for row in rows:
            if pack.images[row].set == name:
                halves[half[pack.images[row].patient]].append(row)
    if not all(halves):
        message = "A search needs images with masks of at least two training patients; pack more images."
        raise AutoMedSAMError(message)
    return halves


def gumbel(count: int, generator: torch.Generator) -> Tensor:
    """Gumbel noise `(count,)`."""
    uniform = torch.rand(count, generator=generator).clamp(1e-9, 1 - 1e-7)
    return -(-uniform.log()).log()


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))
