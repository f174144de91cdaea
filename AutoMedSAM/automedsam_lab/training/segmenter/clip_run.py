"""Clips through the network: prompts, memories and losses, frame by frame.

SAM 2 is trained on interactive clips (Ravi et al., 2024, section 4 and appendix D.2); here a box or points start the
object on the first frame and, in half of the clips, further ones arrive on later frames, on top of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from automedsam_lab.data.clips import Clip, jitter_box, normalize, tight_box
from automedsam_lab.training.segmenter.losses import LOGIT_LIMIT, DenseHead, clip_loss, hard_dice

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

BOX_LABELS = (2, 3)


@dataclass(frozen=True)
class Prompting:
    """How the objects of clips are prompted.

    Attributes:
        again: the probability that a later frame is prompted, too.
        jitter: draw the boxes as a detector would, a little off.
        points: points on and off the object, not boxes.
    """

    again: float = 0.0
    jitter: bool = True
    points: bool = False


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
    prompting: Prompting,
    head: DenseHead | None = None,
) -> ClipResult:
    """Runs a batch of clips of equal length through the model, each started by a prompt on its first frame.

    Args:
        model: the network, on the device where it shall run.
        clips: B clips of T frames.
        rng: jitters the boxes and chooses the frames that are prompted again.
        prompting: how the objects are prompted.
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
        prompted = index == 0 or (rng.random() < prompting.again and bool(masks[index].flatten(1).any(1).all()))
        prompt, dense = None, None
        if prompted and prompting.points:
            prompt = _points(masks[index, :, 0], rng)
        elif prompted:
            prompt = _boxes(masks[index, :, 0], rng if prompting.jitter else None)
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
    return ClipResult(loss, dices[0], mean_of_known(dices[1:]))


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
            run_clips(model, list(clips[first : first + batch]), rng, prompting=Prompting(jitter=False))
            for first in range(0, len(clips), batch)
        ]
    model.train(was_training)
    prompted = float(np.mean([r.prompted_dice for r in results]))
    return prompted, mean_of_known([r.propagated_dice for r in results])


def mean_of_known(values: Sequence[float]) -> float:
    """The mean of the numbers among the values; not a number if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
