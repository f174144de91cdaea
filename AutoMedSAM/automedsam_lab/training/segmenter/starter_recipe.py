"""Training of the promptable segmenter: image prompts first, then propagation through clips.

`clip_run` has what happens to a clip.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam_lab.checkpoints.matching import compare, read_state_dict, shapes_of
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.clips import Clip
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.segmenter.clip_run import Prompting, evaluate_clips, mean_of_known, run_clips
from automedsam_lab.training.segmenter.losses import DenseHead

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from automedsam_lab.data.segmenter_clips import ClipSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train; the run ends at `steps` or after `minutes`, whichever comes first.

    The first `image_share` of the run shows single frames, the last `long_share` clips of `long_frames`. For the
    last `frozen_norm_share`, batch norms use their running statistics, as inference does. A line is logged after each
    `log_every` steps; after each `validate_every`, the average is validated and everything saved. `point_share` of the
    batches are prompted by points instead of boxes.
    """

    steps: int = 20_000
    minutes: float = math.inf
    learning_rate: float = 6e-4
    weight_decay: float = 0.02
    warmup_steps: int = 150
    ema_decay: float = 0.998
    image_share: float = 0.2
    image_batch: int = 8
    clip_batch: int = 4
    clip_frames: int = 4
    long_share: float = 0.3
    long_frames: int = 5
    frozen_norm_share: float = 0.4
    point_share: float = 0.0
    log_every: int = 50
    validate_every: int = 500

    def batch(self, progress: float) -> tuple[int, int]:
        """The number of clips and of frames in each at a `progress` of 0..1."""
        if progress < self.image_share:
            return self.image_batch, 1
        return self.clip_batch, self.clip_frames if progress < 1 - self.long_share else self.long_frames

    def rate(self, step: int, progress: float) -> float:
        """Linear warm-up, then a cosine down to a twentieth."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * (0.05 + 0.95 * cosine)


def universal_schedule(steps: int = 7000, minutes: float = math.inf) -> Schedule:
    """The schedule of the segmenter that all bundles share, which starts from distilled weights."""
    return Schedule(
        steps=steps,
        minutes=minutes,
        learning_rate=5e-4,
        image_share=0.3,
        point_share=0.25,
        log_every=25,
        validate_every=200,
    )


def tracking_schedule(steps: int = 5000, minutes: float = math.inf) -> Schedule:
    """The schedule of that segmenter's second training: longer clips, so that masks hold far from the prompt."""
    return Schedule(
        steps=steps,
        minutes=minutes,
        learning_rate=3e-4,
        image_share=0.0,
        clip_batch=4,
        clip_frames=6,
        long_share=0.3,
        long_frames=8,
        frozen_norm_share=0.95,
        point_share=0.2,
        log_every=25,
        validate_every=200,
    )


def train_segmenter(
    source: ClipSource,
    validation: Mapping[str, Sequence[Clip]],
    out: Path,
    *,
    schedule: Schedule | None = None,
    architecture: Sam2Architecture = STARTER,
    options: RunOptions | None = None,
) -> Path:
    """Trains and writes `out/checkpoint.pt` (to resume) and `out/segmenter.pt` (the averaged weights).

    Args:
        source: where clips come from.
        validation: fixed clips of patients that are not trained on, by set; their Dice is logged.
        out: the run's folder; TensorBoard's events go there, too.
        schedule: how long and how hard.
        architecture: the network's numbers.
        options: where to train, and what to begin with: weights (`segmenter.pt`), for example of a smaller image size.

    Returns:
        The path of the averaged weights.

    Raises:
        AutoMedSAMError: if there is nothing to resume from, or the weights to begin with are of another network.
    """
    schedule, options = schedule or Schedule(), options or RunOptions()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = build_trainable(architecture).to(device).train()
    if options.start_from is not None:
        model.load_state_dict(_fitting_weights(options.start_from, model))
    out.mkdir(parents=True, exist_ok=True)
    trained = _Trained(model, architecture, schedule)
    if options.resume:
        trained.restore(out / "checkpoint.pt", device)
    writer = _summary_writer(out)
    rng = np.random.default_rng(1000 + trained.step)
    began = time.monotonic() - trained.spent
    recent: list[tuple[float, float, float]] = []

    while True:
        progress = max(trained.step / schedule.steps, (time.monotonic() - began) / (60 * schedule.minutes))
        if progress >= 1:
            break
        count, length = schedule.batch(progress)
        clips = [source.clip(length, architecture.image_size) for _ in range(count)]
        recent.append(trained.learn(clips, rng, progress))
        trained.spent = time.monotonic() - began
        if trained.step % schedule.log_every == 0:
            _log_training(writer, trained, recent, progress)
            recent.clear()
        if trained.step % schedule.validate_every == 0:
            for name, fixed in validation.items():
                prompted, propagated = evaluate_clips(trained.average, fixed)
                logger.info("  validation on %s: prompted %.3f, propagated %.3f", name, prompted, propagated)
                writer.add_scalar(f"validation/{name}/prompted", prompted, trained.step)
                writer.add_scalar(f"validation/{name}/propagated", propagated, trained.step)
            trained.spent = time.monotonic() - began
            trained.save(out)
    trained.save(out)
    writer.close()
    return out / "segmenter.pt"


