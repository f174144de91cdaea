"""Training on shards in one process or in many: the same images in the same steps, and the same loss up to rounding."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automedsam.core.memory import peak_memory_mb
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.checkpoints.matching import read_stored
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.shards.index import ShardIndex
from automedsam_lab.data.shards.order import EpochOrder, lanes_of
from automedsam_lab.data.shards.stream import LaneStream, MicroBatch
from automedsam_lab.training.distributed import World, is_restarted, join_world, spare_workers
from automedsam_lab.training.log import TrainingLog
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.streaming.exchange import (
    LOSS,
    StepSums,
    add_up,
    average_buffers,
    copy_from_first,
    largest,
)
from automedsam_lab.training.streaming.settings import Precision, StreamedSettings
from automedsam_lab.training.streaming.task import StreamedTask

logger = logging.getLogger(__name__)

WEIGHTS, CHECKPOINT, LOG = "weights.pt", "checkpoint.pt", "log.jsonl"
TRAIN, VALIDATION = "train", "val"


def train_streamed(
    task: StreamedTask, shards: Path, out: Path, settings: StreamedSettings, options: RunOptions
) -> Path:
    """Train a network on the part "train" of a folder of shards.

    Under `torchrun` the processes share each step's images among themselves. Gradients are summed over all examples of
    a step and divided by their number, so that the number of processes changes nothing but the order of additions.
    A process that `torchrun --max-restarts` starts again continues from the last checkpoint.

    Args:
        task: what to train.
        shards: the folder that `prepare sa-med2d --shards` wrote.
        out: the run's folder, for `checkpoint.pt` (to resume), `weights.pt`, `log.jsonl` and TensorBoard's events.
        settings: how to train.
        options: where to train, and whether to resume.

    Returns:
        `out/weights.pt`.

    Raises:
        AutoMedSAMError: if the shards are incomplete or damaged, the processes do not share the lanes evenly, there is
            nothing to resume or a training that should be, or the loss is not finite.
    """
    index = ShardIndex.open(shards)
    if not index.images(TRAIN):
        message = f"{shards} has no images for training; prepare the shards with another --split."
        raise AutoMedSAMError(message)
    found = (out / CHECKPOINT).is_file()
    resume = options.resume or is_restarted()
    if options.resume and not is_restarted() and not found:
        message = f"There is no checkpoint to resume from at {out / CHECKPOINT}: start without --resume."
        raise AutoMedSAMError(message)
    if found and not resume:
        message = f"{out} holds a training already: give --resume to continue it, or another folder."
        raise AutoMedSAMError(message)
    with join_world(options.device) as world:
        run = _Run(task, index, out, settings, world)
        out.mkdir(parents=True, exist_ok=True)
        if resume and found:
            run.restore()
        elif world.main:
            # Rows of a run that ended before its first checkpoint.
            (out / LOG).unlink(missing_ok=True)
        run.train()
    return out / WEIGHTS


class _Run:
    """One training: the network, its optimizer, and where in the data it is."""

    def __init__(
        self, task: StreamedTask, index: ShardIndex, out: Path, settings: StreamedSettings, world: World
    ) -> None:
        self._task, self._index, self._out, self._settings, self._world = task, index, out, settings, world
        self._lanes = lanes_of(world.rank, world.size, settings.lanes)
        self._network = task.network.to(world.device).train()
        copy_from_first(self._network, world)
        self._parameters = [one for one in self._network.parameters() if one.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, settings.rate, weight_decay=settings.weight_decay)
        self._precision = settings.precision.resolved(world.device)
        kind = world.device.partition(":")[0]
        self._scaler = torch.amp.GradScaler(kind, enabled=self._precision is Precision.FP16)
        self._workers = spare_workers(world) if settings.workers is None else settings.workers
        self._epoch, self._step, self._steps, self._spent = 0, 0, 0, 0.0
        self._total = settings.total_steps(self._order(0).steps)
        shards = index.parts[TRAIN]
        if world.main and world.size > len(shards):
            logger.warning(
                "Number of shards: %d, of processes: %d. Several processes read the same shard; write smaller ones "
                "with --shard-mb to avoid that.",
                len(shards),
                world.size,
            )

    def restore(self) -> None:
        """Continue from the last checkpoint.

        Raises:
            AutoMedSAMError: if it is of another training.
        """
        path = self._out / CHECKPOINT
        stored = read_stored(path)
        wanted = {"task": self._task.name, "shards": self._index.digest, **self._settings.fixed()}
        if not isinstance(stored, dict) or "position" not in stored:
            message = f"{path} is not a checkpoint of a streamed training; give the folder of one."
            raise AutoMedSAMError(message)
        other = [name for name, value in wanted.items() if stored["fixed"].get(name) != value]
        if other:
            message = f"The training in {self._out} has another {', '.join(other)}; resume it with its own."
            raise AutoMedSAMError(message)
        self._network.load_state_dict(stored["model"])
        self._optimizer.load_state_dict(stored["optimizer"])
        if stored["scaler"]:
            self._scaler.load_state_dict(stored["scaler"])
        position = stored["position"]
        self._epoch, self._step, self._steps = (int(position[name]) for name in ("epoch", "step", "steps"))
        self._spent = float(position["spent"])
        if self._world.main:
            _drop_later_rows(self._out / LOG, self._steps)

    def train(self) -> None:
        """All steps that are left."""
        world = self._world
        log = TrainingLog(self._out) if world.main else None
        began = time.monotonic() - self._spent
        while self._steps < self._total:
            order = self._order(self._epoch)
            for figures in self._epoch_rows(order):
                self._spent = time.monotonic() - began
                if log is not None:
                    log.write(figures)
            if self._step == order.steps:
                self._epoch, self._step = self._epoch + 1, 0
            self._spent = time.monotonic() - began
            self._save()
            validation = self._validate()
            if log is not None and validation:
                log.write({"step": self._steps, "epoch": self._epoch, **validation})
        if log is not None:
            self._save_weights()
            log.close()

    def _order(self, epoch: int) -> EpochOrder:
        settings = self._settings
        return EpochOrder(self._index.parts[TRAIN], settings.lanes, settings.batch, settings.seed, epoch)

    def _epoch_rows(self, order: EpochOrder) -> Iterator[dict[str, Any]]:
        """Trains until the end of the epoch or of the training; the rows of the log."""
        settings = self._settings
        stream = LaneStream(self._index.folder, order, self._lanes, self._task.make, self._step)
        batches = iter(stream.loader(self._workers))
        recent: list[StepSums] = []
        began = time.monotonic()
        while self._step < order.steps and self._steps < self._total:
            rate = settings.rate_at(self._steps, self._total)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            recent.append(self._learn(self._batches(batches)))
            self._step, self._steps = self._step + 1, self._steps + 1
            if self._steps % settings.checkpoint_every == 0 and self._step < order.steps:
                self._save()
            if self._steps % settings.log_every == 0 or self._step == order.steps or self._steps == self._total:
                seconds = max(time.monotonic() - began, 1e-9)
                images = sum(row.images for row in recent)
                yield {
                    "step": self._steps,
                    "epoch": self._epoch + 1,
                    **_means(recent),
                    "rate": rate,
                    "images": images,
                    "images_per_s": round(images / seconds, 2),
                    "processes": self._world.size,
                    "peak_mb": round(largest(peak_memory_mb(), self._world), 1),
                }
                recent.clear()
                began = time.monotonic()

    def _learn(self, batches: list[MicroBatch]) -> StepSums:
        """One step of the optimizer."""
        self._optimizer.zero_grad(set_to_none=True)
        sums = StepSums.of(batches)
        for batch in batches:
            if batch.tensors is not None:
                figures = self._compute(batch, self._settings.seed, self._epoch)
                self._scaler.scale(figures[LOSS] * batch.examples).backward()
                sums.add(figures, batch.examples)
        sums = add_up(sums, self._parameters, self._world)
        if not sums.examples:
            return sums
        if not math.isfinite(sums.means()[LOSS]):
            message = f"The training diverged at step {self._steps + 1} (its loss is not finite): try a lower --lr."
            raise AutoMedSAMError(message)
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad /= sums.examples
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return sums

    def _batches(self, batches: Iterator[MicroBatch]) -> list[MicroBatch]:
        """The micro-batches of this process in the next step; fewer if one could not be read."""
        found: list[MicroBatch] = []
        while len(found) < len(self._lanes) and not (found and found[-1].error is not None):
            found.append(next(batches))
        return found

    def _compute(self, batch: MicroBatch, *seeds: int) -> dict[str, Tensor]:
        """The loss and the figures of a micro-batch, which depend on its place in the epoch alone."""
        assert batch.tensors is not None
        entropy = np.random.SeedSequence((*seeds, batch.step, batch.lane))
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        tensors = {name: value.to(self._world.device, non_blocking=True) for name, value in batch.tensors.items()}
        with self._autocast():
            return self._task.loss(self._network, tensors, np.random.default_rng(entropy))

    def _validate(self) -> dict[str, float]:
        """Mean figures over a fixed sample of the validation part; none if there is no such part."""
        shards, settings = self._index.parts[VALIDATION], self._settings
        if not shards or not settings.validation_steps:
            return {}
        order = EpochOrder(shards, settings.lanes, settings.batch, settings.seed, 0, shuffle=False)
        stream = LaneStream(self._index.folder, order, self._lanes, self._task.make)
        batches = iter(stream.loader(self._workers))
        rows = []
        self._network.eval()
        with torch.no_grad():
            for _ in range(min(order.steps, settings.validation_steps)):
                step = self._batches(batches)
                sums = StepSums.of(step)
                for batch in step:
                    if batch.tensors is not None:
                        sums.add(self._compute(batch, settings.seed), batch.examples)
                rows.append(add_up(sums, [], self._world))
        self._network.train()
        return {f"validation_{name}": value for name, value in _means(rows).items()}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision is Precision.FP32:
            return contextlib.nullcontext()
        return torch.autocast(self._world.device.partition(":")[0], self._precision.dtype)

    def _save(self) -> None:
        """Writes the checkpoint; all processes take part."""
        average_buffers(self._network, self._world)
        if not self._world.main:
            return
        position = {"epoch": self._epoch, "step": self._step, "steps": self._steps, "spent": self._spent}
        content = {
            "fixed": {"task": self._task.name, "shards": self._index.digest, **self._settings.fixed()},
            "model": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "position": position,
        }
        save_checkpoint(content, self._out / CHECKPOINT)

    def _save_weights(self) -> None:
        model = {name: value.cpu() for name, value in self._network.state_dict().items()}
        save_checkpoint({"model": model, "task": self._task.name, **self._task.described}, self._out / WEIGHTS)


def _means(rows: list[StepSums]) -> dict[str, float]:
    """Means over the examples of several steps."""
    total = StepSums()
    for row in rows:
        total.examples += row.examples
        for name, value in row.figures.items():
            total.figures[name] = total.figures.get(name, 0.0) + value
    return total.means()


def _drop_later_rows(path: Path, step: int) -> None:
    """Leaves out rows of steps that a resumed training runs again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        # A killed process may leave half a line.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    with atomic_write(path) as unfinished:
        unfinished.write_text("".join(kept), encoding="utf-8")
