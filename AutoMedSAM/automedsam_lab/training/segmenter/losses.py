"""The losses that train the segmenter: the clips' own loss, and that of a head that only serves training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam_lab.data.clips import OBJECT_KINDS

LOGIT_LIMIT = 30.0
FOCAL_WEIGHT, FOCAL_ALPHA = 20.0, 0.25


class DenseHead(nn.Module):
    """Reads what things are straight off the image embedding, without a prompt; it only serves training.

    Gradients that must pass the prompt decoder teach a fresh encoder little: deep supervision (Lee et al., 2015)
    shows it the anatomy first. The head is a linear reading of all three levels, and is not exported.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(width + width // 4 + width // 8, len(OBJECT_KINDS), 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """`(B, kinds, S / 4, S / 4)` logits from the three levels of `SAM2Base.forward_image`."""
        size = levels[0].shape[-2:]
        spread = [F.interpolate(level, size=size, mode="bilinear") for level in levels]
        return cast(Tensor, self.read(torch.cat(spread, 1)))

    def loss(self, levels: list[Tensor], masks: Tensor, kinds: Tensor) -> Tensor:
        """Cross-entropy and Dice of each frame's own kind; frames of kind -1 have none.

        Args:
            levels: of B frames.
            masks: `(B, 1, S, S)`.
            kinds: `(B,)`.
        """
        known = kinds >= 0
        if not known.any():
            return levels[0].sum() * 0
        logits = self(levels)[torch.arange(len(kinds)), kinds.clamp(min=0)][known]
        target = F.interpolate(masks[known], size=logits.shape[-2:], mode="area")[:, 0]
        entropy, dice = mask_terms(logits, target)
        return (5 * entropy + dice).mean()


def clip_loss(logits: Tensor, ious: Tensor, appearing: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Cross-entropy and Dice on the mask at half resolution, the IoU head's error, and presence.

    Args:
        logits: `(B, 1, S / 4, S / 4)`.
        ious: `(B, 1)`, the model's own estimates.
        appearing: `(B,)` presence logits.
        target: `(B, 1, S, S)` in 0..1.
        present: `(B,)`, 1 where the object is on the frame; other frames teach presence alone.
    """
    logits = F.interpolate(logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), scale_factor=2, mode="bilinear")[:, 0]
    target = F.interpolate(target, size=logits.shape[-2:], mode="area")[:, 0]
    entropy, dice = mask_terms(logits, target)
    hard, true = logits > 0, target > 0.5
    iou = (hard & true).sum((1, 2)) / (hard | true).sum((1, 2)).clamp(min=1)
    mask_loss = 5 * entropy + dice + 0.5 * (ious[:, 0] - iou).abs()
    return (mask_loss * present).mean() + 0.5 * F.binary_cross_entropy_with_logits(appearing, present)


def mask_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice loss, `(B,)` each, of masks `(B, h, w)`."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    probability = logits.sigmoid()
    overlap, total = (probability * target).sum((1, 2)), probability.sum((1, 2)) + target.sum((1, 2))
    return entropy, 1 - (2 * overlap + 1) / (total + 1)


@dataclass(frozen=True)
class MaskLoss:
    """The four terms of SAM 2's loss, each the mean over the objects.

    Attributes:
        focal: of the mask's pixels (Lin et al., 2017; alpha 0.25, gamma 2).
        dice: soft Dice of the mask.
        iou: the error of the IoU that the model expects, L1.
        presence: cross-entropy of whether the object is on the frame.
    """

    focal: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted 20 : 1 : 1 : 1, as SAM 2 and MedSAM2 are trained."""
        return FOCAL_WEIGHT * self.focal + self.dice + self.iou + self.presence


def candidates_loss(logits: Tensor, ious: Tensor, appearing: Tensor, target: Tensor) -> MaskLoss:
    """SAM 2's loss of one to three candidate masks of each object (Ravi et al., 2024, appendix D.2).

    The mask of least focal and Dice loss learns its pixels, every mask its IoU; objects that are not on the frame
    teach their absence alone.

    Args:
        logits: `(O, M, H, W)`.
        ious: `(O, M)`, the model's own estimates.
        appearing: `(O, 1)` presence logits.
        target: `(O, H, W)` bool.
    """
    reference = target[:, None].expand_as(logits)
    wanted = reference.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    right = torch.where(reference, probability, 1 - probability)
    weight = torch.where(reference, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    focal = (weight * (1 - right) ** 2 * entropy).mean((2, 3))
    overlap, total = (probability * wanted).sum((2, 3)), probability.sum((2, 3)) + wanted.sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    hard = logits > 0
    iou = (hard & reference).sum((2, 3)) / (hard | reference).sum((2, 3)).clamp(min=1)
    error = (ious - iou).abs().mean(1)
    best = (FOCAL_WEIGHT * focal + dice).argmin(1, keepdim=True)
    present = target.flatten(1).any(1).to(logits.dtype)
    return MaskLoss(
        (focal.gather(1, best)[:, 0] * present).mean(),
        (dice.gather(1, best)[:, 0] * present).mean(),
        (error * present).mean(),
        F.binary_cross_entropy_with_logits(appearing[:, 0], present),
    )


def hard_dice(low: Tensor, target: Tensor, present: Tensor) -> float:
    """Mean Dice of low-resolution logits on the frames that show the object; not a number if none does."""
    with torch.no_grad():
        hard = F.interpolate(low, size=target.shape[-2:], mode="bilinear")[:, 0] > 0
        true = target[:, 0] > 0.5
        dice = 2 * (hard & true).sum((1, 2)) / (hard.sum((1, 2)) + true.sum((1, 2))).clamp(min=1)
        return float(dice[present > 0].mean()) if present.any() else math.nan
