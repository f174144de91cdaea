"""INT8 beside FP32: what the table states is what the two runs give, on the command line and in the worker."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.bundle import Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.comparison import (
    FP32_ONLY,
    INT8_ONLY,
    OTHER_LABEL,
    Comparison,
    ComparisonRun,
    difference_labels,
    reference_backend,
)
from automedsam.pipeline.run import segment

if TYPE_CHECKING:
    from Testing.engine.conftest import Command, Worker

pytest.importorskip("onnx", reason="the lab is not installed")

from two_modalities import phantom, write_bundle


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "two")


@pytest.fixture(scope="module")
def a_bundle(a_folder: Path) -> Bundle:
    return load_bundle(a_folder)


@pytest.fixture(scope="module")
def a_volume() -> Volume:
    return phantom()[0]


@pytest.fixture(scope="module")
def compared(a_bundle: Bundle, a_volume: Volume) -> Comparison:
    run = ComparisonRun(a_volume, a_bundle)
    list(run.events())
    return run.result()


def row(comparison: Comparison, measure: str, segment: str = "") -> Any:
    return next(one for one in comparison.rows if (one.measure, one.segment) == (measure, segment))


def test_table_is_of_the_two_runs(compared: Comparison, a_bundle: Bundle, a_volume: Volume) -> None:
    int8, fp32 = (segment(a_volume, a_bundle, backend=one) for one in (Backend.INT8, Backend.FP32_ONNX))
    assert compared.reference is Backend.FP32_ONNX
    for one in a_bundle.segments:
        masks = int8.mask(one.value), fp32.mask(one.value)
        both = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
        assert row(compared, "Dice", one.name).between == pytest.approx(both)
        volumes = row(compared, "Volume", one.name)
        assert (volumes.int8, volumes.fp32) == pytest.approx((masks[0].sum() / 1000, masks[1].sum() / 1000))
        assert volumes.between == pytest.approx(volumes.int8 - volumes.fp32)
    # The FP32 detector of this bundle takes a smaller core.
    assert row(compared, "Dice", "Tumor core").between < 0.9 < 1 == row(compared, "Dice", "Whole tumor").between
    assert (
        1 < row(compared, "Mean surface distance", "Tumor core").between < row(compared, "HD95", "Tumor core").between
    )
    np.testing.assert_array_equal(compared.difference.labels > 0, int8.labels != fp32.labels)
    assert row(compared, "Disagreement").between == pytest.approx((int8.labels != fp32.labels).sum() / 1000)


def test_costs_are_measured(compared: Comparison, a_bundle: Bundle) -> None:
    for measure in ("Loading time", "Run time"):
        assert row(compared, measure).int8 > 0 and row(compared, measure).fp32 > 0
    size = row(compared, "Size on disk")
    assert size.int8 == pytest.approx(sum(path.stat().st_size for path in a_bundle.paths(Backend.INT8).values()) / 1e6)
    memory = row(compared, "Peak memory")
    if os.path.exists("/proc/self/clear_refs"):
        assert 50 < memory.int8 < 5000 and 50 < memory.fp32 < 5000
    else:
        assert memory.int8 is None and memory.fp32 is None


def test_peak_of_an_earlier_run_does_not_count() -> None:
    from automedsam.core.memory import peak_memory_mb, reset_peak_memory

    if not os.path.exists("/proc/self/clear_refs"):
        assert not reset_peak_memory()
        return
    taken = np.ones(60_000_000)
    high = peak_memory_mb()
    del taken
    assert reset_peak_memory() and peak_memory_mb() < high - 300


def test_voxels_are_named_by_who_found_them() -> None:
    int8, fp32 = np.array([0, 1, 0, 1, 2, 2], np.uint8), np.array([0, 0, 1, 1, 1, 2], np.uint8)
    assert difference_labels(int8, fp32).tolist() == [0, INT8_ONLY, FP32_ONLY, 0, OTHER_LABEL, 0]


def test_nothing_found_by_either_agrees(a_bundle: Bundle, a_volume: Volume) -> None:
    blank = replace(a_volume, array=np.random.default_rng(1).normal(0, 1, (2, 12, 40, 40)).astype(np.float32))
    run = ComparisonRun(blank, a_bundle, threshold=1.0)
    list(run.events())
    found = run.result()
    assert row(found, "Dice", "Whole tumor").between == 1 and row(found, "HD95", "Whole tumor").between is None
    assert not found.difference.labels.any()


def test_missing_precision_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="one has no FP32 files here to compare INT8 with"):
        reference_backend(load_bundle(write_bundle(tmp_path / "one", name="one", fp32=False)))
    folder = write_bundle(tmp_path / "two")
    (folder / "detector.int8.onnx").unlink()
    with pytest.raises(AutoMedSAMError, match="two has no INT8 files here"):
        reference_backend(load_bundle(folder))


@pytest.fixture
def images(a_volume: Volume, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "p_flair.nii.gz", tmp_path / "p_t1ce.nii.gz"]
    for path, array in zip(paths, a_volume.array, strict=True):
        sitk.WriteImage(a_volume.to_image(array), str(path))
    return paths


def test_command_writes_the_table_and_the_difference(
    command: Command,
    images: list[Path],
    a_folder: Path,
    compared: Comparison,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    table, difference = tmp_path / "compare.csv", tmp_path / "difference.seg.nrrd"
    code, output, error = command(
        "compare", *images[::-1], "--model", a_folder, "-o", table, "--difference", difference
    )
    assert code == 0, error
    assert "Tumor core" in output and "compare.csv" in output
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["measure", "segment", "unit", "INT8", "FP32", "INT8 vs FP32"]
    dice = next(float(line[5]) for line in lines if line[:2] == ["Dice", "Tumor core"])
    assert dice == pytest.approx(row(compared, "Dice", "Tumor core").between, abs=1e-4)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(difference)))
    np.testing.assert_array_equal(written, compared.difference.labels)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-o", "{folder}/a.txt"], "does not end in .csv"),
        (["-o", "{folder}/none/a.csv"], "none"),
        (["-o", "{folder}/a.csv", "--difference", "{folder}/a.xyz"], "a.xyz"),
        (["-o", "{folder}/a.csv", "--difference", "{folder}/p_flair.nii.gz"], "p_flair.nii.gz"),
        (["-o", "{folder}/a.csv", "--threshold", "2"], "threshold"),
    ],
)
def test_wrong_option_writes_nothing(
    command: Command, images: list[Path], a_folder: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    before = sorted(tmp_path.iterdir())
    code, output, error = command(
        "compare", *images, "--model", a_folder, *(one.format(folder=tmp_path) for one in options)
    )
    assert code == 2 and sentence in error and not output and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("verb", ["segment", "compare", "detect"])
def test_image_in_the_folder_that_is_read_is_never_overwritten(
    command: Command, images: list[Path], a_folder: Path, verb: str
) -> None:
    before = [path.read_bytes() for path in images]
    outputs = ["--difference", images[0]] if verb == "compare" else ["-o", images[0]]
    code, _, error = command(verb, images[0].parent, "--model", a_folder, *outputs)
    assert code == 2 and "is an input as well" in error
    assert [path.read_bytes() for path in images] == before


@pytest.fixture
def asked(a_volume: Volume, a_folder: Path, tmp_path: Path) -> dict[str, Any]:
    np.save(tmp_path / "volume.npy", a_volume.array)
    place = {"spacing": a_volume.spacing, "origin": a_volume.origin, "direction": a_volume.direction}
    volume = {"path": str(tmp_path / "volume.npy"), "name": "phantom", **place}
    return {"volume": volume, "difference": str(tmp_path / "difference.npy"), "model": str(a_folder)}


def test_worker_compares_with_progress(
    start: Callable[[], Worker], asked: dict[str, Any], compared: Comparison
) -> None:
    events = start().ask("compare", **asked)
    assert events[-1]["event"] == "compared", events[-1]
    done = [event["done"] for event in events[:-1]]
    assert {event["event"] for event in events[:-1]} == {"comparing"}
    assert done == sorted(done) and done[0] == 0 and 0.95 < done[-1] <= 1
    assert {(event["backend"], event["stage"]) for event in events[:-1]} >= {
        ("int8", "detect"), ("int8", "segment"), ("fp32-onnx", "detect"), ("fp32-onnx", "segment"),
    }  # fmt: skip
    rows = {(one["measure"], one["segment"]): one for one in events[-1]["rows"]}
    assert rows["Dice", "Tumor core"]["between"] == pytest.approx(row(compared, "Dice", "Tumor core").between)
    assert json.loads(json.dumps(events[-1]["rows"])) == events[-1]["rows"]
    np.testing.assert_array_equal(np.load(asked["difference"]), compared.difference.labels)


def test_worker_cancels_a_comparison_and_goes_on(start: Callable[[], Worker], asked: dict[str, Any]) -> None:
    worker = start()
    worker.send("compare", **asked)
    while worker.hear().get("stage") != "detect":
        pass
    worker.say('{"op": "cancel"}')
    assert worker.until("cancelled", "compared", "error")[-1]["event"] == "cancelled"
    assert not Path(asked["difference"]).exists()
    answer = worker.ask("compare", **{**asked, "model": "glioma"})[-1]
    assert answer["event"] == "error" and answer["user_error"]
