"""Training of the promptable segmenter: image prompts first, then propagation through clips.

SAM 2 is trained on interactive clips (Ravi et al., 2024, section 4 and appendix D.2); here a box starts the
object on the first frame and, in half of the clips, further boxes arrive on later frames, on top of the memory.
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
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam_lab.checkpoints.matching import compare, read_state_dict, shapes_of
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.clips import Clip, jitter_box, normalize, tight_box
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.segmenter.losses import LOGIT_LIMIT, DenseHead, clip_loss, hard_dice

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from automedsam_lab.data.segmenter_clips import ClipSource

logger = logging.getLogger(__name__)

BOX_LABELS = (2, 3)


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


@dataclass(frozen=True)
class ClipResult:
    """The loss of a batch of clips and the mean Dice of its prompted and of its propagated frames."""

    loss: Tensor
    prompted_dice: float
    propagated_dice: float


def run_clips(
    model: SAM2Base,
    clips: list[Clip],
    rng: np.random.Generator,
    *,
    prompts: float,
    jitter: bool = True,
    points: bool = False,
    head: DenseHead | None = None,
) -> ClipResult:
    """Runs a batch of clips of equal length through the model, each started by a prompt on its first frame.

    Args:
        model: the network, on the device where it shall run.
        clips: B clips of T frames.
        rng: jitters the boxes and chooses the frames that are prompted again.
        prompts: the probability that a later frame is prompted, too.
        jitter: draw the boxes as a detector would, a little off.
        points: prompt with points on and off the object, not with boxes.
        head: adds its loss to the clips' own.
    """
    device = model.device
    count, length = len(clips), clips[0].frames.shape[0]
    frames = torch.stack([clip.frames for clip in clips], 1).to(device)
    masks = torch.stack([clip.masks for clip in clips], 1).to(device)
    features = model.forward_image(normalize(frames.flatten(0, 1)))
    _, vision, positions, sizes = model._prepare_backbone_features(features)
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}

    losses, dices = [], []
    for index in range(length):
        part = slice(index * count, (index + 1) * count)
        current = [level[:, part] for level in vision]
        prompted = index == 0 or (rng.random() < prompts and bool(masks[index].flatten(1).any(1).all()))
        prompt, dense = None, None
        if prompted and points:
            prompt = _points(masks[index, :, 0], rng)
        elif prompted:
            prompt = _boxes(masks[index, :, 0], rng if jitter else None)
            dense = _dense_prompt(model, prompt)
        output, heads, _, _ = model._track_step(
            index,
            index == 0,
            current,
            [level[:, part] for level in positions],
            sizes,
            prompt,
            None,
            memory,
            1000,
            False,
            dense,
        )
        logits, _, ious, low, _, pointer, appearing = heads
        present = (masks[index].flatten(1).sum(1) > 8).float()
        losses.append(clip_loss(logits, ious, appearing[:, 0], masks[index], present))
        dices.append(hard_dice(low, masks[index], present))
        if index < length - 1:
            output.update(pred_masks=low, obj_ptr=pointer)
            size = (model.image_size, model.image_size)
            high = F.interpolate(low, size=size, mode="bilinear", align_corners=False)
            model._encode_memory_in_output(
                current, sizes, prompt, True, high.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), appearing, output
            )
            memory["cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"][index] = output
    loss = torch.stack(losses).mean()
    if head is not None:
        kinds = torch.tensor([clip.kind for clip in clips], device=device).repeat(length)
        loss = loss + head.loss(features["backbone_fpn"], masks.flatten(0, 1), kinds)
    return ClipResult(loss, dices[0], _mean(dices[1:]))


def _boxes(masks: Tensor, rng: np.random.Generator | None) -> dict[str, Tensor]:
    exact = [tight_box(mask.cpu() > 0) for mask in masks]
    boxes = [jitter_box(box, masks.shape[-1], rng) for box in exact] if rng else exact
    corners = [box.reshape(2, 2) for box in boxes]
    labels = torch.tensor([BOX_LABELS] * len(corners), dtype=torch.int32, device=masks.device)
    return {"point_coords": torch.stack(corners).to(masks.device), "point_labels": labels}


def _points(masks: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """One to three points on each object of masks `(B, S, S)`, and up to two off it but near."""
    on, off = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    chosen = []
    for mask in masks.cpu() > 0:
        x0, y0, x1, y1 = tight_box(mask).int().tolist()
        dx, dy = (x1 - x0) // 4 + 2, (y1 - y0) // 4 + 2
        near = torch.zeros_like(mask)
        near[max(0, y0 - dy) : y1 + dy, max(0, x0 - dx) : x1 + dx] = True
        for where, count in ((mask, on), (near & ~mask, off)):
            cells = where.nonzero()
            chosen.append(cells[rng.integers(len(cells), size=count)].flip(-1).float() + 0.5)
    points = torch.cat(chosen).reshape(len(masks), on + off, 2)
    labels = torch.tensor([[1] * on + [0] * off] * len(masks), dtype=torch.int32, device=masks.device)
    return {"point_coords": points.to(masks.device), "point_labels": labels}


def _dense_prompt(model: SAM2Base, boxes: dict[str, Tensor]) -> Tensor:
    """The filled boxes as low-resolution logits `(B, 1, S / 4, S / 4)`, where SAM 2 takes an earlier mask.

    From scratch, a decoder needs thousands of steps to find a box from its two corner tokens alone (after 500,
    its Dice was 0.3, half of what the filled box itself has). Where the box is, is then simply there to be seen.
    """
    filled = filled_boxes(boxes["point_coords"].flatten(1), model.image_size)
    logits: Tensor = model.mask_downsample(filled[:, None])
    return logits


def filled_boxes(boxes: Tensor, size: int) -> Tensor:
    """Each pixel's share `(B, size, size)` that lies in the half-open boxes `(B, 4)` of `x0, y0, x1, y1`."""
    edge = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
    low, high = boxes[:, :2, None], boxes[:, 2:, None]
    share = (torch.minimum(edge + 1, high) - torch.maximum(edge, low)).clamp(0, 1)
    return share[:, 1, :, None] * share[:, 0, None, :]


def evaluate_clips(model: SAM2Base, clips: Sequence[Clip], batch: int = 4) -> tuple[float, float]:
    """Mean Dice of the first, prompted frames and of the propagated ones, with exact boxes."""
    was_training = model.training
    model.eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        results = [
            run_clips(model, list(clips[first : first + batch]), rng, prompts=0.0, jitter=False)
            for first in range(0, len(clips), batch)
        ]
    model.train(was_training)
    prompted = float(np.mean([r.prompted_dice for r in results]))
    return prompted, _mean([r.propagated_dice for r in results])


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
            for name, clips in validation.items():
                prompted, propagated = evaluate_clips(trained.average, clips)
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
    loss, prompted, propagated = (_mean(column) for column in zip(*recent, strict=True))
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


def _mean(values: Sequence[float]) -> float:
    """The mean of the numbers among the values; not a number if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


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
        points = rng.random() < self._schedule.point_share
        prompts = float(rng.choice([0.0, 0.0, 0.5, 1.0]))
        result = run_clips(self.model, clips, rng, prompts=prompts, points=points, head=self._head)
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
