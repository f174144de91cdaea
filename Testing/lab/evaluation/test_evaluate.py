"""An evaluation measures what it says, with networks that see nothing but brightness, and with the real ones."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")

from bright_engine import SHAPE, draw_head, draw_truth, use_bright_engine

from automedsam.bundle import BUILT_IN, Bundle, load_bundle
from automedsam.cli.console import measured_dice
from automedsam.contract.backends import Backend
from automedsam.contract.manifest import COMPONENTS
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_dataset import BuiltinDataset, dataset_case
from automedsam_lab.data.builtin_tasks import Case, LabelScheme, cases, split
from automedsam_lab.data.dataset import DatasetCase, LoadedCase, select_cases
from automedsam_lab.evaluation.case import CaseScores, evaluate_case
from automedsam_lab.evaluation.cases import CaseSelection
from automedsam_lab.evaluation.run import ComparedMethods, available_backends, evaluate
from automedsam_lab.evaluation.settings import EvaluationSettings
from automedsam_lab.evaluation.summary import manifest_figures, summarize, summary_tables, write_csv
from automedsam_lab.metrics.reference_boxes import true_tracklet

BOTH = (Backend.INT8, Backend.FP32_ONNX)
QUICK = EvaluationSettings(resamples=20, timed_images=2)


@pytest.fixture
def a_bundle(a_manifest: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that takes brightness for tumour, whatever the backend."""
    use_bright_engine(monkeypatch)
    return a_manifest


@pytest.fixture
def a_truth() -> np.ndarray:
    return draw_truth()


@pytest.fixture
def a_head(a_truth: np.ndarray) -> Volume:
    return draw_head(a_truth)


@pytest.fixture
def a_case(a_head: Volume, a_truth: np.ndarray, tmp_path: Path) -> DatasetCase:
    image, label = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    sitk.WriteImage(a_head.to_image(a_head.array), str(image))
    sitk.WriteImage(a_head.to_image(a_truth), str(label))
    return dataset_case(Case("somebody", (image,), label, LabelScheme.BRATS_2012_2016, "FLAIR"))


def loaded(name: str, volume: Volume, reference: np.ndarray) -> tuple[DatasetCase, LoadedCase]:
    case = LoadedCase(volume, reference)
    return DatasetCase(name, name, "", lambda: case), case


def a_row(**changes: object) -> CaseScores:
    values = dict.fromkeys(CaseScores.__annotations__, 1.0)
    return replace(CaseScores(**{**values, "case": "a", "backend": "int8", "label": "one", "patient": "a"}), **changes)  # type: ignore


def test_a_found_lesion_scores_high_by_every_kind_of_prompt(
    a_bundle: Bundle, a_head: Volume, a_truth: np.ndarray
) -> None:
    result, segmentation = evaluate_case(*loaded("a", a_head, a_truth), a_bundle, Backend.INT8)
    [row] = result.rows
    assert segmentation.labels.shape == SHAPE
    assert min(row.dice, row.prompted_dice, row.prompted_slice_dice, row.boxes_dice, row.jittered_dice) > 0.95
    assert min(row.consistency, row.jittered_consistency, row.box_iou, row.nsd) > 0.95
    assert [(m.method, m.scores.dice) for m in result.methods] == [
        ("AutoMedSAM INT8", row.dice),
        ("AutoMedSAM INT8, true box", row.prompted_dice),
        ("AutoMedSAM INT8, jittered box", row.jittered_dice),
    ]
    assert 0.9 < row.iou < row.dice
    assert row.hd95_mm <= 1
    assert (row.lesions, row.lesion_recall, row.box_recall) == (1, 1, 1)
    assert (row.false_positives, row.false_tracklets) == (0, 0)
    assert row.truth_ml == pytest.approx(7 * 20 * 24 * 2e-3)
    assert row.slices == SHAPE[0] and row.peak_memory_mb > 0
    stages = row.load_ms + row.detect_ms + row.link_ms + row.segment_ms
    assert row.ms_per_slice == pytest.approx(stages) == pytest.approx(1000 * row.seconds / 16)


