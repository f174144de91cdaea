"""A bundle's threshold is judged on the scores that the engine gives, with the boxes that the engine accepts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from bright_engine import BrightDetector, BrightNetworks, draw_head, draw_truth
from prepared_files import write_prepared
from typer.testing import CliRunner

from automedsam.bundle import Bundle
from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import LoadedModel
from automedsam_lab.cli.app import app
from automedsam_lab.data.builtin_dataset import dataset_case
from automedsam_lab.data.builtin_tasks import Case, LabelScheme
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_dataset import NativeDataset
from automedsam_lab.evaluation.threshold import compare_thresholds, threshold_of_best_dice
from automedsam_lab.metrics.average_precision import best_threshold, f1_at
from automedsam_lab.metrics.box_agreement import SliceBoxes


class UnsureDetector(BrightDetector):
    """Also boxes a dark corner on every slice, with a score between the bundle's threshold and the true boxes'."""

    def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
        for boxes in super().detect(frames):
            yield [*boxes, Box(1, 1, 12, 12, 0.5, 1)]


@pytest.fixture
def a_case(tmp_path: Path) -> DatasetCase:
    reference = draw_truth()
    head = draw_head(reference)
    image, label = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    sitk.WriteImage(head.to_image(head.array), str(image))
    sitk.WriteImage(head.to_image(reference), str(label))
    return dataset_case(Case("one", (image,), label, LabelScheme.BRATS_2017_2021, "FLAIR"))


def test_a_threshold_that_accepts_false_boxes_differs_from_the_one_of_the_best_f1(
    a_manifest: Bundle, a_case: DatasetCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LoadedModel(UnsureDetector(), BrightNetworks(), "nothing")  # type: ignore[arg-type]
    monkeypatch.setattr("automedsam_lab.evaluation.threshold.load_model", lambda *_: model)
    found = compare_thresholds(a_manifest, [a_case])
    assert (found.own.threshold, found.best.threshold) == (0.4, 0.9)
    # 7 slices show the block, and each of 16 has a false box.
    assert found.own.f1 == pytest.approx(2 * 7 / (7 + 16 + 7))
    assert found.best.f1 == 1
    assert found.best.dice[0] > 0.9 and found.gain == pytest.approx(found.best.dice[0] - found.own.dice[0])
    assert found.interval is None


def test_the_selected_threshold_is_the_middle_of_those_of_the_best_dice(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = draw_truth()
    head = draw_head(reference)
    # Something bright that is no lesion, and that the detector boxes with a lower score.
    head.array[5:12, 8:20, 8:20] = 300

    class Detector:
        def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
            for index in range(len(frames)):
                shown = [Box(24, 20, 24, 20, 0.9, 1), Box(8, 8, 12, 12, 0.5, 1)]
                yield shown if 5 <= index < 12 else []

    model = LoadedModel(Detector(), BrightNetworks(), "nothing")  # type: ignore[arg-type]
    monkeypatch.setattr("automedsam_lab.evaluation.threshold.load_model", lambda *_: model)
    case = DatasetCase("one", "one", "FLAIR", lambda: LoadedCase(head, reference))
    selected, *candidates = threshold_of_best_dice(a_manifest, [case])
    # 0.55 to 0.7 accept the lesion alone.
    assert selected.threshold == 0.6 and selected.dice[0] > 0.9
    assert [one.threshold for one in candidates] == sorted(one.threshold for one in candidates)
    assert all(one.dice[0] < 0.9 for one in candidates if one.threshold <= 0.5)


def test_the_validation_cases_of_a_prepared_dataset_select_the_threshold(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LoadedModel(UnsureDetector(), BrightNetworks(), "nothing")  # type: ignore[arg-type]
    monkeypatch.setattr("automedsam_lab.evaluation.threshold.load_model", lambda *_: model)
    folder = write_prepared(tmp_path / "stills", pictures=True)
    asked = ["threshold", str(a_manifest.folder), "--prepared", str(folder)]
    result = CliRunner().invoke(app, asked)
    assert result.exception is None, result.output
    assert "val split of kvasir, 1 case of the prepared dataset" in " ".join(result.output.split())
    assert "do not select a threshold" not in result.output
    found = compare_thresholds(a_manifest, NativeDataset(PreparedDataset.open(folder)).cases("val"))
    # The one slice has a true box and a false one.
    assert found.own.f1 == pytest.approx(2 / 3) and found.best.f1 == 1 and found.best.threshold == 0.9


def test_a_dataset_of_other_labels_selects_no_threshold(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LoadedModel(BrightDetector(), BrightNetworks(), "nothing")  # type: ignore[arg-type]
    monkeypatch.setattr("automedsam_lab.evaluation.threshold.load_model", lambda *_: model)
    dataset = NativeDataset(PreparedDataset.open(write_prepared(tmp_path / "drawn")))
    with pytest.raises(AutoMedSAMError, match=r"The case c has the label 2, and the bundle glioma knows 1"):
        compare_thresholds(a_manifest, dataset.cases("val"))


def test_f1_at_the_best_threshold_is_the_best_f1() -> None:
    rng = np.random.default_rng(0)
    reference = [np.array([[1, 0, 0, 10, 10], [2, 20, 20, 30, 30.0]])] * 6
    boxes = [
        np.column_stack(
            [rng.integers(1, 3, 5), rng.random(5), *rng.uniform(0, 20, (2, 5)), *rng.uniform(21, 31, (2, 5))]
        )
        for _ in reference
    ]
    cases = [SliceBoxes("one", [np.vstack([b, [1, 0.7, 0, 0, 10, 10]]) for b in boxes], reference)]
    threshold, f1 = best_threshold(cases, [1, 2])
    assert f1 > 0 and f1_at(cases, [1, 2], threshold) == f1
    assert f1_at(cases, [1, 2], 1.1) == 0
