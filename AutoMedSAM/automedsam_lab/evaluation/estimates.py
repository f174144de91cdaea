"""Means over cases with their intervals by patient, method by method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from automedsam_lab.evaluation.mask_scores import MethodRow
from automedsam_lab.metrics.bootstrap import Interval, Resamples

METRICS = ("dice", "iou", "nsd", "hd95_mm", "lesion_recall", "false_positives")


ALL_LABELS = "all labels"


@dataclass(frozen=True)
class Estimate:
    """A mean over cases and its interval by patient; None where nothing defines it."""

    mean: float | None
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"mean": self.mean, "interval": self.interval.to_json() if self.interval else None}


class MethodTable:
    """The rows of all methods, and means over them.

    Args:
        resamples: of the cases' patients.
        patients: whose each case is.
        labels: the segments' names.
        rows: by case, label and method.
    """

    def __init__(
        self, resamples: Resamples, patients: Mapping[str, str], labels: Sequence[str], rows: list[MethodRow]
    ) -> None:
        self.resamples, self.rows, self.labels = resamples, rows, labels
        self._patients = patients
        self._by_method: dict[str, dict[tuple[str, str], MethodRow]] = {}
        for row in rows:
            self._by_method.setdefault(row.method, {})[row.case, row.label] = row

    def figure(self, by_case: Mapping[str, float]) -> Estimate:
        """The mean of one value a case."""
        defined = [value for value in by_case.values() if not math.isnan(value)]
        interval = self.resamples.of_mean(list(by_case.values()), [self._patients[case] for case in by_case])
        return Estimate(fmean(defined) if defined else None, interval)

    def figures(self, method: str) -> dict[str, dict[str, Estimate]]:
        """By label; with several labels "all labels" is the mean of each case's labels."""
        if method not in self._by_method:
            return {}
        named = [*self.labels, ALL_LABELS] if len(self.labels) > 1 else list(self.labels)
        return {
            label: {
                # What is false of any label is false of the volume; all else is a share or a distance.
                figure: self.figure(
                    self.by_case(method, _score(figure), label, math.fsum if figure == "false_positives" else fmean)
                )
                for figure in METRICS
            }
            for label in named
        }

    def apart(self, method: str, first: str) -> Estimate | None:
        """Dice of a method less that of the first, by case."""
        if method == first or not {method, first} <= self._by_method.keys():
            return None
        return self.paired_difference(method, first)

    def paired_difference(self, one: str, other: str) -> Estimate:
        """Dice of one method less that of another, by case."""
        mine, its = (self.by_case(method, _score("dice")) for method in (one, other))
        return self.figure({case: mine[case] - its[case] for case in mine if case in its})

    def by_case(
        self,
        method: str,
        value: Callable[[MethodRow], float],
        label: str = ALL_LABELS,
        combine: Callable[[list[float]], float] = fmean,
    ) -> dict[str, float]:
        """One value a case, by default the mean of its labels where all are asked for."""
        rows = self._by_method.get(method, {})
        labels = self.labels if label == ALL_LABELS else [label]
        found: dict[str, float] = {}
        for case in dict.fromkeys(case for case, _ in rows):
            values = [value(rows[case, name]) for name in labels if (case, name) in rows]
            defined = [one for one in values if not math.isnan(one)]
            found[case] = combine(defined) if defined else math.nan
        return found


def _score(figure: str) -> Callable[[MethodRow], float]:
    return lambda row: float(getattr(row.scores, figure))
