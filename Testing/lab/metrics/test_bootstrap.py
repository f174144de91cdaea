"""Intervals tell how far a mean would move with other patients."""

import math

import numpy as np
import pytest

from automedsam_lab.metrics.bootstrap import Resamples


def test_an_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(0.8, 0.1, 30)
    patients = [f"p{index:02}" for index in range(30)]
    ours = Resamples.draw(patients, resamples=5000, seed=1).of_mean(values.tolist(), patients)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert ours is not None and (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert ours.low < values.mean() < ours.high


def test_cases_of_one_patient_are_drawn_together() -> None:
    # Two patients, ten cases each, all alike within a patient: there are but three means to be had.
    values, patients = [0.0] * 10 + [1.0] * 10, ["a"] * 10 + ["b"] * 10
    interval = Resamples.draw(patients, resamples=500, seed=0).of_mean(values, patients)
    assert interval is not None and (interval.low, interval.high) == (0, 1)


def test_a_patient_with_more_cases_weighs_more_as_in_the_mean_itself() -> None:
    resamples = Resamples(("a", "b"), np.array([[1, 1]] * 4))
    interval = resamples.of_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert interval is not None and interval.low == interval.high == 0.75


def test_what_is_not_defined_is_left_out() -> None:
    resamples = Resamples.draw(["a", "b", "c"], resamples=200, seed=0)
    interval = resamples.of_mean([0.5, math.nan, 0.5], ["a", "b", "c"])
    assert interval is not None and (interval.low, interval.high) == (0.5, 0.5)
    assert resamples.of_mean([0.5, math.nan, math.nan], ["a", "b", "c"]) is None


def test_one_patient_has_no_interval() -> None:
    assert Resamples.draw(["a", "a"], resamples=10).of_mean([0.1, 0.9], ["a", "a"]) is None


def test_a_seed_gives_the_same_interval_in_whatever_order_the_cases_come() -> None:
    draw = {"resamples": 300, "seed": 4}
    one = Resamples.draw(["a", "b", "c"], **draw).of_mean([0.1, 0.5, 0.9], ["a", "b", "c"])
    assert one == Resamples.draw(["c", "a", "b"], **draw).of_mean([0.9, 0.1, 0.5], ["c", "a", "b"])
