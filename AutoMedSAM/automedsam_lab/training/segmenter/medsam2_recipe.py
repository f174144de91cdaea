"""MedSAM2's published fine-tuning (Ma et al., arXiv:2504.03600), from a published checkpoint, on a prepared dataset."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from automedsam.bundle import file_hash
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam_lab.checkpoints.matching import match_state_dict, mismatch_message, read_state_dict, read_stored
from automedsam_lab.checkpoints.model_zoo import CONFIGS, Config, PublishedFile, find_file
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data.prepared.clips import ClipSettings, PreparedClips, Variation
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.training.distributed import World, join_world, spare_workers
from automedsam_lab.training.log import TrainingLog
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.segmenter.interactive_training import ClipStep, Interaction

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

logger = logging.getLogger(__name__)

WEIGHTS, CHECKPOINT = "finetuned.pt", "checkpoint.pt"
TERMS = ("focal", "dice", "iou", "presence", "loss")
_MEMORY_DROPOUT = 0.1
_MAX_VALIDATION = 64


@dataclass(frozen=True)
class Medsam2Settings:
    """MedSAM2's numbers.

    Attributes:
        epochs: how often each case gives a clip.
        batch: clips a step, in each process; one after the other, their gradients added.
        rate: the learning rate of all but the image encoder; the encoder's stays at three fifths of it.
        image_size: side of the frames in pixels; the configuration's own if None.
        frames: of a clip, at most.
        objects: of a clip, at most.
        encoder_lr_ratio: the image encoder's learning rate, as a share of `rate` (3e-5 of 5e-5).
        final_lr_ratio: of the learning rates, at the end of the cosine.
        layer_decay: each layer of the trunk learns by this much less than the one after it.
        weight_decay: of all but biases and layer norms.
        max_grad_norm: the gradient's largest norm.
        interaction: how clips are prompted.
        variation: how they are varied.
        seed: of every choice.
        log_every: steps between two rows of the log.
    """

    epochs: int = 75
    batch: int = 4
    rate: float = 5e-5
    image_size: int | None = None
    frames: int = 8
    objects: int = 5
    encoder_lr_ratio: float = 0.6
    final_lr_ratio: float = 0.1
    layer_decay: float = 0.9
    weight_decay: float = 0.1
    max_grad_norm: float = 0.1
    interaction: Interaction = field(default_factory=Interaction)
    variation: Variation = field(default_factory=Variation)
    seed: int = 123
    log_every: int = 50

    def factor(self, progress: float) -> float:
        """What the learning rates are multiplied by at a progress of 0..1: a cosine down to `final_lr_ratio`."""
        return self.final_lr_ratio + (1 - self.final_lr_ratio) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def finetune_medsam2(
    dataset: PreparedDataset,
    start_from: Path,
    out: Path,
    *,
    config: Config | None = None,
    settings: Medsam2Settings | None = None,
    options: RunOptions | None = None,
) -> tuple[Path, Config]:
    """Trains a published checkpoint on the native training cases of a prepared dataset.

    Volumes are clips of slices, pictures clips of one frame. Under `torchrun` each process trains on a share of the
    cases. On CUDA the network computes in bfloat16.

    Args:
        dataset: with masks, and its archive at hand.
        start_from: a checkpoint of MedSAM2, SAM 2.1 or Medical SAM 2.
        out: the run's folder, for `checkpoint.pt` (to resume), `finetuned.pt`, `log.jsonl` and TensorBoard's events.
        config: the checkpoint's network; recognized by its hash, its name or its keys if None.
        settings: how to train.
        options: where to train ("auto", "cpu" or "cuda"), and whether to continue from `out/checkpoint.pt`; what to
            begin with is `start_from`.

    Returns:
        `out/finetuned.pt`, which `automedsam-lab convert` takes, and its network.

    Raises:
        AutoMedSAMError: if the dataset has no masks, the checkpoint does not fit, there is nothing to resume or a
            training that should be, or the training diverges.
    """
    chosen, options = settings or Medsam2Settings(), options or RunOptions()
    state = read_state_dict(start_from)
    network = config or recognise_config(start_from, state)
    if mismatch := match_state_dict(state, network):
        raise AutoMedSAMError(mismatch_message(start_from, state, network, mismatch))
    architecture = _architecture(network, chosen.image_size)
    train_set = PreparedClips(
        dataset,
        "train",
        ClipSettings(architecture.image_size, chosen.frames, chosen.objects, chosen.variation, chosen.seed),
    )
    val_set = PreparedClips(dataset, "val", ClipSettings(architecture.image_size, chosen.frames, chosen.objects))
    if options.resume and not (out / CHECKPOINT).is_file():
        message = f"There is no checkpoint to resume from at {out / CHECKPOINT}: start without --resume."
        raise AutoMedSAMError(message)
    if not options.resume and (out / CHECKPOINT).is_file():
        message = f"{out} holds a training already: give --resume to go on with it, or another folder."
        raise AutoMedSAMError(message)
    with join_world(options.device) as world:
        if len(train_set) < world.size:
            message = (
                f"{dataset.folder} has {len(train_set)} training cases with masks, fewer than {world.size} processes."
            )
            raise AutoMedSAMError(message)
        out.mkdir(parents=True, exist_ok=True)
        known = find_file(start_from.name, file_hash(start_from))
        terms = f"The weights inherit terms: of the data, {dataset.license}; of the checkpoint, {_terms_of(known)}"
        if world.main:
            logger.info(
                "%s, from %s, at %d px on %d cases of %s, %d x %s",
                network.about,
                start_from.name,
                architecture.image_size,
                len(train_set),
                dataset.name,
                world.size,
                world.device,
            )
            logger.info("%s", terms)
        _train(_Run(network, architecture, state, chosen, world, terms), train_set, val_set, out, options.resume)
    return out / WEIGHTS, network


def _train(run: _Run, train_set: PreparedClips, val_set: PreparedClips, out: Path, resume: bool) -> None:
    if resume:
        run.restore(out / CHECKPOINT)
    run.train(train_set, val_set, out)


def recognise_config(path: Path, state: dict[str, Tensor]) -> Config:
    """The network of a checkpoint: of the published file that it is, else the first that its keys and shapes fit.

    The size of the image cannot be read from the weights: MedSAM2's network is Meta's tiny one at 512 px.

    Raises:
        AutoMedSAMError: if it fits none.
    """
    known = find_file(path.name, file_hash(path))
    candidates = [*([known[1]] if known else []), *CONFIGS.values()]
    fitting = next((config for config in candidates if not match_state_dict(state, config)), None)
    if fitting is None:
        raise AutoMedSAMError(mismatch_message(path, state, candidates[0], match_state_dict(state, candidates[0])))
    return fitting


def parameter_groups(network: nn.Module, settings: Medsam2Settings) -> list[dict[str, Any]]:
    """The weights by learning rate and weight decay.

    The trunk's layers learn by `layer_decay` less the earlier they are, its position embeddings as the whole encoder.

    Returns:
        AdamW's groups, each with its highest rate as "lr" and "highest".
    """
    trunk: Any = getattr(getattr(network, "image_encoder", None), "trunk", None)
    layered = hasattr(trunk, "get_layer_id")
    norms = {
        f"{name}.{own}"
        for name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own in ("weight", "bias")
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = settings.rate * (settings.encoder_lr_ratio if name.startswith("image_encoder.") else 1.0)
        if layered and name.startswith("image_encoder.trunk.") and "pos_embed" not in name:
            layer = trunk.get_layer_id(name.removeprefix("image_encoder.trunk."))
            rate *= settings.layer_decay ** (trunk.get_num_layers() + 1 - layer)
        decay = 0.0 if name in norms or "bias" in name else settings.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _terms_of(known: tuple[PublishedFile, Config] | None) -> str:
    return "those of its publisher." if known is None else known[0].license


def _architecture(config: Config, image_size: int | None) -> Sam2Architecture:
    size = image_size or config.architecture.image_size
    if size % 32 or size < 64:
        message = f"The image size {size} is not a multiple of 32 from 64 on: try 512 or 1024."
        raise AutoMedSAMError(message)
    return replace(config.architecture, image_size=size)


class _Run:
    """One fine-tuning: the network, its optimiser, and how far it is."""

    def __init__(
        self,
        config: Config,
        architecture: Sam2Architecture,
        state: dict[str, Tensor],
        settings: Medsam2Settings,
        world: World,
        terms: str,
    ) -> None:
        torch.manual_seed(settings.seed + world.rank)
        network = build_sam2(architecture)
        absent = {key: torch.zeros_like(value) for key, value in network.state_dict().items() if key in config.zeros}
        network.load_state_dict({**state, **absent})
        for name, parameter in network.named_parameters():
            # What this network does not have stays zero, so that the result is of the same network.
            parameter.requires_grad_(name not in config.zeros)
        _drop_out_of_memory(network)
        self._config, self._settings, self._world, self._terms = config, settings, world, terms
        self._step = ClipStep(network.to(world.device), settings.interaction).train()
        self._optimiser = torch.optim.AdamW(parameter_groups(network, settings))
        self._wrapped: Any = self._step
        if world.size > 1:
            devices = None if world.device == "cpu" else [world.device]
            self._wrapped = nn.parallel.DistributedDataParallel(
                self._step, device_ids=devices, find_unused_parameters=True
            )
        self._epoch, self._steps, self._spent = 0, 0, 0.0

    def restore(self, path: Path) -> None:
        """Goes on where a checkpoint was written.

        Raises:
            AutoMedSAMError: if it is of another network, or damaged.
        """
        stored = read_stored(path)
        if not isinstance(stored, dict) or stored.get("config") != self._config.name:
            message = (
                f"{path} is no checkpoint of a fine-tuning of {self._config.name}: give the --start-from of its run."
            )
            raise AutoMedSAMError(message)
        self._step.network.load_state_dict(stored["model"])
        self._optimiser.load_state_dict(stored["optimiser"])
        self._epoch, self._steps, self._spent = int(stored["epoch"]), int(stored["steps"]), float(stored["spent"])

    def train(self, train_set: PreparedClips, val_set: PreparedClips, out: Path) -> None:
        """All epochs that are left, each ended by a validation and the files that were promised."""
        settings, world = self._settings, self._world
        sampler: DistributedSampler[Any] = DistributedSampler(
            train_set, world.size, world.rank, shuffle=True, seed=settings.seed, drop_last=True
        )
        log = TrainingLog(out) if world.main else None
        began = time.monotonic() - self._spent
        while self._epoch < settings.epochs:
            train_set.epoch = self._epoch
            sampler.set_epoch(self._epoch)
            loader = DataLoader(train_set, None, sampler=sampler, num_workers=spare_workers(world))
            self._one_epoch(loader, len(sampler), log)
            self._epoch += 1
            prompted, propagated = self._validate(val_set)
            self._spent = time.monotonic() - began
            if log is not None:
                self._save(out)  # an epoch in the log can be resumed from
                row = {"step": self._steps, "epoch": self._epoch, "seconds": round(self._spent, 1)}
                figures = {"validation_prompted_dice": prompted, "validation_propagated_dice": propagated}
                log.write(row | {name: round(value, 4) for name, value in figures.items() if not math.isnan(value)})
        if log is not None:
            self._save(out)
            log.close()

    def _one_epoch(self, loader: DataLoader[Any], count: int, log: TrainingLog | None) -> None:
        settings = self._settings
        batch = min(settings.batch, count)
        steps = count // batch
        clips, recent = iter(loader), []
        for step in range(steps):
            factor = settings.factor((self._epoch + step / steps) / settings.epochs)
            for group in self._optimiser.param_groups:
                group["lr"] = group["highest"] * factor
            began = time.monotonic()
            terms = self._learn([next(clips) for _ in range(batch)])
            self._steps += 1
            recent.append((terms, time.monotonic() - began))
            if log is not None and (self._steps % settings.log_every == 0 or step == steps - 1):
                mean = torch.stack([row for row, _ in recent]).mean(0).tolist()
                seconds = sum(spent for _, spent in recent) / len(recent)
                row = {"step": self._steps, "epoch": self._epoch + 1, "rate": settings.rate * factor}
                row |= {name: round(value, 4) for name, value in zip(TERMS, mean, strict=True)}
                log.write(row | {"seconds_a_step": round(seconds, 4)})
                recent.clear()

    def _learn(self, clips: list[Any]) -> Tensor:
        """One step of the optimiser: each clip counts by its objects."""
        world, network = self._world, self._step.network
        objects = sum(clip.masks.shape[1] for clip in clips)
        total = torch.zeros(len(TERMS))
        self._optimiser.zero_grad(set_to_none=True)
        for index, clip in enumerate(clips):
            last = index == len(clips) - 1
            # Gradients are exchanged once a step, with the last clip.
            alone = contextlib.nullcontext() if last or world.size == 1 else self._wrapped.no_sync()
            seed = (self._settings.seed * 1_000_003 + self._steps * world.size + world.rank) * 1009 + index
            with alone:
                with _half(world.device):
                    terms = self._wrapped(clip.frames.to(world.device), clip.masks.to(world.device), seed)
                (terms[-1] * clip.masks.shape[1] / objects).backward()
            total += terms.detach().cpu() * clip.masks.shape[1] / objects
        if not bool(torch.isfinite(total).all()):
            message = f"The training diverged at step {self._steps + 1} (its loss is not finite): try a lower --lr."
            raise AutoMedSAMError(message)
        nn.utils.clip_grad_norm_(network.parameters(), self._settings.max_grad_norm)
        self._optimiser.step()
        return total

    def _validate(self, val_set: PreparedClips) -> tuple[float, float]:
        """Mean Dice of prompted and of propagated frames, over all processes."""
        world = self._world
        sums = torch.zeros(2, 2, dtype=torch.float64, device=world.device)
        for index in range(world.rank, min(len(val_set), _MAX_VALIDATION), world.size):
            clip = val_set[index]
            with _half(world.device):
                found = self._step.evaluate(clip.frames.to(world.device), clip.masks.to(world.device))
            for row, dice in enumerate(found):
                if not math.isnan(dice):
                    sums[row] += torch.tensor([dice, 1.0], dtype=torch.float64, device=world.device)
        if world.size > 1:
            torch.distributed.all_reduce(sums)
        prompted, propagated = (float(total / count) if count else math.nan for total, count in sums.cpu())
        return prompted, propagated

    def _save(self, out: Path) -> None:
        model = {key: value.cpu() for key, value in self._step.network.state_dict().items()}
        kept = {key: value for key, value in model.items() if key not in self._config.zeros}
        weights = {"model": kept, "terms": self._terms}
        state = {"config": self._config.name, "model": model, "optimiser": self._optimiser.state_dict()}
        progress = {"epoch": self._epoch, "steps": self._steps, "spent": self._spent}
        save_checkpoint({**state, **progress}, out / CHECKPOINT)
        save_checkpoint(weights, out / WEIGHTS)


def _drop_out_of_memory(network: SAM2Base) -> None:
    """The dropout that SAM 2's memory attention is trained with; the engine's network, which only infers, has none."""
    modules: Iterable[Any] = network.memory_attention.modules()
    for module in modules:
        if isinstance(module, nn.Dropout):
            module.p = _MEMORY_DROPOUT
        elif hasattr(module, "dropout_p"):
            module.dropout_p = _MEMORY_DROPOUT


def _half(device: str) -> Any:
    """bfloat16 on CUDA; a CPU computes in float32."""
    return torch.autocast("cuda", torch.bfloat16) if device.startswith("cuda") else contextlib.nullcontext()
