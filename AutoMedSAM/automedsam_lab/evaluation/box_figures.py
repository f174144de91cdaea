"""Figures of a model whose references are boxes: what its boxes find, and how many of them are false."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.pipeline.backends import load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data.dataset import DatasetCase
from automedsam_lab.evaluation.cases import CaseSelection, check_fits
from automedsam_lab.metrics.average_precision import average_precision, box_iou, ranked_hits
from automedsam_lab.metrics.bootstrap import Resamples
from automedsam_lab.metrics.box_agreement import SliceBoxes, slice_boxes

CANDIDATES = tuple(round(0.01 * step, 2) for step in range(2, 91))
"""Thresholds to choose from: the scores of a detector that is seldom right are low, and close to each other."""

FALSE_BOXES = (0.25, 0.5, 1.0, 2.0)
"""False boxes an image at which the sensitivity is given, as in a free-response ROC curve."""

_DIGITS = 4


@dataclass(frozen=True)
class OperatingPoint:
    """What a score threshold gives at an IoU of 0.5, over all labels.

    Attributes:
        threshold: Score from which a box is accepted.
        sensitivity: Share of the true boxes that are found.
        false_boxes: False boxes an image.
        f1: Of the boxes.
    """

    threshold: float
    sensitivity: float
    false_boxes: float
    f1: float


def operating_point(cases: Sequence[SliceBoxes], labels: Sequence[int], threshold: float) -> OperatingPoint:
    """What a threshold gives on some cases."""
    ranked = _Ranked.of(cases, labels)
    return ranked.point(int(np.count_nonzero(ranked.scores >= threshold)), threshold)


def threshold_within(
    cases: Sequence[SliceBoxes], labels: Sequence[int], most: float, candidates: Iterable[float] = CANDIDATES
) -> OperatingPoint:
    """The threshold of the best F1 among those with few false boxes; the highest candidate if none has so few.

    Args:
        cases: Boxes on patients that may select the threshold.
        labels: The labels that are looked for.
        most: The most false boxes an image.
        candidates: Thresholds to choose from.
    """
    ranked = _Ranked.of(cases, labels)
    points = [
        ranked.point(int(np.count_nonzero(ranked.scores >= threshold)), threshold) for threshold in sorted(candidates)
    ]
    few = [point for point in points if point.false_boxes <= most] or points[-1:]
    return max(few, key=lambda point: point.f1)


def detected_boxes(bundle: Bundle, cases: Iterable[DatasetCase], backend: Backend) -> list[SliceBoxes]:
    """The boxes of every case as a run detects them, whatever their score, beside the true ones.

    Raises:
        AutoMedSAMError: A case cannot be read, or is of another task than the bundle.
    """
    model = load_model(bundle, backend)
    found = []
    for case in cases:
        loaded = case.load()
        check_fits(bundle, case, loaded)
        run = SegmentationRun(loaded.volume, bundle, engine=model)
        for _ in run.detect(model.detector):
            pass
        found.append(slice_boxes(case.patient, run.detections, loaded.boxes or {}))
    return found


def figures_of_boxes(bundle: Bundle, selection: CaseSelection, backends: Sequence[Backend]) -> dict[str, Any]:
    """The section `measured` of the manifest of a model whose references are boxes; see `box_figures`."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": selection.description,
        "machine": describe_machine(),
        **{one.value: box_figures(detected_boxes(bundle, selection.cases, one), bundle) for one in backends},
    }


def box_figures(boxes: Sequence[SliceBoxes], bundle: Bundle) -> dict[str, Any]:
    """What a manifest tells of a model whose references are boxes.

    Args:
        boxes: Of held-out cases, as `detected_boxes` returns them.
        bundle: The model.

    Returns:
        JSON values. `ap50` is the mean over the labels, with its 95 % interval by patient, and `ap50_by_label` each
        label's; `sensitivity_at_false_boxes` is the share of the true boxes that are found at so many false boxes an
        image; `at_threshold` is what the bundle's own threshold gives, where `iou` is the mean over the true boxes of
        their IoU with the best accepted box of their label, 0 where there is none.
    """
    labels = {segment.value: segment.name for segment in bundle.segments}
    ranked = _Ranked.of(boxes, list(labels))
    precision = average_precision(boxes, list(labels), Resamples.draw([case.patient for case in boxes]))
    point = operating_point(boxes, list(labels), bundle.detector.score_threshold)
    true = [int(label) for case in boxes for real in case.reference for label in real[:, 0]]
    return {
        "ap50": _rounded(precision.ap50),
        "ap50_interval": precision.ap50_interval and [_rounded(end) for end in precision.ap50_interval.to_json()],
        "ap50_95": _rounded(precision.ap),
        "ap50_by_label": {name: _rounded(average_precision(boxes, [label]).ap50) for label, name in labels.items()},
        "boxes_by_label": {name: true.count(label) for label, name in labels.items()},
        "sensitivity_at_false_boxes": {f"{most:g}": _rounded(ranked.sensitivity_at(most)) for most in FALSE_BOXES},
        "at_threshold": {
            "sensitivity": _rounded(point.sensitivity),
            "false_boxes": _rounded(point.false_boxes),
            "iou": _rounded(_mean_iou(boxes, point.threshold)),
        },
    }


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The boxes of all labels together, by falling score.

    Attributes:
        scores: `(n,)`.
        hits: `(n,)`, how many of the boxes up to each found a true one at an IoU of 0.5.
        total: True boxes.
        images: Images.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.int_]
    total: int
    images: int

    @classmethod
    def of(cls, cases: Sequence[SliceBoxes], labels: Sequence[int]) -> _Ranked:
        return cls(*ranked_hits(cases, labels), sum(len(case.reference) for case in cases))

    def point(self, accepted: int, threshold: float) -> OperatingPoint:
        """What the first boxes give."""
        hits = int(self.hits[accepted - 1]) if accepted else 0
        f1 = 2 * hits / max(1, accepted + self.total)
        return OperatingPoint(threshold, hits / max(1, self.total), (accepted - hits) / self.images, f1)

    def sensitivity_at(self, most: float) -> float:
        """The highest sensitivity with at most so many false boxes an image."""
        false_boxes = (np.arange(1, len(self.hits) + 1) - self.hits) / self.images
        found = self.hits[false_boxes <= most]
        return float(found[-1]) / max(1, self.total) if len(found) else 0.0


def _mean_iou(cases: Sequence[SliceBoxes], threshold: float) -> float:
    overlaps = [
        max((float(box_iou(true[1:], box[None, 2:])[0]) for box in _accepted(found, true[0], threshold)), default=0.0)
        for case in cases
        for found, real in zip(case.prediction, case.reference, strict=True)
        for true in real
    ]
    return fmean(overlaps) if overlaps else 0.0


def _accepted(found: NDArray[np.float64], label: float, threshold: float) -> NDArray[np.float64]:
    return found[(found[:, 0] == label) & (found[:, 1] >= threshold)]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, _DIGITS)
