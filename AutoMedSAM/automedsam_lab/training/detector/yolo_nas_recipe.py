"""Trains YOLO-NAS from scratch at 640 px, for 100 epochs, with batches of 4 and a learning rate of 1e-3.

These four numbers are those of the pipeline that AutoMedSAM started from (YOLO-NAS boxes, MedSAM2 masks, INT8). All
other settings are the published YOLO-NAS recipe's (super-gradients 3.7.1: AdamW, warm-up, cosine to a tenth, averaged
weights, PP-YOLOE's loss). Deci's weights are never loaded: their license forbids what a bundle is for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, DistributedSampler

from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import read_stored
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.detection_images import DetectionImages, Movement
from automedsam_lab.models import super_gradients_compat
from automedsam_lab.models.yolo_nas import SIZES, build_yolo_nas, read_checkpoint
from automedsam_lab.training.detector.starter_recipe import CHECKPOINT
from automedsam_lab.training.distributed import World, join_world, spare_workers
from automedsam_lab.training.log import TrainingLog

if TYPE_CHECKING:
    from automedsam_lab.training.detector.super_gradients_trainer import Row

logger = logging.getLogger(__name__)

_STRIDE = 32


@dataclass(frozen=True)
class YoloNasSettings:
    """How a detector is trained.

    Attributes:
        epochs: how often the training images are seen.
        batch: images a step, in each process.
        rate: the highest learning rate.
        image_size: side of the input in pixels, a multiple of 32.
        model: "s", "m" or "l".
        width: factor of the channel widths.
        patience: epochs without a better validation score until the training stops.
        movement: how images are varied.
        seed: of weights and variations.

    Raises:
        AutoMedSAMError: if the size of the model or of the input is none.
    """

    epochs: int = 100
    batch: int = 4
    rate: float = 1e-3
    image_size: int = 640
    model: str = "s"
    width: float = 1.0
    patience: int = 20
    movement: Movement = field(default_factory=Movement)
    seed: int = 20261121

    def __post_init__(self) -> None:
        if self.model not in SIZES:
            message = f"There is no YOLO-NAS-{self.model.upper()}: choose one of {', '.join(SIZES)}."
            raise AutoMedSAMError(message)
        if self.image_size % _STRIDE or self.image_size < 2 * _STRIDE:
            message = f"The image size {self.image_size} is not a multiple of 32 from 64 on: try 640 or 320."
            raise AutoMedSAMError(message)


def train_yolo_nas_detector(
    prepared: Path,
    out: Path,
    *,
    settings: YoloNasSettings | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    device: str = "auto",
) -> Path:
    """Trains on the training part of a prepared dataset; the validation part chooses the weights that are kept.

    Under `torchrun` each process trains on a share of the images, and `settings.batch` is that of one process.

    Args:
        prepared: the dataset's folder.
        out: the run's folder: `log.jsonl`, `detector.pt`, and the Trainer's own checkpoints and TensorBoard events.
        settings: how to train.
        resume: go on from the Trainer's latest checkpoint in `out`.
        start_from: a `detector.pt` of the same network and labels to begin with; random weights if None.
        device: "auto", "cpu" or "cuda".

    Returns:
        `out/detector.pt`, which `automedsam-lab convert --detector` and `export detector` take.

    Raises:
        AutoMedSAMError: if the dataset is none, has too few images or no boxes, super-gradients is absent, there is
            nothing to resume or a training that should be, or `start_from` does not fit.
        KeyboardInterrupt: after Ctrl-C; the best weights so far are in `out/detector.pt`, if an epoch was ended.
    """
    chosen = settings or YoloNasSettings()
    dataset = PreparedDataset.open(prepared)
    images = {part: dataset.part(part) for part in ("train", "val")}
    if not any(image.boxes for image in images["train"]):
        message = f"No training image of {prepared} has a box: there is nothing to learn; prepare labelled images."
        raise AutoMedSAMError(message)
    super_gradients_compat.install()
    from automedsam_lab.training.detector import super_gradients_trainer

    _check_run(out, super_gradients_trainer.latest_run(out), resume=resume)
    labels = sorted(dataset.labels)
    names = [dataset.labels[value] for value in labels]
    begun = None if start_from is None or resume else _weights_of(start_from, names, chosen)
    with join_world(device) as world:
        if len(images["train"]) < chosen.batch * world.size:
            message = (
                f"{prepared} has {len(images['train'])} training images, fewer than a batch of {chosen.batch} for each "
                f"of {world.size} processes: prepare more, or give a smaller --batch."
            )
            raise AutoMedSAMError(message)
        out.mkdir(parents=True, exist_ok=True)
        log = TrainingLog(out, board=False) if world.main else None
        torch.manual_seed(chosen.seed)
        model = build_yolo_nas(chosen.model, len(labels), chosen.width)
        if begun is not None:
            model.load_state_dict(begun)
        if world.main:
            size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            logger.info(
                "YOLO-NAS-%s of %.1f million parameters %s on %d images of %s, %d x %s; the weights inherit the terms "
                "of the data: %s",
                chosen.model.upper(),
                size,
                "from scratch" if start_from is None else f"from {start_from}",
                len(images["train"]),
                dataset.name,
                world.size,
                world.device,
                dataset.license,
            )

        def report(row: Row) -> None:
            if log is not None:
                log.write(row)

        shown = DetectionImages(images["train"], labels, chosen.image_size, chosen.movement, chosen.seed)
        judged = DetectionImages(images["val"], labels, chosen.image_size)
        loaders = super_gradients_trainer.Loaders(
            _loader(shown, chosen, world, shuffle=True, collate=super_gradients_trainer.collate()),
            _loader(judged, chosen, world, shuffle=False, collate=super_gradients_trainer.collate()),
        )
        trainer_settings = super_gradients_trainer.TrainerSettings(
            len(labels), chosen.epochs, chosen.rate, chosen.patience, chosen.seed, resume
        )
        run, ended = super_gradients_trainer.train(model, loaders, world, out, trainer_settings, report)
        if world.main and (run / super_gradients_trainer.BEST).is_file():
            _write_detector(run / super_gradients_trainer.BEST, out / CHECKPOINT, dataset, chosen)
        if not ended:
            raise KeyboardInterrupt
    return out / CHECKPOINT


def _check_run(out: Path, latest: Path | None, *, resume: bool) -> None:
    """Sees that a run's folder holds a training exactly if one is to be continued."""
    if resume and latest is None:
        message = f"There is no checkpoint to resume from in {out}: start without --resume."
        raise AutoMedSAMError(message)
    if not resume and latest is not None:
        message = f"{out} holds a training already: give --resume to go on with it, or another folder."
        raise AutoMedSAMError(message)


