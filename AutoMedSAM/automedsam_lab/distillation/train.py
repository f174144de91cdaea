"""Distillation of a student, with the prompt in the loop; stopped at any time, and resumed as if it had not been."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import read_stored
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.batches import BatchSource
from automedsam_lab.distillation.evaluate import rows_with_masks
from automedsam_lab.distillation.losses import EmbeddingHead, Term, losses, run, total
from automedsam_lab.distillation.pack import Pack, unit_range
from automedsam_lab.distillation.targets import Targets
from automedsam_lab.metrics.masks import dice
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture
from automedsam_lab.models.student.network import Student, box_prompts
from automedsam_lab.training.log import TrainingLog

CHECKPOINT, STUDENT = "checkpoint.pt", "student.pt"
VALIDATION_IMAGES = 12


@dataclass(frozen=True)
class DistillationSettings:
    """How a student is trained.

    The run ends at `steps` or after `minutes` of training, whichever comes first; with steps alone, the run is the same
    to the bit however often it is stopped and resumed.

    Attributes:
        architecture: the student's.
        terms: what of the teacher to learn from, beside the references.
        steps: optimizer steps.
        minutes: of training, evaluation left out.
        batch: images a step, each with two prompts.
        rate: the highest learning rate.
        weight_decay: of AdamW (Loshchilov and Hutter, 2019).
        warmup: steps until the highest rate.
        ema: decay of the averaged weights.
        frozen_norm_share: the last part of the run, in which batch norms use their running statistics.
        bf16: compute in bfloat16 where that is safe.
        seed: of weights, images and prompts.
        checkpoint_minutes: between two checkpoints.
        validate_minutes: between two validations.
    """

    architecture: StudentArchitecture = field(default_factory=lambda: PRESETS["m"])
    terms: frozenset[Term] = frozenset(Term)
    steps: int = 20_000
    minutes: float = math.inf
    batch: int = 8
    rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 200
    ema: float = 0.998
    frozen_norm_share: float = 0.25
    bf16: bool = True
    seed: int = 0
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 10.0

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.steps < 1:
            message = "A training needs time: give at least one step, and minutes above 0."
            raise AutoMedSAMError(message)

    def rate_at(self, step: int, progress: float) -> float:
        """Linear warm-up, then a cosine down to a fiftieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * cosine)


