"""Baselines are scored as ours are, or refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")

from bright_engine import draw_head, draw_truth, use_bright_engine

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.evaluation.baseline_scores import PredictionFolder, machine_words
from automedsam_lab.evaluation.cases import CaseSelection
from automedsam_lab.evaluation.run import ComparedMethods, evaluate
from automedsam_lab.evaluation.settings import EvaluationSettings

QUICK = EvaluationSettings(resamples=20, timed_images=0, pictures=False)
TRUTH = draw_truth()
HEAD = draw_head(TRUTH)
CASES = [DatasetCase(name, name, "FLAIR", lambda: LoadedCase(HEAD, TRUTH)) for name in ("one", "two")]


@pytest.fixture
def a_bundle(a_manifest: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    use_bright_engine(monkeypatch)
    return a_manifest


@pytest.fixture
def a_baseline(tmp_path: Path) -> Path:
    """A baseline that misses half of the slices of each case."""
    found = TRUTH.copy()
    found[::2] = 0
    return write_baseline(tmp_path / "baseline", found)


def write_baseline(folder: Path, found: np.ndarray, **fields: Any) -> Path:
    folder.mkdir()
    described = {
        "schema": 1,
        "name": "Rival",
        "version": "2.1",
        "licence": "free",
        "prompted": "none",
        "weights": "trained here",
        "size_mb": 12.5,
        "machine": {"cpu": "a processor", "cores": 2},
        "cpu_minutes_training": 30,
        "cases": {case.name: {"seconds": 0.8, "images": 16} for case in CASES},
        "note": "a <b>note</b>",
    }
    (folder / "baseline.json").write_text(json.dumps({**described, **fields}), encoding="utf-8")
    for case in CASES:
        sitk.WriteImage(HEAD.to_image(found), str(folder / f"{case.name}.nii.gz"))
    return folder


def run(bundle: Bundle, folder: Path, baselines: list[Path], **settings: Any) -> dict[str, Any]:
    opened = [PredictionFolder.open(baseline) for baseline in baselines]
    chosen = EvaluationSettings(**{**vars(QUICK), **settings})
    evaluate(bundle, CaseSelection(CASES), folder, ComparedMethods([Backend.INT8], opened), chosen)
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_a_baseline_stands_in_the_same_table_with_the_same_figures(
    a_bundle: Bundle, a_baseline: Path, tmp_path: Path
) -> None:
    summary = run(a_bundle, tmp_path / "out", [a_baseline])
    ours, baseline, *manual = summary["methods"]
    assert (ours["name"], baseline["name"]) == ("AutoMedSAM INT8", "Rival 2.1")
    assert [method["prompt"] for method in manual] == ["true box", "jittered box"]
    # Of the slices 5 to 11 the odd ones are left: 4 of 7.
    assert baseline["figures"]["tumour"]["dice"]["mean"] == pytest.approx(8 / 11)
    assert baseline["figures"]["tumour"]["iou"]["mean"] == pytest.approx(4 / 7)
    assert baseline["figures"].keys() == ours["figures"].keys()
    apart = baseline["figures"]["tumour"]["dice"]["mean"] - ours["figures"]["tumour"]["dice"]["mean"]
    assert baseline["dice_apart"]["mean"] == pytest.approx(apart)
    assert (baseline["ms_per_image"], baseline["images"], baseline["size_mb"]) == (50, 32, 12.5)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Rival 2.1" in page and "30 CPU minutes" in page and "a &lt;b&gt;note&lt;/b&gt;" in page
    lines = (tmp_path / "out" / "methods.csv").read_text().splitlines()
    assert sum(line.startswith("Rival 2.1,") for line in lines) == len(CASES)


def test_random_weights_have_speed_and_size_and_no_accuracy(a_bundle: Bundle, tmp_path: Path) -> None:
    folder = write_baseline(tmp_path / "random", TRUTH, weights="random")
    for case in CASES:
        (folder / f"{case.name}.nii.gz").unlink()
    baseline = run(a_bundle, tmp_path / "out", [folder])["methods"][1]
    assert baseline["figures"] == {} and baseline["dice_apart"] is None and baseline["ms_per_image"] == 50
    assert "random weights" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Rival" not in (tmp_path / "out" / "methods.csv").read_text()


def test_a_missing_label_map_is_reported_before_anything_is_run(
    a_bundle: Bundle, a_baseline: Path, tmp_path: Path
) -> None:
    (a_baseline / "two.nii.gz").unlink()
    with pytest.raises(AutoMedSAMError, match=r"Rival 2\.1 has no label map of two"):
        run(a_bundle, tmp_path / "out", [a_baseline])
    assert not (tmp_path / "out" / "results.csv").exists()


def test_a_label_map_on_another_grid_is_refused(a_bundle: Bundle, a_baseline: Path, tmp_path: Path) -> None:
    path = a_baseline / "one.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetSpacing((1, 1, 3))
    sitk.WriteImage(image, str(path))
    with pytest.raises(AutoMedSAMError, match=r"one\.nii\.gz does not lie on the grid of the case one"):
        run(a_bundle, tmp_path / "out", [a_baseline])


def test_labels_that_the_task_has_not_are_refused(a_bundle: Bundle, tmp_path: Path) -> None:
    folder = write_baseline(tmp_path / "strange", 3 * TRUTH)
    with pytest.raises(AutoMedSAMError, match=r"one\.nii\.gz has the value 3, and the task's are 0, 1"):
        run(a_bundle, tmp_path / "out", [folder])


def test_a_faulty_case_is_skipped_and_reported_on_request(a_bundle: Bundle, a_baseline: Path, tmp_path: Path) -> None:
    (a_baseline / "two.nii.gz").unlink()
    summary = run(a_bundle, tmp_path / "out", [a_baseline], skip_bad=True)
    assert summary["cases"] == ["one"]
    assert [(left["name"], "no label map" in left["reason"]) for left in summary["left_out"]] == [("two", True)]
    assert "Excluded: 1 case<" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_two_baselines_of_one_name_are_refused(a_bundle: Bundle, a_baseline: Path, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"Two baselines are called Rival 2\.1"):
        run(a_bundle, tmp_path / "out", [a_baseline, a_baseline])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema": 2}, "has schema 2, and this version reads 1"),
        (
            {"weights": "borrowed"},
            r"the field weights is \"borrowed\": input should be 'trained here', 'given' or 'random'",
        ),
        ({"cases": {"one": {"seconds": 1}}}, r"the field cases\.one\.images is missing"),
        ({"size_mb": "large"}, r"the field size_mb is \"large\": input should be a valid number"),
        ({"name": None}, "the field name is null: input should be a valid string"),
    ],
)
def test_a_faulty_baseline_manifest_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=message):
        PredictionFolder.open(write_baseline(tmp_path / "baseline", TRUTH, **fields))


def test_a_folder_without_a_baselines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        AutoMedSAMError, match=r"There is no .*baseline\.json; give the folder of a baseline that has finished"
    ):
        PredictionFolder.open(tmp_path)


def test_what_our_own_adapters_write_is_read(tmp_path: Path) -> None:
    prediction = pytest.importorskip("automedsam_lab.data.prediction_folder")
    from automedsam_lab.common.system_info import describe_machine

    cases = {"one": {"seconds": 1.0, "images": 4}}
    baseline = prediction.Baseline(
        name="X",
        version="1",
        license="free",
        prompted="box",
        weights="given",
        size_mb=3.0,
        machine=describe_machine(),
        cases=cases,
    )
    prediction.write_baseline(baseline, tmp_path)
    opened = PredictionFolder.open(tmp_path)
    assert (opened.method, opened.baseline.prompted, opened.ms_per_image(["one"])) == ("X 1", "box", 250)
    assert opened.machine == machine_words(describe_machine())


def test_folder_of_the_old_name_is_read(tmp_path: Path) -> None:
    folder = write_baseline(tmp_path / "baseline", TRUTH)
    (folder / "baseline.json").rename(folder / "rival.json")
    assert PredictionFolder.open(folder).baseline.weights == "trained here"
