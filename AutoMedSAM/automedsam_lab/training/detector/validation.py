"""Score a detector, trained or exported, on every slice of some patients, as the engine runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.core.color import image_luminance
from automedsam.detection.channels import detector_frames
from automedsam.detection.detector import MIN_SCORE, DetectorSettings, FlipAugmentation, Predict, YoloNasDetector
from automedsam_lab.data.detector_slices import DetectorTask, FrameStack, boxes_of, engine_settings
from automedsam_lab.data.prepared.dataset import PreparedImage
from automedsam_lab.metrics.average_precision import average_precision, best_threshold
from automedsam_lab.metrics.box_agreement import SliceBoxes


@dataclass(frozen=True)
class DetectorScores:
    """How well the boxes of some slices were found.

    Attributes:
        ap50: Average precision at an IoU of 0.5, the mean over the classes; 0 where there is nothing to find.
        ap50_95: The mean over the IoUs from 0.5 to 0.95.
        threshold: The score threshold of the best F1 at an IoU of 0.5.
        f1: That F1.
    """

    ap50: float
    ap50_95: float
    threshold: float
    f1: float


def measure_detector(
    task: DetectorTask, predict: Predict, stacks: Sequence[FrameStack], mirror: FlipAugmentation | None = None
) -> DetectorScores:
    """Score a detector without augmentation; slices with too little label to judge are left out.

    The engine's own code makes the input, averages the flipped image's boxes, and suppresses overlapping boxes, so
    that a threshold chosen here means the same when the bundle runs.

    Args:
        task: The detector's task.
        predict: The network: images `(B, 3, H, W)` in 0 to 1 to boxes `(B, A, 4)` and scores `(B, A, C)`.
        stacks: The patients.
        mirror: The bundle's test-time flip.

    Returns:
        The scores over all slices.
    """
    return _scores(_slice_boxes(task, predict, stacks, mirror), list(task.spec.labels))


def score_offsets(
    task: DetectorTask, predict: Predict, stacks: Sequence[FrameStack], mirror: FlipAugmentation | None = None
) -> list[float]:
    """What to add to the logit of each class so that one threshold suits all of them.

    Classes that compete for the same anchors, such as a tumour and its core, have scores of different height, and a
    user chooses a single threshold.

    Args:
        task: As all arguments, see `measure_detector`.
        predict: The network.
        stacks: Patients that may select a threshold.
        mirror: The bundle's test-time flip.

    Returns:
        By class, 0 or more: the difference in logits between its threshold of the best F1 and the highest of these.
    """
    cases = _slice_boxes(task, predict, stacks, mirror)
    best = np.clip([best_threshold(cases, [label])[0] for label in task.spec.labels], MIN_SCORE, 1 - MIN_SCORE)
    logits = np.log(best / (1 - best))
    return [float(offset) for offset in logits.max() - logits]


def _slice_boxes(
    task: DetectorTask, predict: Predict, stacks: Sequence[FrameStack], mirror: FlipAugmentation | None
) -> list[SliceBoxes]:
    detector = YoloNasDetector(predict, engine_settings(task, mirror))
    cases = []
    for stack in stacks:
        judged = [(index, boxes_of(task, labels_of)) for index, labels_of in enumerate(stack.labels)]
        shown = {index: real for index, real in judged if real is not None and stack.frames[:, index].any()}
        frames = detector_frames(stack.frames, stack.between_mm, task.context_mm, task.channels)[list(shown)]
        found = [
            np.array([(box.label, box.score, *box.corners) for box in boxes], np.float64).reshape(-1, 6)
            for boxes in detector.detect(frames)
        ]
        reference = [np.column_stack([real[:, :1] + 1, real[:, 1:]]).astype(np.float64) for real in shown.values()]
        cases.append(SliceBoxes(stack.patient, found, reference))
    return cases


def measure_on_images(images: Sequence[PreparedImage], predict: Predict, settings: DetectorSettings) -> DetectorScores:
    """Score a detector on images of a prepared dataset, in gray as the engine shows them.

    Args:
        images: The images, with their boxes.
        predict: As for `measure_detector`.
        settings: How the engine runs the detector.

    Returns:
        The scores over all images.
    """
    detector = YoloNasDetector(predict, settings)
    cases = []
    for image in images:
        gray = image_luminance(image.read())
        (boxes,) = detector.detect(np.repeat(gray[np.newaxis, ..., np.newaxis], 3, axis=3))
        found = np.array([(box.label, box.score, *box.corners) for box in boxes], np.float64).reshape(-1, 6)
        reference = np.array([(box.label, *box.corners) for box in image.boxes], np.float64).reshape(-1, 5)
        cases.append(SliceBoxes(image.name, [found], [reference]))
    return _scores(cases, list(settings.labels))


def _scores(cases: Sequence[SliceBoxes], labels: Sequence[int]) -> DetectorScores:
    precision = average_precision(cases, labels)
    ap50, ap50_95 = np.nan_to_num([precision.ap50, precision.ap]).tolist()
    return DetectorScores(ap50, ap50_95, *best_threshold(cases, labels))
