"""The curve of Dice over memories is measured on the same boxes, and its settings reach the engine."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from automedsam.bundle import load_bundle
from automedsam_lab.benchmark.memory_length import Point, averages, measure_memories, plot_points, write_points
from automedsam_lab.data.builtin_dataset import BuiltinDataset
from automedsam_lab.data.dataset import select_cases


@pytest.fixture(scope="module")
def measured(shared_data: Path) -> list[Point]:
    """One hippocampus with one to five memories."""
    cases = select_cases(BuiltinDataset("hippocampus", shared_data), "val", 1)
    return [point for points in measure_memories(load_bundle("hippocampus"), cases, strides=(1, 2)) for point in points]


def test_every_number_of_memories_is_measured(measured: list[Point]) -> None:
    settings = [(point.memories, point.stride) for point in measured]
    assert settings == [(5, 1), (5, 2), (4, 1), (4, 2), (3, 1), (3, 2), (2, 1), (1, 1)]
    assert all(point.cpu_ms > 0 for point in measured)


def test_all_memories_give_what_a_run_gives(measured: list[Point], shared_data: Path) -> None:
    from automedsam.contract.backends import Backend
    from automedsam_lab.evaluation.case import evaluate_case

    bundle = load_bundle("hippocampus")
    case = select_cases(BuiltinDataset("hippocampus", shared_data), "val", 1)[0]
    result, _ = evaluate_case(case, case.load(), bundle, Backend.INT8)
    assert measured[0].dice == pytest.approx(fmean(row.dice for row in result.rows))


def test_fewer_memories_are_another_run(measured: list[Point]) -> None:
    assert measured[0].dice != measured[-1].dice


def test_the_mean_is_over_cases() -> None:
    points = [Point("a", 2, 1, 0.5, 10.0), Point("a", 1, 1, 0.4, 5.0), Point("b", 2, 1, 0.7, 20.0)]
    assert list(averages(points)) == [Point("mean", 2, 1, pytest.approx(0.6), 15.0), Point("mean", 1, 1, 0.4, 5.0)]


def test_table_and_plot_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the lab's packages are not installed")
    points = [Point("a", 2, 1, 0.5, 10.0), Point("a", 1, 1, 0.4, 5.0)]
    write_points(points, tmp_path / "memories.csv")
    plot_points(points, "a model", tmp_path / "memories.png")
    assert (tmp_path / "memories.csv").read_text("utf-8").splitlines()[1] == "a,2,1,0.5,10.0"
    assert (tmp_path / "memories.png").read_bytes().startswith(b"\x89PNG")
