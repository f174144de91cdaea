"""Lesion-wise detection scores of a segmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box, Tracklet
from automedsam_lab.metrics.masks import Mask

MIN_LESION_ML = 0.1


@dataclass(frozen=True)
class LesionScores:
    """Which lesions of one label in one volume were found.

    Attributes:
        lesions: lesions of the reference that count.
        hit_by_mask: those of which the predicted mask has at least one voxel.
        hit_by_box: those of which a box of an accepted tracklet of the label has at least one pixel's centre.
        false_masks: predicted lesions that have no voxel of the reference.
        false_tracklets: accepted tracklets none of whose boxes has a pixel of the reference.
    """

    lesions: int
    hit_by_mask: int
    hit_by_box: int
    false_masks: int
    false_tracklets: int

    @property
    def recall(self) -> float:
        """The share of lesions that the mask touches; NaN if the reference has none."""
        return self.hit_by_mask / self.lesions if self.lesions else math.nan

    @property
    def box_recall(self) -> float:
        """The share of lesions that a box touches; NaN if the reference has none."""
        return self.hit_by_box / self.lesions if self.lesions else math.nan


def score_lesions(
    reference: Mask,
    prediction: Mask,
    tracklets: Sequence[Tracklet],
    voxel_ml: float,
    min_ml: float = MIN_LESION_ML,
) -> LesionScores:
    """Compares the lesions of one label, which are voxels joined by a face, an edge or a corner.

    Args:
        reference: `(N, H, W)` on the frames of the boxes' plane.
        prediction: the predicted mask `(N, H, W)`.
        tracklets: the accepted ones of this label.
        voxel_ml: a voxel's volume in millilitres.
        min_ml: smaller lesions, true or predicted, do not count; crumbs of a label are no lesions.
    """
    lesions = _lesions(reference, voxel_ml, min_ml)
    predicted = _lesions(prediction, voxel_ml, min_ml)
    boxes = [(index, box) for tracklet in tracklets for index, box in tracklet.boxes.items()]
    true_at = [_inside(reference, tracklet.boxes.items()) for tracklet in tracklets]
    return LesionScores(
        lesions=len(lesions),
        hit_by_mask=sum(bool(prediction[lesion].any()) for lesion in lesions),
        hit_by_box=sum(_inside(_mask_of(lesion, reference.shape), boxes) for lesion in lesions),
        false_masks=sum(not reference[lesion].any() for lesion in predicted),
        false_tracklets=sum(not hit for hit in true_at),
    )


def _lesions(mask: Mask, voxel_ml: float, min_ml: float) -> list[tuple[NDArray[np.int_], ...]]:
    """The voxels of each connected component that is large enough."""
    from scipy.ndimage import label

    parts, count = label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return [np.nonzero(parts == part) for part in range(1, count + 1) if sizes[part - 1] * voxel_ml >= min_ml]


def _mask_of(voxels: tuple[NDArray[np.int_], ...], shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[voxels] = True
    return mask


def _inside(mask: Mask, boxes: Iterable[tuple[int, Box]]) -> bool:
    """Whether a box has the centre of a pixel of the mask on its slice."""
    return any(bool(mask[index][_pixels(box)].any()) for index, box in boxes)


def _pixels(box: Box) -> tuple[slice, slice]:
    """The rows and columns whose centres lie in a half-open box."""
    x0, y0, x1, y1 = (max(0, math.ceil(edge - 0.5)) for edge in box.corners)
    return slice(y0, y1), slice(x0, x1)
