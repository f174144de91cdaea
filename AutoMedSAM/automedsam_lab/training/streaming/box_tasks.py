"""Segmenting the object in a box: one random object of each image, for two networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam.core.letterbox import Letterbox
from automedsam_lab.data.clips import Clip, jitter_box, tight_box
from automedsam_lab.data.shards.sample import ShardSample
from automedsam_lab.models.starter_segmenter import STARTER, build_trainable
from automedsam_lab.training.segmenter.clip_run import Prompting, run_clips
from automedsam_lab.training.segmenter.losses import hard_dice
from automedsam_lab.training.streaming.box_unet import BoxUnet
from automedsam_lab.training.streaming.settings import StreamedModel
from automedsam_lab.training.streaming.task import StreamedTask

UNET_SIDE = 128


@dataclass(frozen=True)
class BoxExample:
    """One object of an image in a square frame, and its box as a detector would draw it.

    Attributes:
        side: of the frame in pixels.
    """

    side: int

    def __call__(self, sample: ShardSample, rng: np.random.Generator) -> dict[str, Tensor] | None:
        """`image` `(3, S, S)` and `mask` `(S, S)` uint8, `box` `(4,)` as `x0, y0, x1, y1`; None without an object."""
        if not sample.objects:
            return None
        letterbox = Letterbox.fit(sample.shape, (self.side, self.side))
        mask = torch.from_numpy(letterbox.mask(sample.mask(int(rng.integers(len(sample.objects)))).astype(np.uint8)))
        if not mask.any():
            return None
        pixels = letterbox.image(sample.pixels())
        image = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)) if pixels.ndim == 2 else pixels
        box = jitter_box(tight_box(mask > 0), self.side, rng)
        return {"image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), "mask": mask, "box": box}


def streamed_task(model: StreamedModel, seed: int, side: int | None = None) -> StreamedTask:
    """A task for one of the networks, freshly initialized.

    Args:
        model: which network.
        seed: of the weights.
        side: of the frame in pixels, a multiple of 32; the network's usual one if None.
    """
    torch.manual_seed(seed)
    builders: dict[StreamedModel, Callable[[int | None], StreamedTask]] = {
        StreamedModel.UNET: _unet,
        StreamedModel.STARTER: _starter,
    }
    return builders[model](side)


def _unet(side: int | None) -> StreamedTask:
    chosen = side or UNET_SIDE
    described = {"architecture": {"kind": "box-unet", "side": chosen}}
    return StreamedTask(f"unet at {chosen} pixels", BoxUnet(), BoxExample(chosen), _unet_loss, described)


def _starter(side: int | None) -> StreamedTask:
    architecture = replace(STARTER, image_size=side or STARTER.image_size)
    return StreamedTask(
        f"starter at {architecture.image_size} pixels",
        build_trainable(architecture),
        BoxExample(architecture.image_size),
        _starter_loss,
        {"architecture": architecture.to_manifest()},
    )


def _unet_loss(network: nn.Module, batch: dict[str, Tensor], _rng: np.random.Generator) -> dict[str, Tensor]:
    """Cross-entropy, five times, and soft Dice loss, as `train segmenter` weights them."""
    target = (batch["mask"] > 0).float()
    logits = network(batch["image"].float() / 255, batch["box"]).float()
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap, total = (probability * target).sum((1, 2)), probability.sum((1, 2)) + target.sum((1, 2))
    soft = (1 - (2 * overlap + 1) / (total + 1)).mean()
    present = torch.ones(len(target), device=target.device)
    dice = hard_dice(logits[:, None].detach(), target[:, None], present)
    return {"loss": 5 * entropy + soft, "dice": torch.tensor(dice)}


def _starter_loss(network: nn.Module, batch: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """The loss of `train segmenter` on clips of one frame, which is its first stage."""
    gray = batch["image"].float().mean(1, keepdim=True) / 255
    masks = (batch["mask"] > 0).float()[:, None]
    clips = [Clip(frame[None], mask[None]) for frame, mask in zip(gray, masks, strict=True)]
    result = run_clips(network, clips, rng, prompting=Prompting(jitter=network.training))  # type: ignore[arg-type]
    return {"loss": result.loss, "dice": torch.tensor(result.prompted_dice)}
