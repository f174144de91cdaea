"""How sure a mean is: percentile bootstrap over patients (Efron and Tibshirani, 1993, chapter 13).

Patients are drawn with replacement, each with all of its cases, since two cases of one patient say less than two
patients do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """`[low, high]`."""
        return [self.low, self.high]


@dataclass(frozen=True, eq=False)
class Resamples:
    """The same draws for every figure, so that differences between methods are paired.

    Attributes:
        patients: in a fixed order.
        counts: `(resamples, patients)`, how often each was drawn; a row sums to the number of patients.
        level: of the intervals, 0 to 1.
    """

    patients: tuple[str, ...]
    counts: NDArray[np.int_]
    level: float = LEVEL

    @classmethod
    def draw(
        cls, patients: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
    ) -> Resamples:
        """Draws as many patients as there are, with replacement, `resamples` times.

        Args:
            patients: any order; repetitions count once.
            resamples: how often to draw.
            seed: of the draws.
            level: of the intervals, 0 to 1.
        """
        distinct = tuple(sorted(set(patients)))
        rng = np.random.default_rng(seed)
        share = [1 / len(distinct)] * len(distinct)
        return cls(distinct, rng.multinomial(len(distinct), share, size=resamples), level)

    def of_mean(self, values: Sequence[float], patients: Sequence[str]) -> Interval | None:
        """The interval of the mean over cases.

        Args:
            values: one a case; NaN is left out, as in the mean itself.
            patients: whose case it is.

        Returns:
            None with fewer than two patients: one alone has no spread to tell of.
        """
        sums, cases = np.zeros(len(self.patients)), np.zeros(len(self.patients))
        place = {patient: index for index, patient in enumerate(self.patients)}
        for value, patient in zip(values, patients, strict=True):
            if not math.isnan(value):
                sums[place[patient]] += value
                cases[place[patient]] += 1
        if np.count_nonzero(cases) < 2:
            return None
        drawn = self.counts @ cases
        with np.errstate(invalid="ignore"):
            return self.of_statistics((self.counts @ sums) / np.where(drawn > 0, drawn, np.nan))

    def of_statistics(self, statistics: NDArray[np.float64]) -> Interval | None:
        """The interval between the percentiles of what each resample gave; NaN ones are left out."""
        defined = statistics[~np.isnan(statistics)]
        if len(self.patients) < 2 or not len(defined):
            return None
        tail = 50 * (1 - self.level)
        low, high = np.percentile(defined, [tail, 100 - tail])
        return Interval(float(low), float(high))