def _log_training(
    writer: Any, trained: _Trained, recent: Sequence[tuple[float, float, float]], progress: float
) -> None:
    """Means over the last steps: of the loss, of prompted and of propagated frames."""
    loss, prompted, propagated = (mean_of_known(column) for column in zip(*recent, strict=True))
    logger.info(
        "step %d (%.1f min, %.0f%%): loss %.3f, Dice of prompted frames %.3f, of propagated frames %.3f",
        trained.step,
        trained.spent / 60,
        100 * progress,
        loss,
        prompted,
        propagated,
    )
    for name, value in (("loss", loss), ("prompted", prompted), ("propagated", propagated)):
        writer.add_scalar(f"train/{name}", value, trained.step)


def _fitting_weights(path: Path, model: SAM2Base) -> dict[str, Tensor]:
    """The weights of an earlier training of this network; the size of the image may be another.

    Raises:
        AutoMedSAMError: if the file is none, or of another network.
    """
    weights = read_state_dict(path)
    if mismatch := compare(shapes_of(weights), shapes_of(model.state_dict())):
        message = (
            f"{path} does not fit the segmenter's network ({mismatch.summary()}): give a segmenter.pt of its training, "
            "or choose --recipe medsam2 for a published checkpoint."
        )
        raise AutoMedSAMError(message)
    return weights


def _freeze_norms(model: SAM2Base) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _average(average: SAM2Base, model: SAM2Base, decay: float) -> None:
    with torch.no_grad():
        for kept, fresh in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(fresh, 1 - decay)


class _Trained:
    """What a training changes: the network, its head, its average and the optimizer; and how far it is.

    Args:
        model: on the device where it is trained.
        architecture: its numbers.
        schedule: how it is trained.
    """

    def __init__(self, model: SAM2Base, architecture: Sam2Architecture, schedule: Schedule) -> None:
        self.model, self.average = model, copy.deepcopy(model).eval()
        self.step, self.spent = 0, 0.0
        self._architecture, self._schedule = architecture, schedule
        self._head = DenseHead(architecture.d_model).to(model.device)
        self._parameters = [*model.parameters(), *self._head.parameters()]
        self._optimiser = torch.optim.AdamW(
            self._parameters, schedule.learning_rate, weight_decay=schedule.weight_decay
        )

    def learn(self, clips: list[Clip], rng: np.random.Generator, progress: float) -> tuple[float, float, float]:
        """One step; gives the loss and the Dice of prompted and of propagated frames before it."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.rate(self.step, progress)
        if progress > 1 - self._schedule.frozen_norm_share:
            _freeze_norms(self.model)
        prompting = Prompting(
            again=float(rng.choice([0.0, 0.0, 0.5, 1.0])), points=rng.random() < self._schedule.point_share
        )
        result = run_clips(self.model, clips, rng, prompting=prompting, head=self._head)
        self._optimiser.zero_grad()
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self.step += 1
        _average(self.average, self.model, min(self._schedule.ema_decay, (1 + self.step) / (10 + self.step)))
        return result.loss.item(), result.prompted_dice, result.propagated_dice

    def save(self, out: Path) -> None:
        """Writes `segmenter.pt` and `checkpoint.pt`."""
        weights = {"model": self.average.state_dict(), "architecture": self._architecture.to_manifest()}
        state = {name: part.state_dict() for name, part in self._parts().items()}
        save_checkpoint(weights, out / "segmenter.pt")
        save_checkpoint({**state, "step": self.step, "spent": self.spent}, out / "checkpoint.pt")

    def restore(self, path: Path, device: str) -> None:
        """Takes everything from a checkpoint of the same training.

        Raises:
            AutoMedSAMError: if there is none.
        """
        if not path.is_file():
            message = f"There is no checkpoint to resume from at {path}: start without --resume."
            raise AutoMedSAMError(message)
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step, self.spent = int(state["step"]), float(state["spent"])

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "head": self._head, "average": self.average, "optimiser": self._optimiser}


class _NoWriter:
    """Stands in where TensorBoard is not installed."""

    def add_scalar(self, *_args: object) -> None: ...

    def close(self) -> None: ...


def _summary_writer(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return _NoWriter()
    return SummaryWriter(str(out))  # type: ignore[no-untyped-call]
