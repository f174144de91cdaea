"""Segmenters prompted by a detector's boxes instead of reference boxes: what they reach without a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automedsam.core.color import image_luminance
from automedsam.detection.channels import detector_frames
from automedsam.detection.detector import Detector, DetectorSettings
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.segmenters import BoxSegmenter, to_native
from automedsam_lab.metrics.average_precision import detected_mask_average_precision
from automedsam_lab.metrics.masks import Mask, dice, iou


@dataclass(frozen=True)
class DetectedBoxes:
    """The boxes of one image.

    Attributes:
        boxes: `(n, 4)`, half-open, in frame pixels, by descending score.
        scores: `(n,)`, 0 to 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Automatic:
    """A segmenter with a detector, on all images of an evaluation.

    Attributes:
        name: the segmenter's.
        dice: of the accepted objects of an image together, the mean of each patient's images and then of the patients.
        ap50: average precision of all detected masks at an IoU of 0.5.
        ap: AP50:95.
    """

    name: str
    dice: float
    ap50: float
    ap: float


def detect_boxes(
    detector: Detector, settings: DetectorSettings, pack: Pack, rows: Sequence[int]
) -> list[DetectedBoxes]:
    """Runs a bundle's detector on images of a pack, each as a volume of one slice in gray levels."""
    found = []
    for row in rows:
        height, width = pack.images[row].content
        gray = image_luminance(np.asarray(pack.pixels[row])[:height, :width])
        frames = detector_frames(gray[None, None], 1.0, settings.context_mm, settings.channels)
        (boxes,) = detector.detect(frames)
        corners = np.array([(box.x, box.y, box.x + box.width, box.y + box.height) for box in boxes], np.float32)
        found.append(DetectedBoxes(corners.reshape(-1, 4), np.array([box.score for box in boxes], np.float64)))
    return found


def evaluate_automatic(
    segmenter: BoxSegmenter, pack: Pack, rows: Sequence[int], detected: Sequence[DetectedBoxes], threshold: float
) -> Automatic:
    """Segments what a detector found.

    Args:
        segmenter: what is measured.
        pack: the images.
        rows: of images with masks.
        detected: the boxes of each of these images.
        threshold: the score from which a box counts as an object for `dice`; the average precision takes all boxes.
    """
    overlaps: list[NDArray[np.float64]] = []
    by_patient: dict[str, list[float]] = {}
    for row, one in zip(rows, detected, strict=True):
        image, reference = pack.images[row], pack.native_masks(row)
        masks = _masks(segmenter, pack, row, one.boxes)
        values = [iou(real, mask) for mask in masks for real in reference]
        overlaps.append(np.array(values, np.float64).reshape(len(masks), len(reference)))
        accepted: Mask = np.any(masks[one.scores >= threshold], axis=0)
        objects: Mask = np.any(reference, axis=0)
        by_patient.setdefault(image.patient, []).append(dice(objects, accepted))
    ap50, ap = detected_mask_average_precision(overlaps, [one.scores for one in detected])
    return Automatic(segmenter.name, float(np.mean([np.mean(dices) for dices in by_patient.values()])), ap50, ap)


def _masks(segmenter: BoxSegmenter, pack: Pack, row: int, boxes: NDArray[np.float32]) -> Mask:
    """Masks `(n, h, w)` at native resolution."""
    image = pack.images[row]
    if not len(boxes):
        return np.zeros((0, *image.native), np.bool_)
    logits, _ = segmenter.segment(np.asarray(pack.pixels[row]), image.content, boxes)
    return to_native(logits, image.content, image.native)
