"""Dice from boxes by set on test patients, and average precision on Kvasir."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.prompts import jitter_box
from automedsam_lab.distillation.segmenters import BoxSegmenter, to_native
from automedsam_lab.metrics.average_precision import mask_average_precision
from automedsam_lab.metrics.masks import dice, iou

EXACT, JITTERED = "exact", "jittered"
PROMPTS = (EXACT, JITTERED)
JITTER_SEED = 20261127
AP_SET = "kvasir"


@dataclass(frozen=True)
class MaskScore:
    """One object from one prompt.

    Attributes:
        set: of its image.
        patient: of its image.
        prompt: "exact" or "jittered".
        dice: at native resolution.
        iou: at native resolution.
        confidence: what the segmenter expects of its mask.
    """

    set: str
    patient: str
    prompt: str
    dice: float
    iou: float
    confidence: float


@dataclass
class Evaluation:
    """All objects by one segmenter.

    Attributes:
        name: the segmenter's.
        scores: in the order of the images.
    """

    name: str
    scores: list[MaskScore] = field(default_factory=list)

    def dice(self, name: str, prompt: str) -> float:
        """Mean Dice of a set: of each patient's objects, then of the patients."""
        by_patient: dict[str, list[float]] = {}
        for score in self.scores:
            if score.set == name and score.prompt == prompt:
                by_patient.setdefault(score.patient, []).append(score.dice)
        return float(np.mean([np.mean(dices) for dices in by_patient.values()]))

    def average_precision(self, name: str = AP_SET, prompt: str = EXACT) -> tuple[float, float]:
        """AP50 and AP50:95 of the masks of a set; NaN where it has none."""
        chosen = [score for score in self.scores if score.set == name and score.prompt == prompt]
        return mask_average_precision(
            np.array([score.iou for score in chosen]), np.array([score.confidence for score in chosen])
        )


def rows_with_masks(pack: Pack, part: Part, each: int | None = None) -> list[int]:
    """The images of a part that have masks; of each set at most so many, at equal distances."""
    by_set: dict[str, list[int]] = {}
    for row in pack.of_part(part):
        if pack.images[row].masks:
            by_set.setdefault(pack.images[row].set, []).append(row)
    return [row for rows in by_set.values() for row in rows[:: 1 if each is None else -(-len(rows) // each)]]


def evaluate(
    segmenter: BoxSegmenter, pack: Pack, rows: Sequence[int], done: Callable[[int], None] = lambda _row: None
) -> Evaluation:
    """Prompts a segmenter with the box of each object, exact and jittered.

    Args:
        segmenter: what is measured.
        pack: the images.
        rows: of images with masks.
        done: called with each row when it is measured.
    """
    result = Evaluation(segmenter.name)
    for row in rows:
        image, reference = pack.images[row], pack.native_masks(row)
        boxes = prompt_boxes(pack, row)
        flat = np.concatenate([boxes[prompt] for prompt in PROMPTS])
        logits, ious = segmenter.segment(np.asarray(pack.pixels[row]), image.content, flat)
        found = to_native(logits, image.content, image.native)
        for place, mask in enumerate(found):
            real = reference[place % len(reference)]
            result.scores.append(
                MaskScore(
                    image.set,
                    image.patient,
                    PROMPTS[place // len(reference)],
                    dice(real, mask),
                    iou(real, mask),
                    float(ious[place]),
                )
            )
        done(row)
    return result


def prompt_boxes(pack: Pack, row: int) -> dict[str, NDArray[np.float32]]:
    """The boxes `(m, 4)` of an image's objects in the frame, by prompt; the jitter is the same in every run."""
    image = pack.images[row]
    exact = np.array(image.boxes[: image.masks], np.float32)
    rng = np.random.default_rng((JITTER_SEED, row))
    return {EXACT: exact, JITTERED: np.stack([jitter_box(box, rng, image.content) for box in exact])}
