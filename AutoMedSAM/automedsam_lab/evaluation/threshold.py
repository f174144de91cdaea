"""A bundle's score threshold beside the one of the best F1, on patients that may choose it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.core.segmentation import mask_of
from automedsam.pipeline.backends import load_model
from automedsam.pipeline.run import SegmentationRun, link_frames
from automedsam_lab.data.dataset import DatasetCase
from automedsam_lab.evaluation.cases import check_fits
from automedsam_lab.metrics.average_precision import best_threshold, f1_at
from automedsam_lab.metrics.bootstrap import Interval, Resamples
from automedsam_lab.metrics.box_agreement import BoxRule, SliceBoxes, slice_boxes, true_boxes
from automedsam_lab.metrics.masks import dice

_CANDIDATES = tuple(round(0.2 + 0.05 * step, 2) for step in range(11))
_NEAR_BEST = 0.005


@dataclass(frozen=True)
class ThresholdScores:
    """What a threshold gives.

    Attributes:
        threshold: Score from which a box is accepted.
        f1: Of the boxes at an IoU of 0.5, over all labels and slices.
        dice: By patient, the mean over the labels.
    """

    threshold: float
    f1: float
    dice: tuple[float, ...]


@dataclass(frozen=True)
class ThresholdComparison:
    """The bundle's threshold and the one of the best F1.

    Attributes:
        own: With the bundle's threshold.
        best: With the threshold of the best F1.
        gain: Mean gain in Dice of the best one.
        interval: 95 % interval of the gain by patient; None with one patient.
    """

    own: ThresholdScores
    best: ThresholdScores
    gain: float
    interval: Interval | None


def compare_thresholds(bundle: Bundle, cases: Iterable[DatasetCase]) -> ThresholdComparison:
    """Detects once a case, by the engine's own INT8 run, and segments with either threshold.

    Args:
        bundle: The model.
        cases: Cases of patients that may select the threshold; all need masks.

    Raises:
        AutoMedSAMError: A case cannot be read, has no masks, or is of another task than the bundle.
    """
    detected = _DetectedCases(bundle, cases)
    own = detected.scores_at(bundle.detector.score_threshold)
    best = detected.scores_at(_rounded_down(best_threshold(detected.boxes, detected.labels)[0]))
    gains = np.subtract(best.dice, own.dice).tolist()
    return ThresholdComparison(
        own, best, fmean(gains), Resamples.draw(detected.patients).of_mean(gains, detected.patients)
    )


def threshold_of_best_dice(bundle: Bundle, cases: Iterable[DatasetCase]) -> tuple[ThresholdScores, ...]:
    """The threshold whose automatic segmentations agree best with the reference.

    The threshold of the best F1 of boxes accepts a false object for each doubtful box that it keeps, and such an object
    may fill a lobe. A few patients do not tell apart thresholds of almost equal Dice, so of those near the best the
    middle one is taken.

    Args:
        bundle: The model.
        cases: Cases of patients that may select the threshold; all need masks.

    Returns:
        The scores at the selected threshold first, then those at all candidates in ascending order.

    Raises:
        AutoMedSAMError: As `compare_thresholds`.
    """
    detected = _DetectedCases(bundle, cases)
    candidates = tuple(map(detected.scores_at, _CANDIDATES))
    means = np.array([fmean(scores.dice) for scores in candidates])
    near = np.flatnonzero(means >= means.max() - _NEAR_BEST)
    return candidates[near[(len(near) - 1) // 2]], *candidates


class _DetectedCases:
    """The boxes of every case, so that any threshold can be tried on them."""

    def __init__(self, bundle: Bundle, cases: Iterable[DatasetCase]) -> None:
        self.labels = [segment.value for segment in bundle.segments]
        self.boxes: list[SliceBoxes] = []
        self._runs: list[tuple[SegmentationRun, NDArray[np.uint8]]] = []
        model, rule = load_model(bundle, Backend.INT8), BoxRule.of(bundle)
        for case in cases:
            loaded = case.load()
            check_fits(bundle, case, loaded)
            volume, reference = case.masks_of(loaded)
            run = SegmentationRun(volume, bundle, engine=model)
            for _ in run.detect(model.detector):
                pass
            reference_frames = replace(volume, array=reference).to_frames(run.plane)[0]
            reference_boxes = true_boxes(reference_frames, self.labels, rule, bundle.inside)
            self.boxes.append(slice_boxes(case.patient, run.detections, reference_boxes))
            self._runs.append((run, reference_frames))

    @property
    def patients(self) -> list[str]:
        return [boxes.patient for boxes in self.boxes]

    def scores_at(self, threshold: float) -> ThresholdScores:
        dices = (_dice(run, reference_frames, threshold, self.labels) for run, reference_frames in self._runs)
        return ThresholdScores(threshold, f1_at(self.boxes, self.labels, threshold), tuple(dices))


def _rounded_down(threshold: float) -> float:
    # The box of the threshold itself stays accepted.
    return max(int(threshold * 1000) / 1000, 0.001)


def _dice(run: SegmentationRun, reference_frames: NDArray[np.uint8], threshold: float, labels: list[int]) -> float:
    linking = replace(run.linking, threshold=threshold)
    for _ in run.propagate(link_frames(run.detections, run.spacing, linking, run.frames)):
        pass
    inside, found = run.bundle.inside, run.tracker.labels
    return fmean(dice(mask_of(reference_frames, inside, label), mask_of(found, inside, label)) for label in labels)
