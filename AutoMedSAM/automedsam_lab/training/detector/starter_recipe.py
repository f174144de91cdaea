"""Train a detector from scratch: plain loop, AdamW, warm-up and cosine, averaged weights.

The loss is PP-YOLOE's (Xu et al., arXiv 2203.16250), as YOLO-NAS uses it: task-aligned assignment,
varifocal classification, GIoU and distribution focal loss.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from automedsam.detection.detector import Predict
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_tasks import cases_of, check_task
from automedsam_lab.data.detector_slices import DETECTOR_TASKS, BatchStream, DetectorTask, FrameStack, read_stack
from automedsam_lab.models import super_gradients_compat
from automedsam_lab.models.yolo_nas import build_detector, load_detector, read_checkpoint
from automedsam_lab.training.detector.validation import measure_detector
from automedsam_lab.training.log import TrainingLog

CHECKPOINT = "detector.pt"
_WARM_UP = 60
_AVERAGE = 0.998


@dataclass(frozen=True)
class TrainingSettings:
    """How a detector is trained.

    Attributes:
        steps: Optimizer steps.
        batch: Slices a step.
        rate: The highest learning rate.
        width: Factor of YOLO-NAS-S's channel widths.
        seed: Seed of weights and augmentation.
        epoch: Steps between two checkpoints.
        minutes: Ends the schedule earlier when this much training time is used up; None for no limit.
    """

    steps: int = 2500
    batch: int = 8
    rate: float = 1e-3
    width: float = 0.5
    seed: int = 20261121
    epoch: int = 100
    minutes: float | None = None


def train_detector(
    task: str,
    data_root: Path,
    out: Path,
    *,
    settings: TrainingSettings | None = None,
    input_size: tuple[int, int] | None = None,
    resume: bool = False,
    device: str = "auto",
    start_from: Path | None = None,
) -> Path:
    """Train a task's detector on the training patients of its split.

    Args:
        task: "hippocampus" or "glioma".
        data_root: The folder of datasets.
        out: The folder for checkpoints, `log.jsonl` and TensorBoard events; made if absent.
        settings: How to train.
        input_size: Height and width of the input, multiples of 32; the task's own by default.
        resume: Go on from the checkpoint in `out`.
        device: "auto", "cpu", "cuda" or another torch device.
        start_from: A checkpoint of the same task to begin with, as `restore` writes it; random weights if None.

    Returns:
        The checkpoint.

    Raises:
        AutoMedSAMError: No cases are found, super-gradients is absent, there is nothing to resume, or what is to be
            begun with is of another network or task.
    """
    check_task(task)
    plan = DETECTOR_TASKS[task]
    if input_size is not None:
        plan = replace(plan, input_size=input_size)
    train = [read_stack(plan, case) for case in cases_of(task, data_root, "train", "train_silver")]
    validation = [read_stack(plan, case) for case in cases_of(task, data_root, "validation")]
    settings = settings or TrainingSettings()
    return train_on_stacks(plan, train, validation, out, settings, resume=resume, device=device, start_from=start_from)


def train_on_stacks(
    task: DetectorTask,
    train: Sequence[FrameStack],
    validation: Sequence[FrameStack],
    out: Path,
    settings: TrainingSettings,
    *,
    resume: bool = False,
    device: str = "auto",
    start_from: Path | None = None,
) -> Path:
    """Train on slices that are in memory; see `train_detector`."""
    super_gradients_compat.install()
    from super_gradients.training.losses import PPYoloELoss

    out.mkdir(parents=True, exist_ok=True)
    target = torch.device(pick_device(device))
    torch.manual_seed(settings.seed)
    # Weights that came back from INT8 are those of fused blocks, also in what is resumed.
    begin = out / CHECKPOINT if resume else start_from
    fused = False
    if begin is None:
        model = build_detector(len(task.classes), settings.width).to(target)
    else:
        model, known = load_detector(begin)
        if known["classes"] != list(task.classes):
            message = f"{begin} finds {', '.join(known['classes'])}, not {', '.join(task.classes)}: another task's."
            raise AutoMedSAMError(message)
        if (known.get("size", "s"), known["width"]) != ("s", settings.width):
            message = (
                f"{begin} is a YOLO-NAS-{known.get('size', 's').upper()} of width {known['width']:g}, not S of "
                f"{settings.width:g}: another recipe's."
            )
            raise AutoMedSAMError(message)
        model, fused = model.to(target), bool(known.get("fused"))
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=settings.rate)
    loss_of = PPYoloELoss(num_classes=len(task.classes), use_static_assigner=False)
    step, spent = 0, 0.0
    if resume:
        stored = read_checkpoint(out / CHECKPOINT)
        model.load_state_dict(stored["model"])
        average.load_state_dict(stored["average"])
        optimizer.load_state_dict(stored["optimizer"])
        step, spent = int(stored["step"]), float(stored["seconds"])
    # A resumed run must not see the batches of the first part again.
    batches = iter(BatchStream(task, train, settings.batch, settings.seed + step))
    log, losses, progress = TrainingLog(out), [], 0.0
    started = time.monotonic() - spent
    while progress < 1:
        used = (time.monotonic() - started) / 60
        progress = max((step + 1) / settings.steps, used / settings.minutes if settings.minutes else 0)
        rate = _schedule(step, min(progress, 1)) * settings.rate
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, boxes = next(batches)
        model.train()
        loss, _ = loss_of(model(torch.from_numpy(images).to(target)), torch.from_numpy(boxes).to(target))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        step += 1
        _track(average, model, min(_AVERAGE, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        if step % settings.epoch == 0 or progress >= 1:
            seconds = time.monotonic() - started
            row: dict[str, Any] = {"step": step, "seconds": round(seconds), "rate": rate}
            row["loss"] = round(float(np.mean(losses)), 4)
            losses.clear()
            if validation:
                scores = measure_detector(task, torch_predictor(average, target), validation)
                row |= {f"validation_{name}": round(value, 4) for name, value in vars(scores).items()}
            log.write(row)
            _save(out / CHECKPOINT, task, settings, model, average, optimizer, step, seconds, fused=fused)
    return out / CHECKPOINT


def torch_predictor(model: torch.nn.Module, device: torch.device) -> Predict:
    """A trained model as a function of images in memory; see `YoloNasDetector`."""

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model.eval()
        with torch.inference_mode():
            (boxes, scores), _ = model(torch.from_numpy(images).float().to(device))
        return boxes.cpu().numpy(), scores.cpu().numpy()

    return predict


def pick_device(device: str) -> str:
    """The torch device for "auto": CUDA, then MPS, then the CPU; any other name as it is."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _schedule(step: int, progress: float) -> float:
    return min((step + 1) / _WARM_UP, 1.0) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))


def _parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0.0}]


@torch.no_grad()
def _track(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    for kept, fresh in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(fresh, 1 - decay)
        else:
            kept.copy_(fresh)


def _save(
    path: Path,
    task: DetectorTask,
    settings: TrainingSettings,
    model: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    *,
    fused: bool,
) -> None:
    stored = {
        "settings": {
            "task": task.name,
            "classes": list(task.classes),
            "width": settings.width,
            "input_size": list(task.input_size),
            "context_mm": task.context_mm,
            "fused": fused,
        },
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    temporary = path.with_suffix(".part")
    torch.save(stored, temporary)
    os.replace(temporary, path)