def test_a_label_that_is_not_there_has_no_prompted_dice_and_its_finding_is_false(
    a_bundle: Bundle, a_head: Volume, a_truth: np.ndarray
) -> None:
    result, _ = evaluate_case(*loaded("a", a_head, 0 * a_truth), a_bundle, Backend.INT8)
    [row] = result.rows
    assert (row.dice, row.lesions, row.false_positives, row.false_tracklets) == (0, 0, 1, 1)
    assert math.isnan(row.prompted_dice) and math.isnan(row.boxes_dice) and math.isnan(row.lesion_recall)
    assert math.isnan(row.consistency) and math.isnan(row.box_iou)
    assert [method.method for method in result.methods] == ["AutoMedSAM INT8"]


def test_the_truth_is_boxed_tightly_on_each_of_its_slices_and_seeded_where_it_is_largest(
    a_truth: np.ndarray,
) -> None:
    a_truth[8, 19] = a_truth[8, 20]
    tracklet = true_tracklet(a_truth > 0, 1)
    assert list(tracklet.boxes) == list(range(5, 12)) and tracklet.seed == 8
    assert tracklet.boxes[5].corners == (24, 20, 48, 40)
    assert tracklet.boxes[8].corners == (24, 19, 48, 40)


def test_an_evaluation_leaves_tables_and_pictures(a_bundle: Bundle, a_case: DatasetCase, tmp_path: Path) -> None:
    reported: list[list[CaseScores]] = []
    out = tmp_path / "deep" / "results"
    selection = CaseSelection([a_case, replace(a_case, name="another", patient="another")], "two blocks")
    rows = evaluate(a_bundle, selection, out, ComparedMethods(BOTH), QUICK, reported.append)
    assert [row for some in reported for row in some] == rows
    assert [(row.case, row.backend) for row in rows] == [
        (patient, backend.value) for patient in ("somebody", "another") for backend in BOTH
    ]
    with (out / "results.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [float(line["dice"]) for line in written] == pytest.approx([row.dice for row in rows], abs=1e-5)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["cases"] == ["somebody", "another"] and summary["data"] == "two blocks"
    assert summary["machine"]["cores"] >= 1 and summary["machine"]["cpu"]
    assert summary["int8_minus_fp32"]["dice"]["by_case"] == {"somebody": {"tumour": 0}, "another": {"tumour": 0}}
    pictures = ("dice.png", "overview.png", "cases/somebody.png", "cases/another.png")
    for picture in pictures:
        assert min(sitk.ReadImage(str(out / picture)).GetSize()) > 50
    tables = ("results.csv", "methods.csv", "summary.json", "report.html")
    assert {path.name for path in out.iterdir() if path.is_file()} == {*tables, *pictures[:2]}
    with (out / "methods.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 3
    assert summary["detection"][0]["ap50"]["mean"] == pytest.approx(1)
    assert summary["speed"]["AutoMedSAM INT8"]["none"]["images"] == 2


def test_no_cases_or_no_folder_is_one_sentence(a_bundle: Bundle, a_case: DatasetCase, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="no cases to evaluate on"):
        evaluate(a_bundle, CaseSelection([]), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AutoMedSAMError, match="cannot be made"):
        evaluate(a_bundle, CaseSelection([a_case]), tmp_path / "file" / "results")


def test_a_summary_averages_labels_within_a_case_and_leaves_out_what_is_not_defined(a_manifest: Bundle) -> None:
    rows = [
        a_row(case="a", label="one", dice=0.9, prompted_dice=math.nan),
        a_row(case="a", label="two", dice=0.5, prompted_dice=0.8),
        a_row(case="b", label="one", dice=0.7, prompted_dice=math.nan),
        a_row(case="b", label="two", dice=0.3, prompted_dice=0.6),
    ]
    results = summarize(rows, a_manifest, "")["results"]["int8"]
    assert list(results) == ["one", "two", "all labels"]
    assert results["one"]["dice"] == pytest.approx({"mean": 0.8, "median": 0.8})
    assert results["all labels"]["dice"]["mean"] == pytest.approx(0.6)
    assert results["one"]["prompted_dice"] == {"mean": None, "median": None}
    assert results["all labels"]["prompted_dice"]["mean"] == pytest.approx(0.7)
    assert summarize(rows, a_manifest, "")["int8_minus_fp32"] is None
    assert [table.row_count for table in summary_tables(rows)] == [3, 3]


def test_loss_of_int8_is_reported_by_case(a_manifest: Bundle) -> None:
    rows = [
        a_row(case=case, backend=backend, dice=dice)
        for case, backend, dice in [
            ("a", "int8", 0.90),
            ("a", "fp32-onnx", 0.91),
            ("b", "int8", 0.80),
            ("b", "fp32-onnx", 0.79),
        ]
    ]
    lost = summarize(rows, a_manifest, "")["int8_minus_fp32"]["dice"]
    assert [lost["by_case"][case]["one"] for case in "ab"] == pytest.approx([-0.01, 0.01])
    assert (lost["mean"], lost["lowest"], lost["highest"]) == pytest.approx((0, -0.01, 0.01))


def test_a_manifest_with_the_measured_figures_shows_them_in_the_list_of_models(a_manifest: Bundle) -> None:
    measured = manifest_figures(summarize([a_row(dice=0.875)], a_manifest, "held out"))
    assert measured["int8"]["ms_per_slice"] == 1
    assert measured_dice(Bundle(a_manifest.folder, {**a_manifest.manifest, "measured": measured})) == "one 0.875"


def test_a_figure_that_is_not_defined_is_empty_in_the_table_of_cases(tmp_path: Path) -> None:
    write_csv([a_row(hd95_mm=math.nan, dice=1 / 3)], tmp_path / "results.csv")
    header, line = (tmp_path / "results.csv").read_text().splitlines()
    written = dict(zip(header.split(","), line.split(","), strict=True))
    assert (written["hd95_mm"], written["dice"]) == ("", "0.333333")


def test_backends_without_files_are_left_out_unless_asked_for(a_manifest: Bundle) -> None:
    assert available_backends(a_manifest) == [Backend.INT8]
    for name in ("detector.fp32.onnx", *(f"{part}.fp32.onnx" for part in COMPONENTS)):
        (a_manifest.folder / name).touch()
    assert available_backends(a_manifest) == list(BOTH)


def test_reported_cases_are_held_out_and_labelled_by_experts(shared_data: Path) -> None:
    test = [case.patient for case in select_cases(BuiltinDataset("hippocampus", shared_data))]
    assert test == split("hippocampus")["test"]
    few = [case.patient for case in select_cases(BuiltinDataset("hippocampus", shared_data), limit=5)]
    assert len(few) == 5 and set(few) < set(test)
    unseen = {case.patient for case in select_cases(BuiltinDataset("glioma", shared_data), "unseen")}
    assert unseen == set(split("glioma")["test"])
    validation = [case.patient for case in select_cases(BuiltinDataset("glioma", shared_data), "validation")]
    assert validation == split("glioma")["val"]


def test_strangers_count_as_unseen(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "msd_task04_hippocampus" / folder).mkdir(parents=True)
    names = (split("hippocampus")["train"][0], split("hippocampus")["test"][0], "hippocampus_999")
    for name in names:
        (tmp_path / "msd_task04_hippocampus" / "imagesTr" / f"{name}.nii.gz").touch()
    assert len(cases("hippocampus", tmp_path)) == 3
    assert [case.patient for case in select_cases(BuiltinDataset("hippocampus", tmp_path), "unseen")] == sorted(
        names[1:]
    )


def test_the_starter_bundle_is_measured_on_a_patient_it_never_saw(shared_data: Path, tmp_path: Path) -> None:
    if not (BUILT_IN / "hippocampus" / "bundle.json").is_file():
        pytest.skip("the starter bundles are not built")
    [case] = select_cases(BuiltinDataset("hippocampus", shared_data), limit=1)
    methods = ComparedMethods([Backend.INT8])
    rows = evaluate(load_bundle("hippocampus"), CaseSelection([case]), tmp_path, methods, QUICK)
    assert len({row.label for row in rows}) == len(rows) == 2
    assert all(row.dice > 0.5 and row.prompted_dice > 0.5 and row.box_recall == 1 for row in rows)