def _loader(
    images: DetectionImages, settings: YoloNasSettings, world: World, *, shuffle: bool, collate: Any
) -> DataLoader[Any]:
    """A share of the images for each process, read by workers where there are cores to spare."""
    sampler: DistributedSampler[Any] | None = None
    if world.size > 1:
        sampler = DistributedSampler(images, world.size, world.rank, shuffle, settings.seed, drop_last=shuffle)
    return DataLoader(
        images,
        settings.batch,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        drop_last=shuffle,
        num_workers=spare_workers(world),
        pin_memory=world.device != "cpu",
        collate_fn=collate,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def _weights_of(checkpoint: Path, classes: list[str], settings: YoloNasSettings) -> dict[str, torch.Tensor]:
    """The averaged weights of an earlier training.

    Raises:
        AutoMedSAMError: if they are of another network, or of other classes.
    """
    stored = read_checkpoint(checkpoint)
    earlier: dict[str, Any] = stored["settings"]
    if list(earlier["classes"]) != classes:
        message = f"{checkpoint} finds {', '.join(earlier['classes'])}, not {', '.join(classes)}: another dataset's."
        raise AutoMedSAMError(message)
    size, width = earlier.get("size", "s"), float(earlier["width"])
    if (size, width) != (settings.model, settings.width):
        message = (
            f"{checkpoint} is a YOLO-NAS-{size.upper()} of width {width:g}, not {settings.model.upper()} of "
            f"{settings.width:g}: give --model {size} --width {width:g}."
        )
        raise AutoMedSAMError(message)
    weights: dict[str, torch.Tensor] = stored["average"]
    return weights


def _write_detector(best: Path, path: Path, dataset: PreparedDataset, settings: YoloNasSettings) -> None:
    """The Trainer's best checkpoint in the lab's own layout."""
    stored = read_stored(best)
    choices = dataset.manifest.choices
    modalities = {case.modality for case in dataset.manifest.cases}
    content = {
        "settings": {
            "task": dataset.name,
            "classes": [dataset.labels[value] for value in sorted(dataset.labels)],
            "values": sorted(dataset.labels),
            "size": settings.model,
            "width": settings.width,
            "input_size": [settings.image_size, settings.image_size],
            "context_mm": 0.0,
            "fit": "letterbox",
            "licence": dataset.license,
            "modality": modalities.pop() if len(modalities) == 1 else None,
            "window": None if choices.window is None else list(choices.window),
            "plane": None if choices.plane is None else choices.plane.value,
        },
        "model": stored["net"],
        "average": stored["ema_net"],
        "epoch": int(stored["epoch"]),
        "validation_ap50": float(stored["acc"]),
    }
    save_checkpoint(content, path)
