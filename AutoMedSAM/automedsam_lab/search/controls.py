"""What a search has to beat: random search of the same budget, and a single operation everywhere.

A search is worth its trouble if its network is better than one drawn at random among as many candidates with weights
trained for as long (Li and Talwalkar, 2020; Yang et al., 2020), and than the simplest network of the same cost.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from automedsam.errors import AutoMedSAMError
from automedsam_lab.distillation.batches import Batch
from automedsam_lab.distillation.losses import run
from automedsam_lab.search.differentiable import Search
from automedsam_lab.search.space import Choice, affordable_choices, random_choice, single_operation_choices
from automedsam_lab.search.supernet import paths_of
from automedsam_lab.training.segmenter.losses import mask_terms

CANDIDATES = 20
# A network's cost lies between this share of the target and the target.
LEAST_SHARE = 0.8
_RANK_BATCHES, _RANK_STEP = 3, 10_000_000
SEARCHED, RANDOM, SINGLE = "search", "random", "single operation"


@dataclass(frozen=True)
class Candidate:
    """A network with what is known of it before it is trained alone.

    Attributes:
        origin: "search", "random" or "single operation".
        choice: the network.
        cost: by the table.
        loss: with shared weights, on the patients that those were not trained on; lower is better.
    """

    origin: str
    choice: Choice
    cost: float
    loss: float


def train_random(task: Search, seconds: float, rng: np.random.Generator) -> int:
    """Goes on with a supernet after its fair warm-up, each step by a random network, for so much CPU time.

    Returns:
        How many steps it was.
    """
    spent, steps = 0.0, 0
    while spent < seconds:
        began = time.process_time()
        task.train_weights(random_choice(task.costs.space, rng))
        task.step += 1
        steps += 1
        spent += time.process_time() - began
    return steps


def searched_candidates(task: Search, rng: np.random.Generator, count: int = CANDIDATES) -> list[Candidate]:
    """Networks drawn by the architecture weights, best first.

    They cost nearly as much as the target allows, unless the search has settled on cheaper ones.
    """
    operations, widths = task.weights.probabilities()
    numbers = operations.detach().double().numpy(), [one.detach().double().numpy() for one in widths]
    normalized = numbers[0] / numbers[0].sum(1, keepdims=True), [one / one.sum() for one in numbers[1]]
    try:
        choices = affordable_choices(task.costs, _budget(task), count, rng, normalized)
    except AutoMedSAMError:
        choices = affordable_choices(task.costs, (0.0, task.settings.target), count, rng, normalized)
    return _ranked(task, SEARCHED, choices)


def random_candidates(task: Search, rng: np.random.Generator, count: int = CANDIDATES) -> list[Candidate]:
    """Networks drawn uniformly, best first."""
    return _ranked(task, RANDOM, affordable_choices(task.costs, _budget(task), count, rng))


def single_candidates(task: Search) -> list[Candidate]:
    """Networks of one operation, best first."""
    return _ranked(task, SINGLE, single_operation_choices(task.costs, task.settings.target))


def _budget(task: Search) -> tuple[float, float]:
    return LEAST_SHARE * task.settings.target, task.settings.target


def _ranked(task: Search, origin: str, choices: Sequence[Choice]) -> list[Candidate]:
    batches = [task.sources[1].batch(_RANK_STEP + place, 2 * task.settings.batch) for place in range(_RANK_BATCHES)]
    found = [Candidate(origin, one, task.costs.of(one), shared_loss(task, one, batches)) for one in choices]
    return sorted(found, key=lambda candidate: candidate.loss)


@torch.no_grad()
def shared_loss(task: Search, choice: Choice, batches: Sequence[Batch]) -> float:
    """The loss against references of a network with shared weights; batch norms use each batch's own statistics."""
    task.supernet.train()
    task.supernet.set_paths(paths_of(task.costs.space, choice))
    values = []
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=task.settings.bf16):
            output = run(task.supernet.student, batch)
        wanted = torch.nn.functional.adaptive_avg_pool2d(batch.masks[None], output.logits.shape[-1])[0]
        entropy, dice = mask_terms(output.logits, wanted)
        weight = batch.mask_weight
        values.append(float(((5 * entropy + dice) * weight).sum() / weight.sum()))
    return float(np.mean(values))
