"""What a student learns from: references, and a teacher's logits, embedding, attention and saliency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam_lab.distillation.batches import MASK_SIDE, Batch
from automedsam_lab.distillation.targets import CHANNELS
from automedsam_lab.models.student.network import Levels, Student
from automedsam_lab.training.segmenter.losses import mask_terms

ENTROPY_WEIGHT, IOU_WEIGHT = 5.0, 0.5


class Term(str, Enum):
    """What of a teacher a student learns from, in the order of the ablation.

    Attributes:
        LOGITS: mask logits of the prompts.
        EMBEDDING: the image embedding, through a 1 x 1 head that only serves training.
        ATTENTION: how much tokens are attended to.
        SALIENCY: how strongly tokens are excited.
    """

    LOGITS = "logits"
    EMBEDDING = "embedding"
    ATTENTION = "attention"
    SALIENCY = "saliency"


WEIGHTS: Mapping[Term, float] = {Term.LOGITS: 1.0, Term.EMBEDDING: 1.0, Term.ATTENTION: 0.5, Term.SALIENCY: 0.5}


@dataclass(frozen=True)
class StudentOutput:
    """What a student made of a batch: logits `(n, 64, 64)`, expected IoU `(n,)`, its levels, and its attention.

    The attention `(B, h, w)` is None of a student without any.
    """

    logits: Tensor
    ious: Tensor
    levels: Levels
    attention: Tensor | None


class EmbeddingHead(nn.Module):
    """The student's pyramid at stride 8 in the teacher's channels; it is not exported."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(width, CHANNELS, 1)
        with torch.no_grad():
            # The embedding's deviation is 0.1: a plain start would be 90 times its variance off.
            self.read.weight.mul_(0.05)

    def forward(self, shared: Tensor) -> Tensor:
        """`(B, d, 32, 32)` to `(B, 256, 32, 32)`."""
        result: Tensor = self.read(shared.float())
        return result


def run(student: Student, batch: Batch) -> StudentOutput:
    """A forward pass of all prompts."""
    levels = student.encode(batch.images)
    times = len(batch.masks) // len(batch.images)
    logits, ious = student.decode(levels.repeated(times), batch.prompts)
    return StudentOutput(logits.float(), ious.float(), levels, student.attention())


def losses(output: StudentOutput, batch: Batch, head: EmbeddingHead, terms: frozenset[Term]) -> dict[str, Tensor]:
    """The terms of the loss, each the mean over what it is known of.

    Args:
        output: of the student.
        batch: what it was given.
        head: for the embedding.
        terms: what of the teacher to learn from.

    Returns:
        "reference", "iou", and the value of each term.
    """
    logits = F.interpolate(output.logits[:, None], (MASK_SIDE, MASK_SIDE), mode="bilinear", align_corners=False)[:, 0]
    entropy, dice = mask_terms(logits, batch.masks)
    found: dict[str, Tensor] = {"reference": _mean(ENTROPY_WEIGHT * entropy + dice, batch.mask_weight)}
    hard, true = logits.detach() > 0, batch.masks > 0.5
    iou = (hard & true).sum((1, 2)) / (hard | true).sum((1, 2)).clamp(min=1)
    found["iou"] = _mean((output.ious - iou).abs(), batch.mask_weight)
    if Term.LOGITS in terms:
        entropy, dice = mask_terms(output.logits, batch.logits.sigmoid())
        found[Term.LOGITS.value] = _mean(ENTROPY_WEIGHT * entropy + dice, batch.logit_weight)
    if Term.EMBEDDING in terms:
        error = (head(output.levels.shared).float() - batch.embedding).square().mean((1, 2, 3))
        found[Term.EMBEDDING.value] = _mean(error, batch.map_weight) / _variance(batch)
    if Term.ATTENTION in terms:
        # Without attention of its own, a student's activations stand for what it looks at.
        student_attention = output.attention if output.attention is not None else energy(output.levels.shared)
        found[Term.ATTENTION.value] = _mean(map_distance(student_attention, batch.attention), batch.map_weight)
    if Term.SALIENCY in terms:
        distance = map_distance(energy(output.levels.shared), energy(batch.embedding))
        found[Term.SALIENCY.value] = _mean(distance, batch.map_weight)
    return found


def total(found: Mapping[str, Tensor], progress: float) -> Tensor:
    """The weighted sum at a `progress` of 0..1 of the training; the teacher's maps fade, its logits stay."""
    fade = 1.0 - 0.8 * progress
    value = found["reference"] + IOU_WEIGHT * found["iou"]
    for term, weight in WEIGHTS.items():
        if term.value in found:
            value = value + weight * (1.0 if term is Term.LOGITS else fade) * found[term.value]
    return value


def energy(features: Tensor) -> Tensor:
    """The mean square over the channels, `(B, h, w)`: an activation map (Zagoruyko and Komodakis, 2017).

    What is constant over space, 41 % of the variance of LiteMedSAM's embedding, is left out: it shows no place.
    """
    features = features.float()
    return (features - features.mean((2, 3), keepdim=True)).square().mean(1)


def map_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distance `(B,)` of two maps `(B, h, w)`, each brought to norm 1; the first takes the second's size."""
    if found.shape != wanted.shape:
        found = F.interpolate(found[:, None].float(), wanted.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    directions = [F.normalize(one.float().flatten(1), dim=1, eps=1e-6) for one in (found, wanted)]
    return (directions[0] - directions[1]).square().sum(1)


def _variance(batch: Batch) -> Tensor:
    known = batch.embedding[batch.map_weight > 0]
    return known.var().clamp(min=1e-6) if len(known) else torch.ones(())


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
