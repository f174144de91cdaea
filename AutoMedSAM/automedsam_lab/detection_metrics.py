"""Average precision and the best score threshold of a detector, by numpy alone.

Boxes are xyxy, half-open. Average precision is the area under the interpolated precision-recall curve
(Everingham et al., IJCV 2010, all points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DetectionScores:
    """How well the boxes of some slices were found.

    Attributes:
        ap50: Average precision at an IoU of 0.5, the mean of the classes.
        ap75: The same at 0.75.
        threshold: The score threshold of the best F1 at an IoU of 0.5.
        f1: That F1.
        mean_iou: The mean IoU of the matched boxes above the threshold.
    """

    ap50: float
    ap75: float
    threshold: float
    f1: float
    mean_iou: float


def box_iou(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of a box `(4,)` with others `(n, 4)`."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    union = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    return np.asarray(common / np.maximum(union, 1e-9))


def suppress(boxes: np.ndarray, scores: np.ndarray, least_score: float = 0.02, overlap: float = 0.5) -> np.ndarray:
    """Non-maximum suppression, class by class, of one slice's raw output.

    Args:
        boxes: `(A, 4)` xyxy.
        scores: `(A, num_classes)`.
        least_score: Boxes below are dropped.
        overlap: The IoU from which the lower box is dropped.

    Returns:
        `(n, 6)`: class, score, x0, y0, x1, y1.
    """
    rows = []
    for label in range(scores.shape[1]):
        order = np.flatnonzero(scores[:, label] >= least_score)
        order = order[np.argsort(-scores[order, label], kind="stable")][:300]
        while len(order):
            first = order[0]
            rows.append([label, scores[first, label], *boxes[first]])
            order = order[1:][box_iou(boxes[first], boxes[order[1:]]) <= overlap]
    return np.array(rows, np.float32).reshape(-1, 6)


def score_detections(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], classes: int) -> DetectionScores:
    """Score the boxes of some slices.

    Args:
        found: For each slice `(n, 6)`, as `suppress` returns it.
        truth: For each slice `(n, 5)`: class, x0, y0, x1, y1.
        classes: Number of classes.

    Returns:
        The scores; 0 where there is nothing to find.
    """
    by_class = [_match(found, truth, label) for label in range(classes)]
    ap50 = [_average_precision(scores, ious >= 0.5, total) for scores, ious, total in by_class if total]
    ap75 = [_average_precision(scores, ious >= 0.75, total) for scores, ious, total in by_class if total]
    scores = np.concatenate([scores for scores, _, _ in by_class])
    ious = np.concatenate([ious for _, ious, _ in by_class])
    threshold, f1 = _best_threshold(scores, ious >= 0.5, sum(total for _, _, total in by_class))
    matched = ious[(scores >= threshold) & (ious >= 0.5)]
    return DetectionScores(
        float(np.mean(ap50)) if ap50 else 0.0,
        float(np.mean(ap75)) if ap75 else 0.0,
        threshold,
        f1,
        float(matched.mean()) if len(matched) else 0.0,
    )


def _match(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], label: int) -> tuple[np.ndarray, np.ndarray, int]:
    scores: list[float] = []
    ious: list[float] = []
    total = 0
    for every, real in zip(found, truth, strict=True):
        boxes, free = every[every[:, 0] == label], real[real[:, 0] == label, 1:]
        total += len(free)
        for box in boxes[np.argsort(-boxes[:, 1], kind="stable")]:
            overlap = box_iou(box[2:], free) if len(free) else np.zeros(1)
            best = int(overlap.argmax())
            scores.append(float(box[1]))
            ious.append(float(overlap[best]))
            if overlap[best] >= 0.5:
                free = np.delete(free, best, axis=0)
    return np.array(scores), np.array(ious), total


def _average_precision(scores: np.ndarray, right: np.ndarray, total: int) -> float:
    hits = right[np.argsort(-scores, kind="stable")].cumsum()
    if not len(hits):
        return 0.0
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def _best_threshold(scores: np.ndarray, right: np.ndarray, total: int) -> tuple[float, float]:
    if not len(scores) or not total:
        return 0.5, 0.0
    order = np.argsort(-scores, kind="stable")
    hits = right[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + total)
    best = int(f1.argmax())
    return float(scores[order][best]), float(f1[best])
