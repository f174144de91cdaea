"""One label map of one method held against the reference: the row that every method has alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam_lab.metrics.lesions import score_lesions
from automedsam_lab.metrics.masks import Mask, dice, iou, surface_scores

NO_PROMPT = "none"
TRUE_BOX = "true box"
JITTERED_BOX = "jittered box"


@dataclass(frozen=True)
class MaskScores:
    """How close one label of one case came; see `automedsam_lab.metrics.masks` for empty masks.

    Attributes:
        dice: 0 to 1.
        iou: 0 to 1.
        nsd: normalised surface Dice at the evaluation's tolerance, 0 to 1.
        hd95_mm: 95th percentile Hausdorff distance in mm.
        truth_ml: volume of the reference in millilitres.
        found_ml: volume of the mask in millilitres.
        lesions: lesions of the reference that count.
        lesion_recall: the share of them that the mask touches; NaN if there are none.
        false_positives: lesions of the mask without a voxel in the reference.
    """

    dice: float
    iou: float
    nsd: float
    hd95_mm: float
    truth_ml: float
    found_ml: float
    lesions: int
    lesion_recall: float
    false_positives: int


@dataclass(frozen=True)
class MethodRow:
    """One label of one case by one method, be it ours, ours with a manual prompt, or a baseline.

    Attributes:
        method: as tables have it.
        case: its name.
        patient: whose it is.
        label: the segment's name.
        scores: how close it came.
        consistency: Dice with the automatic mask of the same backend; NaN where there is no such mask.
    """

    method: str
    case: str
    patient: str
    label: str
    scores: MaskScores
    consistency: float = float("nan")


def score_mask(
    reference: Mask, prediction: Mask, spacing: Sequence[float], voxel_ml: float, tolerance_mm: float
) -> MaskScores:
    """Scores one label.

    Args:
        reference: `(N, H, W)`.
        prediction: `(N, H, W)`.
        spacing: distance between voxel centres along each axis in mm.
        voxel_ml: a voxel's volume in millilitres.
        tolerance_mm: of the surface Dice.
    """
    surfaces = surface_scores(reference, prediction, spacing, tolerance_mm)
    lesions = score_lesions(reference, prediction, [], voxel_ml)
    return MaskScores(
        dice=dice(reference, prediction),
        iou=iou(reference, prediction),
        nsd=surfaces.nsd,
        hd95_mm=surfaces.hd95_mm,
        truth_ml=np.count_nonzero(reference) * voxel_ml,
        found_ml=np.count_nonzero(prediction) * voxel_ml,
        lesions=lesions.lesions,
        lesion_recall=lesions.recall,
        false_positives=lesions.false_masks,
    )
