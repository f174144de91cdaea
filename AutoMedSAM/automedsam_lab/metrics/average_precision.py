"""Average precision of boxes as COCO counts it, and its interval by patient.

The rules are those of COCO's own evaluation (Lin et al., ECCV 2014; pycocotools): on each slice the boxes of a class,
at most 100, take by falling score the free true box that they overlap most, if the overlap reaches the threshold;
precision, made monotonous, is read at 101 recalls; AP50:95 is the mean over the thresholds 0.50, 0.55 ... 0.95.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from automedsam_lab.metrics.bootstrap import Interval, Resamples
from automedsam_lab.metrics.box_agreement import SliceBoxes

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MAX_BOXES = 100


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the boxes of one class, by falling score.

    Attributes:
        scores: `(n,)`, falling.
        hits: `(10, n)` bool, whether a box found a true one at each threshold.
        patients: `(n,)`, the index of the patient of each box.
        totals: `(P,)`, true boxes of each patient.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    patients: NDArray[np.int_]
    totals: NDArray[np.int_]


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision, the mean of the classes that the reference has; NaN where it has none.

    Attributes:
        ap50: at an IoU of 0.5.
        ap: AP50:95, the mean over the IoUs from 0.5 to 0.95.
        ap50_interval: of `ap50`, by patient; None with one patient.
        ap_interval: of `ap`.
        slices: how many were judged.
        boxes: how many true boxes they have.
    """

    ap50: float
    ap: float
    ap50_interval: Interval | None
    ap_interval: Interval | None
    slices: int
    boxes: int


def average_precision(
    cases: Sequence[SliceBoxes], labels: Sequence[int], resamples: Resamples | None = None
) -> AveragePrecision:
    """Scores a detector on the slices of some cases.

    Args:
        cases: the boxes.
        labels: the classes.
        resamples: draws of the cases' patients, for the intervals; without them there are none.
    """
    patients = resamples.patients if resamples else tuple(sorted({case.patient for case in cases}))
    classes = [match(cases, label, patients) for label in labels]
    classes = [matches for matches in classes if matches.totals.sum()]
    ap50, ap = _mean_of_classes(classes, np.ones(len(patients), np.int_))
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    if resamples and len(patients) > 1 and classes:
        # With few patients the draws repeat; each is computed once.
        draws, again = np.unique(resamples.counts, axis=0, return_inverse=True)
        drawn = np.array([_mean_of_classes(classes, draw) for draw in draws])[again.ravel()]
        intervals = resamples.of_statistics(drawn[:, 0]), resamples.of_statistics(drawn[:, 1])
    return AveragePrecision(
        ap50,
        ap,
        *intervals,
        slices=sum(len(case.reference) for case in cases),
        boxes=sum(len(boxes) for case in cases for boxes in case.reference),
    )


