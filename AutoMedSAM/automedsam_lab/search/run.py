"""A study: search, its controls, and the winners of each trained alone under equal conditions."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import read_stored
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.evaluate import rows_with_masks
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.targets import Targets
from automedsam_lab.distillation.train import VALIDATION_IMAGES, DistillationSettings, distill, validate
from automedsam_lab.models.student.architecture import StudentArchitecture
from automedsam_lab.models.student.network import load_student
from automedsam_lab.search.controls import (
    RANDOM,
    SEARCHED,
    SINGLE,
    Candidate,
    random_candidates,
    searched_candidates,
    single_candidates,
    train_random,
)
from automedsam_lab.search.differentiable import Search, SearchSettings, StagedSearch
from automedsam_lab.search.space import Choice, SpaceCosts

RESULT, CHECKPOINT, ARCHITECTURE = "search.json", "search.pt", "architecture.json"
WARMUP, CONTROL, WINNERS = "warmup.pt", "control.pt", "winners.json"
_CHECKPOINT_SECONDS = 180.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudySettings:
    """What is done besides the search itself.

    Attributes:
        search: the search's settings.
        final_steps: steps for which each winner is trained alone from fresh weights.
        final: how the winners are trained; its architecture and steps are not looked at.
        singles: how many of the single-operation networks are trained.
    """

    search: SearchSettings
    final_steps: int = 200
    final: DistillationSettings = field(default_factory=DistillationSettings)
    singles: int = 1


@dataclass(frozen=True)
class Trained:
    """A winner after its training alone.

    Attributes:
        origin: what it won among.
        architecture: its numbers.
        cost: by the table.
        shared_loss: with shared weights, by which it was chosen.
        dice: by set on validation patients, and their mean as "validation".
    """

    origin: str
    architecture: StudentArchitecture
    cost: float
    shared_loss: float
    dice: dict[str, float]


def run_study(
    images: tuple[Pack, Targets | None],
    costs: SpaceCosts,
    out: Path,
    *,
    settings: StudySettings,
    resume: bool = False,
) -> list[Trained]:
    """Searches, runs the controls, trains the winners, and writes `search.json` and `architecture.json`.

    Args:
        images: packed, and what a teacher makes of them; None goes by references alone.
        costs: of the space.
        out: the study's folder.
        settings: budgets.
        resume: go on from what is in the folder.

    Returns:
        The winners, best first; the first one's architecture is `architecture.json`.

    Raises:
        AutoMedSAMError: if there is nothing to resume from, there is a search that was not to be resumed, or nothing is
            affordable.
    """
    pack, targets = images
    task = Search(pack, targets, costs, settings.search)
    run_search(task, out, resume=resume)
    chosen = _winners(pack, targets, task, out, settings.singles)
    trained = [_train(one, pack, targets, costs, out, settings) for one in chosen]
    trained.sort(key=lambda one: -one.dice["validation"])
    trained[0].architecture.write(out / ARCHITECTURE)
    _write_result(trained, task, targets, out, settings)
    return trained


def verdict(trained: list[Trained]) -> str:
    """Whether the search was worth it, in one sentence, for reports."""
    scores = {
        origin: max(one.dice["validation"] for one in trained if one.origin == origin) for origin in _origins(trained)
    }
    ours = scores[SEARCHED]
    others = {origin: score for origin, score in scores.items() if origin != SEARCHED}
    numbers = ", ".join(f"{origin} {score:.3f}" for origin, score in others.items())
    better = all(ours > score for score in others.values())
    claim = "beat all of its controls" if better else "did not beat all of its controls"
    return (
        f"The search {claim}: mean validation Dice {ours:.3f}; {numbers}. One seed each: small differences are noise."
    )


def _origins(trained: list[Trained]) -> list[str]:
    return list(dict.fromkeys(one.origin for one in trained))


def run_search(task: StagedSearch, out: Path, *, resume: bool) -> None:
    """Takes all steps that are left; writes `warmup.pt` after the warm-up, `search.pt` now and then and at the end.

    Raises:
        AutoMedSAMError: if there is nothing to resume from, or there is a search that was not to be resumed.
    """
    if resume:
        restore_search(task, out / CHECKPOINT)
    elif (out / CHECKPOINT).exists():
        message = f"There is a search in {out} already: go on with it by --resume, or name another folder."
        raise AutoMedSAMError(message)
    out.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    share = task.settings.warmup_share
    while task.progress < 1:
        before = task.progress < share
        try:
            task.advance()
        except KeyboardInterrupt:
            save_search(task, out / CHECKPOINT)
            raise
        if before and task.progress >= share:
            save_search(task, out / WARMUP)
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            save_search(task, out / CHECKPOINT)
            saved = time.monotonic()
            row = task.history[-1] if task.history else {}
            logger.info(f"step {task.step}, {task.progress:.0%}: " + ", ".join(f"{k} {v:.3f}" for k, v in row.items()))
    if not (out / WARMUP).is_file():
        save_search(task, out / WARMUP)
    save_search(task, out / CHECKPOINT)


def _winners(pack: Pack, targets: Targets | None, task: Search, out: Path, singles: int) -> list[Candidate]:
    """The best network of the search and of each control; kept in a file, so that a resumed study ranks none again."""
    path = out / WINNERS
    if path.is_file():
        rows = json.loads(path.read_text("utf-8"))["winners"]
        choices = [Choice(tuple(row["choice"]["operations"]), tuple(row["choice"]["widths"])) for row in rows]
        return [Candidate(**{**row, "choice": choice}) for row, choice in zip(rows, choices, strict=True)]
    found = searched_candidates(task, np.random.default_rng(task.settings.seed))[:1]
    found += _controls(pack, targets, task, out, singles)
    write_json({"winners": [asdict(one) for one in found]}, path)
    return found


def _controls(pack: Pack, targets: Targets | None, task: Search, out: Path, singles: int) -> list[Candidate]:
    """The best of random networks, and of those of one operation, by a supernet of as much CPU time."""
    control = Search(pack, targets, task.costs, task.settings)
    if (out / CONTROL).is_file():
        restore_search(control, out / CONTROL)
    else:
        restore_search(control, out / WARMUP)
        train_random(control, max(0.0, task.spent - control.spent), np.random.default_rng(task.settings.seed + 1))
        save_search(control, out / CONTROL)
    rng = np.random.default_rng(task.settings.seed + 2)
    return [*random_candidates(control, rng)[:1], *single_candidates(control)[:singles]]


def _train(
    candidate: Candidate, pack: Pack, targets: Targets | None, costs: SpaceCosts, out: Path, settings: StudySettings
) -> Trained:
    architecture = costs.space.architecture(candidate.choice, name=_named(candidate, costs))
    values = {
        **{name: getattr(settings.final, name) for name in ("terms", "batch", "rate", "bf16", "seed", "ema")},
        "steps": settings.final_steps,
        # A short training must not end before its learning rate has risen.
        "warmup": max(1, min(settings.final.warmup, settings.final_steps // 10)),
        "architecture": architecture,
        "validate_minutes": float("inf"),
    }
    folder = out / architecture.name.replace(" ", "_")
    resume = (folder / "checkpoint.pt").is_file()
    student = distill(pack, targets, folder, settings=DistillationSettings(**values), resume=resume)
    dice = validate(load_student(student), pack, rows_with_masks(pack, Part.VALIDATION, VALIDATION_IMAGES))
    return Trained(candidate.origin, architecture, candidate.cost, candidate.loss, dice)


def _named(candidate: Candidate, costs: SpaceCosts) -> str:
    if candidate.origin != SINGLE:
        return {SEARCHED: "searched", RANDOM: "random"}[candidate.origin]
    return f"all {costs.space.operations[candidate.choice.operations[0]]}"


def _write_result(
    trained: list[Trained], task: Search, targets: Targets | None, out: Path, settings: StudySettings
) -> None:
    operations, widths = task.weights.probabilities()
    result: dict[str, Any] = {
        "verdict": verdict(trained),
        "machine": describe_machine(),
        "settings": {**asdict(settings.search), "minutes": min(settings.search.minutes, 1e9)},
        "final_steps": settings.final_steps,
        "unit": task.costs.unit,
        "cpu_minutes": task.spent / 60,
        "steps": task.step,
        "with_targets": 0 if targets is None else int(targets.done.sum()),
        "space": asdict(task.costs.space),
        "probabilities": {
            "operations": operations.detach().numpy().round(4).tolist(),
            "widths": [one.detach().numpy().round(4).tolist() for one in widths],
        },
        "history": task.history[:: max(1, len(task.history) // 200)],
        "networks": [
            {
                "origin": one.origin,
                "cost": one.cost,
                "shared_loss": one.shared_loss,
                "dice": one.dice,
                "architecture": one.architecture.to_json(),
            }
            for one in trained
        ],
    }
    write_json(result, out / RESULT)


def save_search(task: StagedSearch, path: Path) -> None:
    """Writes a search's state."""
    unfinished = path.with_suffix(".part")
    torch.save(task.state(), unfinished)
    unfinished.replace(path)


def restore_search(task: StagedSearch, path: Path) -> None:
    """Goes on from a written state.

    Raises:
        AutoMedSAMError: if there is none, or it is of another search.
    """
    if not path.is_file():
        message = f"There is no search to resume at {path}: start without --resume."
        raise AutoMedSAMError(message)
    state = read_stored(path)
    try:
        task.restore(state)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        message = f"{path} is of another search (its space or settings differ): resume it with its own, or start anew."
        raise AutoMedSAMError(message) from error
