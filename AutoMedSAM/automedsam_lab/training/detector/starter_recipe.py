"""Train a detector from scratch: plain loop, AdamW, warm-up and cosine, averaged weights.

The loss is PP-YOLOE's (Xu et al., arXiv 2203.16250), as YOLO-NAS uses it: task-aligned assignment,
varifocal classification, GIoU and distribution focal loss.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from automedsam.detection.detector import Predict
from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.builtin_tasks import check_task
from automedsam_lab.data.detector_slices import DETECTOR_TASKS, BatchStream, DetectorTask, FrameStack
from automedsam_lab.data.detector_stacks import detector_stacks
from automedsam_lab.data.sets.images import Part
from automedsam_lab.models import super_gradients_compat
from automedsam_lab.models.yolo_nas import build_detector, load_detector, read_checkpoint
from automedsam_lab.training.detector.validation import measure_detector
from automedsam_lab.training.log import TrainingLog
from automedsam_lab.training.options import RunOptions

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
    options: RunOptions | None = None,
) -> Path:
    """Train a task's detector on the training patients of its split.

    Args:
        task: "hippocampus", "glioma" or "brats".
        data_root: The folder of datasets.
        out: The folder for checkpoints, `log.jsonl` and TensorBoard events; made if absent.
        settings: How to train.
        input_size: Height and width of the input, multiples of 32; the task's own by default.
        options: Where to train and what to begin with: a checkpoint of the same task, as `restore` writes it.

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
    train, validation = (detector_stacks(plan, data_root, part) for part in (Part.TRAIN, Part.VALIDATION))
    if not train:
        message = f"No {task} cases were found in {data_root}; give the folder that holds the downloaded datasets."
        raise AutoMedSAMError(message)
    return train_on_stacks(plan, train, validation, out, settings or TrainingSettings(), options or RunOptions())


def train_on_stacks(
    task: DetectorTask,
    train: Sequence[FrameStack],
    validation: Sequence[FrameStack],
    out: Path,
    settings: TrainingSettings,
    options: RunOptions,
) -> Path:
    """Train on slices that are in memory; see `train_detector`."""
    super_gradients_compat.install()
    from super_gradients.training.losses import PPYoloELoss

    out.mkdir(parents=True, exist_ok=True)
    target = torch.device(pick_device(options.device))
    torch.manual_seed(settings.seed)
    # Weights that came back from INT8 are those of fused blocks, also in what is resumed.
    begin = out / CHECKPOINT if options.resume else options.start_from
    trained = _Trained.fresh(task, settings, target) if begin is None else _Trained.of(begin, task, settings, target)
    if options.resume:
        trained.restore(out / CHECKPOINT)
    loss_of = PPYoloELoss(num_classes=len(task.classes), use_static_assigner=False)
    # A resumed run must not see the batches of the first part again.
    batches = iter(BatchStream(task, train, settings.batch, settings.seed + trained.step))
    log, losses, progress = TrainingLog(out), [], 0.0
    started = time.monotonic() - trained.seconds
    while progress < 1:
        used = (time.monotonic() - started) / 60
        progress = max((trained.step + 1) / settings.steps, used / settings.minutes if settings.minutes else 0)
        rate = _schedule(trained.step, min(progress, 1)) * settings.rate
        images, boxes = next(batches)
        losses.append(trained.learn(torch.from_numpy(images), torch.from_numpy(boxes), loss_of, rate))
        if trained.step % settings.epoch == 0 or progress >= 1:
            trained.seconds = time.monotonic() - started
            row: dict[str, Any] = {"step": trained.step, "seconds": round(trained.seconds), "rate": rate}
            row["loss"] = round(float(np.mean(losses)), 4)
            losses.clear()
            if validation:
                scores = measure_detector(task, torch_predictor(trained.average, target), validation)
                row |= {f"validation_{name}": round(value, 4) for name, value in vars(scores).items()}
            log.write(row)
            trained.save(out / CHECKPOINT, task, settings)
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


class _Trained:
    """What a training changes: the network, its average and the optimizer; and how far it is.

    Args:
        model: On the device where it is trained.
        settings: How it is trained.
        fused: Whether its blocks are fused, as weights that came back from INT8 are.
    """

    def __init__(self, model: torch.nn.Module, settings: TrainingSettings, *, fused: bool) -> None:
        self.model, self.average, self.fused = model, copy.deepcopy(model).eval(), fused
        self.optimizer = torch.optim.AdamW(_parameter_groups(model), lr=settings.rate)
        self.step, self.seconds = 0, 0.0

    @classmethod
    def fresh(cls, task: DetectorTask, settings: TrainingSettings, device: torch.device) -> _Trained:
        """Random weights."""
        return cls(build_detector(len(task.classes), settings.width).to(device), settings, fused=False)

    @classmethod
    def of(cls, begin: Path, task: DetectorTask, settings: TrainingSettings, device: torch.device) -> _Trained:
        """The weights of a checkpoint.

        Raises:
            AutoMedSAMError: It cannot be read, or is of another task or network.
        """
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
        return cls(model.to(device), settings, fused=bool(known.get("fused")))

    def learn(self, images: torch.Tensor, boxes: torch.Tensor, loss_of: Any, rate: float) -> float:
        """One step; gives the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = next(self.model.parameters()).device
        self.model.train()
        loss, _ = loss_of(self.model(images.to(device)), boxes.to(device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        _track(self.average, self.model, min(_AVERAGE, (1 + self.step) / (10 + self.step)))
        return float(loss.detach())

    def restore(self, path: Path) -> None:
        """Take everything from a checkpoint of the same training."""
        stored = read_checkpoint(path)
        self.model.load_state_dict(stored["model"])
        self.average.load_state_dict(stored["average"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.step, self.seconds = int(stored["step"]), float(stored["seconds"])

    def save(self, path: Path, task: DetectorTask, settings: TrainingSettings) -> None:
        """Write the checkpoint."""
        stored = {
            "settings": {
                "task": task.name,
                "classes": list(task.classes),
                "width": settings.width,
                "input_size": list(task.input_size),
                "context_mm": task.context_mm,
                "fused": self.fused,
            },
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        save_checkpoint(stored, path)
