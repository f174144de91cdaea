"""Cases of any kind are read at their native resolution, and none is shown that the model has seen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from bright_engine import draw_head, draw_truth, use_bright_engine
from prepared_files import write_prepared

from automedsam.bundle import BUILT_IN, Bundle, load_bundle
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_dataset import BuiltinDataset, dataset_case
from automedsam_lab.data.builtin_tasks import Case, LabelScheme
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_dataset import NativeDataset
from automedsam_lab.evaluation.cases import check_fits, check_unseen, held_out_cases
from automedsam_lab.evaluation.run import ComparedMethods, evaluate
from automedsam_lab.evaluation.settings import EvaluationSettings

QUICK = EvaluationSettings(resamples=20, timed_images=1, pictures=False)


def bundle_of(bundle: Bundle, **manifest: Any) -> Bundle:
    return Bundle(bundle.folder, {**bundle.manifest, **manifest})


def native(folder: Path) -> NativeDataset:
    return NativeDataset(PreparedDataset.open(folder))


def two_labels(bundle: Bundle) -> Bundle:
    segments = [{"value": v, "name": n, "color": [1, 0, 0], "terminology": ""} for v, n in ((1, "one"), (2, "two"))]
    return bundle_of(bundle, segments=segments, detector={**bundle.manifest["detector"], "labels": [1, 2]})


@pytest.fixture
def a_case(tmp_path: Path) -> Case:
    reference = draw_truth()
    head = draw_head(reference)
    image, label = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    sitk.WriteImage(head.to_image(head.array), str(image))
    sitk.WriteImage(head.to_image(reference), str(label))
    return Case("somebody", (image,), label, LabelScheme.BRATS_2017_2021, "FLAIR")


def change_label(case: Case, value: int | None = None, spacing: float | None = None) -> None:
    image = sitk.ReadImage(str(case.label))
    if value is not None:
        image[3, 3, 3] = value
    if spacing is not None:
        image.SetSpacing((spacing, 1, 2))
    sitk.WriteImage(image, str(case.label))


def test_a_label_value_outside_the_scheme_is_named(a_case: Case) -> None:
    change_label(a_case, value=3)
    with pytest.raises(AutoMedSAMError, match=r"label\.nii\.gz has the value 3, and the scheme brats_2017_2021"):
        dataset_case(a_case).load()
    assert dataset_case(replace(a_case, scheme=LabelScheme.BRATS_2023)).load().reference is not None


def test_a_label_on_another_grid_is_named(a_case: Case) -> None:
    change_label(a_case, spacing=1.2)
    with pytest.raises(AutoMedSAMError, match=r"label\.nii\.gz does not lie on the grid"):
        dataset_case(a_case).load()


def test_a_case_of_another_task_is_refused(a_manifest: Bundle) -> None:
    reference = draw_truth()
    head = draw_head(reference)
    check_fits(a_manifest, DatasetCase("a", "a", "FLAIR", lambda: LoadedCase(head)), LoadedCase(head, reference))
    with pytest.raises(AutoMedSAMError, match=r"a has the label 2, and the bundle glioma knows 1"):
        check_fits(a_manifest, DatasetCase("a", "a", "", lambda: LoadedCase(head)), LoadedCase(head, 2 * reference))
    with pytest.raises(AutoMedSAMError, match=r"a is T1, and the bundle glioma takes FLAIR"):
        check_fits(a_manifest, DatasetCase("a", "a", "T1", lambda: LoadedCase(head)), LoadedCase(head, reference))


def test_a_patient_in_two_parts_or_of_the_training_is_no_held_out_one(a_manifest: Bundle) -> None:
    head = draw_head(draw_truth())
    subjects = [DatasetCase(f"case_{p}", p, "", lambda: LoadedCase(head)) for p in ("a", "b", "c")]
    trained = bundle_of(a_manifest, training={"split": {"train": ["b"], "validation": [], "test": ["a", "c"]}})
    parts = {"train": ["a"], "test": ["a", "b", "c"]}
    found = {unusable.name: unusable.reason for unusable in check_unseen(trained, subjects, parts)}
    assert found.keys() == {"case_a", "case_b"}
    assert "in the splits train and test" in found["case_a"] and "in two" not in found["case_b"]
    assert "patient b is in the train split that the bundle glioma was made from" in found["case_b"]
    # Archives tell patients apart by other parts of a name than the bundle's manifest may.
    by_case = bundle_of(a_manifest, training={"split": {"train": ["case_c"]}})
    assert [unusable.name for unusable in check_unseen(by_case, subjects, {})] == ["case_c"]


def test_a_prepared_volume_is_evaluated_at_its_native_resolution(a_manifest: Bundle, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "drawn")
    selection = held_out_cases(two_labels(a_manifest), native(folder), "test")
    [case] = selection.cases
    loaded = case.load()
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "drawn-root" / "labelsTr" / "d.nii.gz")))
    assert np.array_equal(loaded.reference, stored) and loaded.volume.shape == stored.shape
    assert selection.excluded == [] and selection.description.startswith(
        "test split of decathlon, 1 case of the prepared"
    )


def test_a_prepared_picture_is_a_case_of_one_slice(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")
    use_bright_engine(monkeypatch)
    folder = write_prepared(tmp_path / "stills", pictures=True)
    selection = held_out_cases(a_manifest, native(folder), "train")
    reference = selection.cases[0].load().reference
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "stills-root" / "masks" / "a.png")))
    assert reference is not None and np.array_equal(reference[0], stored > 127)
    rows = evaluate(a_manifest, selection, tmp_path / "out", ComparedMethods([Backend.INT8]), QUICK)
    assert [row.case for row in rows] == ["a", "b"] and all(row.slices == 1 for row in rows)
    assert all(0 <= row.dice <= 1 and row.consistency >= 0 for row in rows)


def test_boxes_alone_give_figures_of_boxes_and_time_and_no_accuracy(
    a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")
    use_bright_engine(monkeypatch)
    folder = write_prepared(tmp_path / "boxes", masks=False, pictures=True)
    selection = held_out_cases(a_manifest, native(folder), "train")
    loaded = selection.cases[0].load()
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "boxes-root" / "masks" / "a.png")))
    rows_, columns = np.nonzero(stored)
    corners = (columns.min(), rows_.min(), columns.max() + 1, rows_.max() + 1)
    assert loaded.reference is None and loaded.boxes is not None
    [box] = loaded.boxes[0]
    assert box.corners == pytest.approx(corners, abs=0.5)

    rows = evaluate(a_manifest, selection, tmp_path / "out", ComparedMethods([Backend.INT8]), QUICK)
    assert all(np.isnan(row.dice) and row.lesions == 1 and 0 <= row.box_iou <= 1 for row in rows)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["detection"][0]["boxes"] == 2 and summary["detection"][0]["ap50"]["mean"] is not None
    assert summary["consistency"] == [] and [m["figures"] for m in summary["methods"]] == [{}]
    assert "boxes but no masks" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_prepared_dataset_whose_test_patient_trained_the_bundle_is_refused_or_left_out(
    a_manifest: Bundle, tmp_path: Path
) -> None:
    folder = write_prepared(tmp_path / "drawn")
    trained = bundle_of(two_labels(a_manifest), training={"split": {"train": ["d"]}})
    with pytest.raises(AutoMedSAMError, match="patient d is in the train split that the bundle"):
        held_out_cases(trained, native(folder), "test")
    # What trains may be looked at, under its own name.
    assert len(held_out_cases(trained, native(folder), "train").cases) == 2


def test_held_out_hippocampi_were_not_seen_by_the_starter_bundle(shared_data: Path) -> None:
    if not (BUILT_IN / "hippocampus" / "bundle.json").is_file():
        pytest.skip("the starter bundles are not built")
    dataset = BuiltinDataset("hippocampus", shared_data)
    selection = held_out_cases(load_bundle("hippocampus"), dataset, "test", 3)
    assert len(selection.cases) == 3 and selection.excluded == []
    assert selection.description == f"test split of hippocampus, 3 cases in {shared_data}"