class Distillation:
    """A training in progress.

    Args:
        pack: the images.
        targets: of the teacher; None teaches from references alone.
        settings: how.
        out: the run's folder.
    """

    def __init__(self, pack: Pack, targets: Targets | None, settings: DistillationSettings, out: Path) -> None:
        if settings.terms and targets is None:
            message = "Terms of a teacher were asked for without its targets: give --targets, or --terms reference."
            raise AutoMedSAMError(message)
        torch.set_flush_denormal(True)
        torch.manual_seed(settings.seed)
        self.pack, self.settings, self.out = pack, settings, out
        rows = pack.of_part(Part.TRAIN)
        if targets is None or not settings.terms:
            targets = None
            rows = [row for row in rows if pack.images[row].masks]
        self.source = BatchSource(pack, rows, targets, seed=settings.seed)
        self.student = Student(settings.architecture).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.head = EmbeddingHead(settings.architecture.d_model)
        self.average = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.parameters = [*self.student.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, settings.rate, weight_decay=settings.weight_decay)
        self.step, self.spent = 0, 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1, by steps or by time."""
        return max(self.step / self.settings.steps, self.spent / (60 * self.settings.minutes))

    def advance(self) -> dict[str, float]:
        """Trains one step; the values of the loss."""
        began, progress, settings = time.monotonic(), self.progress, self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate_at(self.step, progress)
        self.student.train()
        if progress > 1 - settings.frozen_norm_share:
            _freeze_norms(self.student)
        batch = self.source.batch(self.step, settings.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            output = run(self.student, batch)
        found = losses(output, batch, self.head, settings.terms)
        loss = total(found, progress)
        if not bool(loss.isfinite()):
            message = f"The loss is {float(loss)} at step {self.step}: the training diverged; lower --lr."
            raise AutoMedSAMError(message)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        _average(self.average, self.student, min(settings.ema, (1 + self.step) / (10 + self.step)))
        self.spent += time.monotonic() - began
        return {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in found.items()}}

    def save(self) -> None:
        """Writes `checkpoint.pt`, to resume from, and `student.pt`, the averaged weights."""
        parts: dict[str, Any] = {
            "student": self.student, "head": self.head, "average": self.average, "optimiser": self.optimiser
        }  # fmt: skip
        state = {name: part.state_dict() for name, part in parts.items()}
        about = {"step": self.step, "spent": self.spent, "settings": described(self.settings)}
        weights = {"model": self.average.state_dict(), "architecture": self.settings.architecture.to_json(), **about}
        for name, content in ((STUDENT, weights), (CHECKPOINT, {**state, **about})):
            unfinished = self.out / f"{name}.part"
            torch.save(content, unfinished)
            unfinished.replace(self.out / name)

    def restore(self) -> None:
        """Goes on from `checkpoint.pt`.

        Raises:
            AutoMedSAMError: if there is none, or it is of a run with other settings.
        """
        path = self.out / CHECKPOINT
        if not path.is_file():
            message = f"There is no checkpoint to resume from at {path}: start without --resume."
            raise AutoMedSAMError(message)
        state = read_stored(path)
        if not isinstance(state, dict) or "settings" not in state:
            message = f"{path} is no checkpoint of a distillation: give the folder of one, or start without --resume."
            raise AutoMedSAMError(message)
        current, kept = described(self.settings), state["settings"]
        other = sorted(name for name in current if name not in _FREE and current[name] != kept.get(name))
        if other:
            message = f"The run in {self.out} has other settings ({', '.join(other)}): resume it with its own."
            raise AutoMedSAMError(message)
        for name in ("student", "head", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])


# What a resumed run may change: how long it is, and how often it writes.
_FREE = ("steps", "minutes", "checkpoint_minutes", "validate_minutes")


def described(settings: DistillationSettings) -> dict[str, Any]:
    """The settings as plain JSON values."""
    values = {**asdict(settings), "architecture": settings.architecture.to_json()}
    return {**values, "terms": sorted(term.value for term in settings.terms)}


def distill(
    pack: Pack, targets: Targets | None, out: Path, *, settings: DistillationSettings, resume: bool = False
) -> Path:
    """Trains a student and writes its folder.

    Args:
        pack: the images.
        targets: of the teacher; rows that are not there yet teach from references alone until they are.
        out: for `student.pt`, `checkpoint.pt`, `log.jsonl` and TensorBoard's events.
        settings: how.
        resume: go on from the checkpoint in `out`.

    Returns:
        The path of `student.pt`.

    Raises:
        AutoMedSAMError: if there is nothing to resume from, there is a training that was not to be resumed, or the
            training diverges.
    """
    training = Distillation(pack, targets, settings, out)
    if resume:
        training.restore()
    elif (out / CHECKPOINT).exists():
        message = f"There is a training in {out} already: go on with it by --resume, or name another folder."
        raise AutoMedSAMError(message)
    out.mkdir(parents=True, exist_ok=True)
    log = TrainingLog(out)
    validation = rows_with_masks(pack, Part.VALIDATION, VALIDATION_IMAGES)
    recent: list[dict[str, float]] = []
    saved = validated = time.monotonic()
    while training.progress < 1:
        try:
            recent.append(training.advance())
        except KeyboardInterrupt:
            training.save()
            raise
        now = time.monotonic()
        if training.step % 50 == 0:
            means = {name: float(np.mean([row[name] for row in recent])) for name in recent[0]}
            with_targets = 0 if targets is None else int(targets.done.sum())
            log.write(
                {"step": training.step, "minutes": training.spent / 60, "with_targets": with_targets, **_rounded(means)}
            )
            recent.clear()
        if now - saved > 60 * settings.checkpoint_minutes:
            training.save()
            saved = time.monotonic()
        if validation and now - validated > 60 * settings.validate_minutes:
            log.write({"step": training.step, **_rounded(validate(training.average, pack, validation))})
            validated = time.monotonic()
    training.save()
    if validation:
        log.write({"step": training.step, **_rounded(validate(training.average, pack, validation))})
    log.close()
    return out / STUDENT


@torch.no_grad()
def validate(student: Student, pack: Pack, rows: Sequence[int]) -> dict[str, float]:
    """Mean Dice from exact boxes at 256 pixels by set, and the mean of the sets as "validation"."""
    by_set: dict[str, list[float]] = {}
    for row in rows:
        image, masks = pack.images[row], pack.masks(row)
        levels = student.encode(torch.from_numpy(unit_range(pack.pixels[row], image.content))[None])
        boxes = torch.tensor(image.boxes[: len(masks)], dtype=torch.float32)
        logits, _ = student.decode(levels.repeated(len(boxes)), box_prompts(boxes))
        large = nn.functional.interpolate(logits[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)
        scores = [dice(mask, found) for mask, found in zip(masks, (large[:, 0] > 0).numpy(), strict=True)]
        by_set.setdefault(image.set, []).append(float(np.mean(scores)))
    means = {name: float(np.mean(scores)) for name, scores in by_set.items()}
    return {
        **{f"dice/{name}": value for name, value in means.items()},
        "validation": float(np.mean(list(means.values()))),
    }


def _freeze_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _average(average: nn.Module, fresh: nn.Module, decay: float) -> None:
    with torch.no_grad():
        pairs: list[tuple[Tensor, Tensor]] = list(
            zip(average.state_dict().values(), fresh.state_dict().values(), strict=True)
        )
        for kept, new in pairs:
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in row.items()}