def mask_average_precision(ious: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[float, float]:
    """AP50 and AP50:95 of masks each of which was prompted for one object, which nothing else can take.

    Args:
        ious: `(n,)` of each mask and its object.
        scores: `(n,)`, by which the masks are ranked.

    Returns:
        Both, NaN where there are no masks.
    """
    order = np.argsort(-scores, kind="stable")
    hits = ious[order][None] >= THRESHOLDS[:, None]
    alone = np.zeros(len(ious), np.int_)
    return _mean_of_classes([Matches(scores[order], hits, alone, np.array([len(ious)]))], np.ones(1, np.int_))


def detected_mask_average_precision(
    overlaps: Sequence[NDArray[np.float64]], scores: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """AP50 and AP50:95 of masks that a detector found, matched as boxes are, but by the IoU of masks.

    Args:
        overlaps: of each image, the IoU `(n, m)` of its n masks with its m objects.
        scores: of each image, `(n,)`, by which its masks are ranked.

    Returns:
        Both, NaN where there are no objects.
    """
    hits: list[NDArray[np.bool_]] = []
    ranked: list[NDArray[np.float64]] = []
    for overlap, score in zip(overlaps, scores, strict=True):
        order = np.argsort(-score, kind="stable")[:_MAX_BOXES]
        hits.append(_match_slice(overlap[order]))
        ranked.append(score[order])
    total = np.array([sum(overlap.shape[1] for overlap in overlaps)])
    matches = _joined(ranked, hits, np.zeros(sum(map(len, ranked)), np.int_), total)
    return _mean_of_classes([matches], np.ones(1, np.int_))


def match(cases: Sequence[SliceBoxes], label: int, patients: Sequence[str]) -> Matches:
    """Matches the boxes of one class, slice by slice.

    Args:
        cases: the boxes.
        label: the class.
        patients: all of them, in the order that the result counts by.
    """
    place = {patient: index for index, patient in enumerate(patients)}
    scores: list[NDArray[np.float64]] = []
    hits: list[NDArray[np.bool_]] = []
    owners: list[int] = []
    totals = np.zeros(len(patients), np.int_)
    for case in cases:
        for prediction, reference in zip(case.prediction, case.reference, strict=True):
            boxes, real = prediction[prediction[:, 0] == label], reference[reference[:, 0] == label, 1:]
            boxes = boxes[np.argsort(-boxes[:, 1], kind="stable")][:_MAX_BOXES]
            totals[place[case.patient]] += len(real)
            scores.append(boxes[:, 1])
            overlaps = [box_iou(box, real) for box in boxes[:, 2:]]
            hits.append(_match_slice(np.array(overlaps).reshape(len(boxes), len(real))))
            owners += [place[case.patient]] * len(boxes)
    return _joined(scores, hits, np.array(owners, np.int_), totals)


def ranked_hits(
    cases: Sequence[SliceBoxes], labels: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int_], int]:
    """The boxes of all classes together.

    Returns:
        Scores `(n,)` in descending order, how many of the boxes down to each found a true one at an IoU of 0.5
        `(n,)`, and the number of true boxes.
    """
    patients = tuple(sorted({case.patient for case in cases}))
    classes = [match(cases, label, patients) for label in labels]
    scores = np.concatenate([matches.scores for matches in classes])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([matches.hits[0] for matches in classes])[order].cumsum()
    return scores[order], hits, sum(int(matches.totals.sum()) for matches in classes)


def best_threshold(cases: Sequence[SliceBoxes], labels: Sequence[int]) -> tuple[float, float]:
    """The score threshold of the best F1 at an IoU of 0.5, over all classes together.

    Args:
        cases: The boxes.
        labels: The classes.

    Returns:
        The threshold and its F1; 0.5 and 0 where there is nothing to find or nothing was found.
    """
    scores, f1 = _f1_by_score(cases, labels)
    if not len(scores):
        return 0.5, 0.0
    best = int(f1.argmax())
    return float(scores[best]), float(f1[best])


def f1_at(cases: Sequence[SliceBoxes], labels: Sequence[int], threshold: float) -> float:
    """F1 at an IoU of 0.5 of the boxes of a score of at least `threshold`, over all classes together."""
    scores, f1 = _f1_by_score(cases, labels)
    accepted = int(np.count_nonzero(scores >= threshold))
    return float(f1[accepted - 1]) if accepted else 0.0


def _f1_by_score(cases: Sequence[SliceBoxes], labels: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores in descending order, and F1 of the boxes down to each; empty where there is nothing to find."""
    scores, hits, total = ranked_hits(cases, labels)
    if not total:
        return np.zeros(0), np.zeros(0)
    return scores, 2 * hits / (np.arange(1, len(hits) + 1) + total)


def box_iou(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of a box `(4,)` with others `(n, 4)`, `x0, y0, x1, y1`, half-open."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    union = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    return np.asarray(common / np.maximum(union, 1e-9))


def _joined(
    scores: Sequence[NDArray[np.float64]],
    hits: Sequence[NDArray[np.bool_]],
    owners: NDArray[np.int_],
    totals: NDArray[np.int_],
) -> Matches:
    """The boxes of all slices by falling score; of each slice its scores `(n,)` and hits `(10, n)`."""
    flat = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-flat, kind="stable")
    every = np.concatenate(hits, axis=1) if hits else np.zeros((len(THRESHOLDS), 0), np.bool_)
    return Matches(flat[order], every[:, order], owners[order], totals)


def _match_slice(overlaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which predictions find an object at each threshold, `(10, n)`.

    Args:
        overlaps: IoU `(n, m)` of the predictions, in descending order of score, with the objects.
    """
    count, objects = overlaps.shape
    hits = np.zeros((len(THRESHOLDS), count), np.bool_)
    if not objects:
        return hits
    free = np.ones((len(THRESHOLDS), objects), np.bool_)
    for index, row in enumerate(overlaps):
        overlap = np.where(free, row, -1.0)
        # Of equal overlaps COCO takes the last.
        best = overlap.shape[1] - 1 - overlap[:, ::-1].argmax(1)
        hit = overlap[np.arange(len(THRESHOLDS)), best] >= THRESHOLDS - 1e-10
        hits[:, index] = hit
        free[np.flatnonzero(hit), best[hit]] = False
    return hits


def _mean_of_classes(classes: Sequence[Matches], drawn: NDArray[np.int_]) -> tuple[float, float]:
    """AP50 and AP50:95 with each patient as often as drawn; NaN where no class has a true box."""
    found = [_precision(matches, drawn) for matches in classes if (matches.totals * drawn).sum()]
    if not found:
        return math.nan, math.nan
    mean = np.mean(found, axis=0)
    return float(mean[0]), float(mean.mean())


def _precision(matches: Matches, drawn: NDArray[np.int_]) -> NDArray[np.float64]:
    """Average precision at each threshold, `(10,)`."""
    weights = drawn[matches.patients]
    hits = (matches.hits * weights).cumsum(1)
    recall = hits / (matches.totals * drawn).sum()
    precision = hits / np.maximum(weights.cumsum(), 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    read = np.zeros((len(THRESHOLDS), len(_RECALLS)))
    for row, (here, values) in enumerate(zip(recall, precision, strict=True)):
        at = np.searchsorted(here, _RECALLS, side="left")
        reached = at < len(here)
        read[row, reached] = values[at[reached]]
    return np.asarray(read.mean(1))
