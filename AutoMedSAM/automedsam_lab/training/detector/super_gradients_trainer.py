"""super-gradients' Trainer as the poster's recipe uses it; to import this module is to import super-gradients.

What of its version 3.7.1 does not do is put right here: several processes without GPUs, a best score that outlives
`resume`, and an early stop that numpy 2 can run.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from automedsam.errors import AutoMedSAMError
from automedsam_lab.models import super_gradients_compat
from automedsam_lab.training.distributed import World

super_gradients_compat.install()

from super_gradients.common.data_types.enum import MultiGPUMode  # noqa: E402
from super_gradients.common.environment.device_utils import device_config  # noqa: E402
from super_gradients.training import Trainer  # noqa: E402
from super_gradients.training.losses import PPYoloELoss  # noqa: E402
from super_gradients.training.metrics import DetectionMetrics_050  # noqa: E402
from super_gradients.training.models.detection_models.pp_yolo_e import (  # noqa: E402
    PPYoloEPostPredictionCallback,
)
from super_gradients.training.utils.callbacks import Callback  # noqa: E402
from super_gradients.training.utils.collate_fn import DetectionCollateFN  # noqa: E402

METRIC = "mAP@0.50"
EXPERIMENT = "super_gradients"
LATEST, BEST = "ckpt_latest.pth", "ckpt_best.pth"
# What the published YOLO-NAS recipe (super-gradients, coco2017_yolo_nas) does; `yolo_nas_recipe` sets the rest.
_WARM_UP_STEPS, _WEIGHT_DECAY, _FINAL_RATE, _EMA = 1000, 1e-5, 0.1, 0.9997
_CLIP = 10.0

Row = dict[str, Any]
collate = DetectionCollateFN


class Loaders(NamedTuple):
    """Batches of images; those for training are shuffled and full, in several processes by a `DistributedSampler`."""

    train: DataLoader[Any]
    validation: DataLoader[Any]


@dataclass(frozen=True)
class TrainerSettings:
    """What the Trainer is given of a recipe.

    Attributes:
        classes: how many there are.
        epochs: how often the images are seen.
        rate: the highest learning rate.
        patience: epochs without a better score until it stops.
        seed: of the weights' training.
        resume: go on from the latest checkpoint in the run's folder.
    """

    classes: int
    epochs: int
    rate: float
    patience: int
    seed: int
    resume: bool


class YoloNasTrainer(Trainer):  # type: ignore[misc]
    """The Trainer, which also trains in several processes without GPUs (Gloo): slow, but it can be tried anywhere.

    Args:
        world: this process among the others.
        out: the run's folder.
    """

    net: torch.nn.Module

    def __init__(self, world: World, out: Path) -> None:
        # The Trainer looks these up in its own module-wide settings rather than take them.
        device_config.device = world.device if world.device != "cpu" or world.size == 1 else "cpu:0"
        several = world.size > 1
        device_config.multi_gpu = MultiGPUMode.DISTRIBUTED_DATA_PARALLEL if several else MultiGPUMode.OFF
        device_config.num_gpus = world.size
        device_config.assigned_rank = world.rank if several else -1
        super().__init__(EXPERIMENT, ckpt_root_dir=str(out))
        # Without these two, a resumed training takes no later score for its best.
        self.metric_to_watch, self.best_metric = METRIC, -math.inf

    def _net_to_device(self) -> None:
        if device_config.multi_gpu != MultiGPUMode.DISTRIBUTED_DATA_PARALLEL or device_config.is_cuda:
            super()._net_to_device()
            return
        self.net = torch.nn.parallel.DistributedDataParallel(self.net, find_unused_parameters=True)


class Watch(Callback):  # type: ignore[misc]
    """Reports each epoch, and stops when the validation's score has not risen for a while.

    Args:
        trainer: whose best score is set right after a resume.
        processes: how many train together; the loss that the Trainer reports is their sum.
        patience: epochs without a better score until it stops.
        best: the score and the epoch of the best checkpoint so far; None if there is none.
        report: is given a row of figures an epoch.
    """

    def __init__(
        self,
        trainer: YoloNasTrainer,
        processes: int,
        patience: int,
        best: tuple[float, int] | None,
        report: Callable[[Row], None],
    ) -> None:
        super().__init__()
        self._trainer, self._processes, self._patience, self._report = trainer, processes, patience, report
        self._best, self._best_epoch = best if best is not None else (-math.inf, 0)
        self._loss, self._started, self._seconds, self._steps = math.nan, 0.0, 0.0, 0
        self._stopped, self.interrupted = False, False

    def on_training_start(self, context: Any) -> None:
        self._trainer.best_metric = self._best

    def on_training_end(self, context: Any) -> None:
        # The Trainer ends quietly at Ctrl-C, as it does when a stop is requested.
        self.interrupted = bool(context.stop_training) and not self._stopped

    def on_train_loader_start(self, context: Any) -> None:
        # Each epoch varies its images in another way.
        context.train_loader.dataset.epoch = context.epoch
        self._started, self._steps = time.monotonic(), len(context.train_loader)

    def on_train_loader_end(self, context: Any) -> None:
        self._loss = float(context.metrics_dict["PPYoloELoss/loss"]) / self._processes
        self._seconds = time.monotonic() - self._started

    def on_validation_loader_end(self, context: Any) -> None:
        epoch, score = context.epoch + 1, float(context.metrics_dict[METRIC])
        if score > self._best:
            self._best, self._best_epoch = score, epoch
        self._report(
            {
                "step": epoch * self._steps,
                "epoch": epoch,
                "loss": round(self._loss, 4),
                "rate": context.optimizer.param_groups[0]["lr"],
                "validation_ap50": round(score, 4),
                "seconds": round(time.monotonic() - self._started, 1),
                "seconds_a_step": round(self._seconds / max(1, self._steps), 4),
            }
        )
        if epoch - self._best_epoch >= self._patience:
            self._stopped = True
            context.update_context(stop_training=True)


def train(
    model: torch.nn.Module,
    loaders: Loaders,
    world: World,
    out: Path,
    settings: TrainerSettings,
    report: Callable[[Row], None],
) -> tuple[Path, bool]:
    """Trains to the end, the early stop or Ctrl-C.

    Args:
        model: a YOLO-NAS.
        loaders: of the training and of the validation part.
        world: this process among the others.
        out: the run's folder; the Trainer's checkpoints and TensorBoard's events go into a folder of it.
        settings: how to train.
        report: is given a row of figures an epoch.

    Returns:
        The folder of the Trainer's checkpoints, and whether the training came to its end.

    Raises:
        AutoMedSAMError: if what is to be resumed is of another network.
    """
    trainer = YoloNasTrainer(world, out)
    stored = latest_run(out) if settings.resume else None
    if stored is not None:
        _check_same(stored / LATEST, model)
    watch = Watch(trainer, world.size, settings.patience, _best_of(stored), report)
    steps = settings.epochs * len(loaders.train)
    reader = PPYoloEPostPredictionCallback(score_threshold=0.01, nms_threshold=0.7, nms_top_k=1000, max_predictions=300)
    metric = DetectionMetrics_050(
        score_thres=0.1,
        top_k_predictions=300,
        num_cls=settings.classes,
        normalize_targets=True,
        post_prediction_callback=reader,
    )
    with _plain_excepthook(), _without_known_warnings():
        trainer.train(
            model,
            {
                "max_epochs": settings.epochs,
                "initial_lr": settings.rate,
                "lr_mode": "CosineLRScheduler",
                "cosine_final_lr_ratio": _FINAL_RATE,
                "warmup_mode": "LinearBatchLRWarmup",
                "warmup_initial_lr": 1e-6,
                "lr_warmup_steps": min(_WARM_UP_STEPS, max(1, steps // 20)),
                "lr_warmup_epochs": 0,
                "optimizer": "AdamW",
                "optimizer_params": {"weight_decay": _WEIGHT_DECAY},
                "zero_weight_decay_on_bias_and_bn": True,
                "clip_grad_norm": _CLIP,
                "ema": True,
                "ema_params": {"decay": _EMA, "decay_type": "threshold"},
                "sync_bn": world.device != "cpu",
                "mixed_precision": world.device != "cpu",
                "loss": PPYoloELoss(num_classes=settings.classes, use_static_assigner=False),
                "valid_metrics_list": [metric],
                "metric_to_watch": METRIC,
                "greater_metric_to_watch_is_better": True,
                "phase_callbacks": [watch],
                "average_best_models": False,
                "resume": settings.resume,
                "seed": settings.seed,
                "silent_mode": True,
                # `join_world` ends the group of processes, once the weights are written.
                "kill_ddp_pgroup_on_end": False,
                "sg_logger_params": {"monitor_system": False, "tb_files_user_prompt": False},
            },
            train_loader=loaders.train,
            valid_loader=loaders.validation,
        )
    return Path(trainer.checkpoints_dir_path), not watch.interrupted


def latest_run(out: Path) -> Path | None:
    """The Trainer's folder of the last run in `out` that can be resumed, None if there is none."""
    return max((path.parent for path in (out / EXPERIMENT).glob(f"RUN_*/{LATEST}")), default=None)


def _check_same(checkpoint: Path, model: torch.nn.Module) -> None:
    """Sees that a checkpoint is of this network, of which the Trainer would only list the keys."""
    from automedsam_lab.checkpoints.matching import compare, read_state_dict, shapes_of

    if mismatch := compare(shapes_of(read_state_dict(checkpoint)), shapes_of(model.state_dict())):
        message = (
            f"{checkpoint} is of another network ({len(mismatch.lines())} of its tensors do not fit): resume with the "
            "dataset, the --model and the --width that its training began with."
        )
        raise AutoMedSAMError(message)


def _best_of(run: Path | None) -> tuple[float, int] | None:
    from automedsam_lab.checkpoints.matching import read_stored

    if run is None or not (run / BEST).is_file():
        return None
    stored = read_stored(run / BEST)
    return float(stored["acc"]), int(stored["epoch"])


@contextmanager
def _plain_excepthook() -> Iterator[None]:
    """The Trainer replaces the process's; whatever fails later is none of its business."""
    kept = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = kept


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`?torch\.cuda\.amp", FutureWarning)
        # The loss sums its parts over the processes in place. Their gradients are those of one process (tested).
        warnings.filterwarnings("ignore", r"c10d::allreduce_", UserWarning)
        yield
