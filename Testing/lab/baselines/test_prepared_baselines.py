"""A user's own prepared dataset is compared with baselines: predicted by stand-ins, and scored beside a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from bright_engine import use_bright_engine
from prepared_files import write_prepared
from stand_in_baselines import a_baseline, a_worker
from typer.testing import CliRunner

from automedsam.bundle import Bundle
from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines import nnunet, slice_baseline
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceSettings
from automedsam_lab.cli.app import app
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_dataset import NativeDataset

# Takes brightness for labels, and makes sure that it was given consecutive ones.
FAKE_NNUNET = """
import json
import SimpleITK as sitk
def work(job, tell):
    raw = Path(job["work"]) / "raw" / job["dataset"]
    if job["action"] == "train":
        return {"used_minutes": 1.0, "wall_minutes": 1.0, "iterations": 10, "batch": 2, "size_mb": 22.0,
                "configuration": job["configuration"], "device": "cpu", "threads": 2, "version": "2.8"}
    labels = json.loads((raw / "dataset.json").read_text())["labels"]
    for name, case in job["cases"].items():
        image = sitk.ReadImage(case["images"][0])
        found = sitk.Cast(image > 75, sitk.sitkUInt8) + sitk.Cast(image > 150, sitk.sitkUInt8)
        assert sorted(labels.values()) == [0, 1, 2]
        sitk.WriteImage(found, case["output"])
        tell({"done": name, "seconds": 2.0, "images": 6})
    return {"version": "2.8"}
"""


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def label_of(folder: Path, case: str) -> sitk.Image:
    return sitk.ReadImage(str(folder.parent / f"{folder.name}-root" / "labelsTr" / f"{case}.nii.gz"))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "drawn")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


def two_labels(bundle: Bundle) -> Bundle:
    manifest = bundle.manifest
    manifest["segments"] = [
        {"value": v, "name": n, "color": [1, 0, 0], "terminology": ""} for v, n in ((1, "bright"), (2, "brighter"))
    ]
    manifest["detector"]["labels"] = [1, 2]
    (bundle.folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("fastsam", "automedsam_lab.baselines.ultralytics.fastsam"),
        ("mobilesam", "automedsam_lab.baselines.ultralytics.mobilesam"),
        ("sam2", "automedsam_lab.baselines.sam2.sam2"),
        ("universeg", "automedsam_lab.baselines.universeg.universeg"),
    ],
)
def test_every_slice_baseline_predicts_a_prepared_dataset(
    command: str, target: str, prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # UniverSeg is shown every slice, and needs no boxes; the stand-in fills them all the same.
    selection = SliceSelection.ALL if command == "universeg" else SliceSelection.BOXED
    baseline = a_baseline(tmp_path, selection=selection)
    monkeypatch.setattr(target, lambda *_: baseline)
    out = tmp_path / "pred"
    asked = ["baseline", command, "--prepared", prepared, "--split", "test", "--weights", weights, "-o", out]
    result = CliRunner().invoke(app, [str(word) for word in asked])
    assert result.exception is None and "Written:" in result.output
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["d.nii.gz"]
    found, reference = sitk.ReadImage(str(out / "d.nii.gz")), label_of(prepared, "d")
    assert (found.GetSize(), found.GetOrigin(), found.GetSpacing()) == (
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
    )
    labels, truth = sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(reference)
    # The boxes around ellipses, filled.
    assert set(np.unique(labels)) == {0, 1, 2} and (labels[truth > 0] > 0).all()
    assert json.loads((out / "baseline.json").read_text(encoding="utf-8"))["cases"]["d"]["images"] == 6


def test_a_baseline_stands_beside_a_bundle_in_the_evaluation_of_a_prepared_dataset(
    prepared: Path, weights: Path, a_manifest: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'lab' is not installed")
    use_bright_engine(monkeypatch)
    dataset, out = NativeDataset(PreparedDataset.open(prepared)), tmp_path / "pred"
    slice_baseline.predict(a_baseline(tmp_path), dataset.cases("test"), out, SliceSettings(weights=weights))
    bundle = two_labels(a_manifest)
    asked = ["evaluate", bundle.folder, "--prepared", prepared, "--baseline", out, "-o", tmp_path / "report"]
    asked += ["--backends", "int8", "--resamples", 20, "--timed-images", 1]
    result = CliRunner().invoke(app, [str(word) for word in asked])
    assert result.exception is None, result.output
    summary = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    ours, baseline, *_ = summary["methods"]
    assert (ours["name"], baseline["name"], summary["cases"]) == ("AutoMedSAM INT8", "Fake 1.2", ["d"])
    truth = sitk.GetArrayFromImage(label_of(prepared, "d"))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "d.nii.gz")))
    for value, name in ((1, "bright"), (2, "brighter")):
        true, filled = truth == value, found == value
        dice = 2 * np.count_nonzero(true & filled) / (np.count_nonzero(true) + np.count_nonzero(filled))
        assert baseline["figures"][name]["dice"]["mean"] == pytest.approx(dice)
    assert "Fake 1.2" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_case_without_any_label_has_an_empty_label_map(prepared: Path, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "drawn-root" / "labelsTr" / "d.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * 0, str(path))
    cases = NativeDataset(PreparedDataset.open(prepared)).cases("test")
    slice_baseline.predict(a_baseline(tmp_path), cases, tmp_path / "pred", SliceSettings(weights=weights))
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "pred" / "d.nii.gz"))).any()


def test_boxes_alone_cannot_be_compared_by_masks(weights: Path, tmp_path: Path) -> None:
    folder = write_prepared(tmp_path / "boxes", masks=False, pictures=True)
    cases = NativeDataset(PreparedDataset.open(folder)).cases("test")
    with pytest.raises(AutoMedSAMError, match="The case d has boxes but no masks"):
        slice_baseline.predict(a_baseline(tmp_path), cases, tmp_path / "pred", SliceSettings(weights=weights))


def run_nnunet(prepared: Path, work: Path, out: Path) -> None:
    asked = ["baseline", "nnunet", "train", "--prepared", prepared, "--work", work, "--minutes", 1]
    trained = CliRunner().invoke(app, [str(word) for word in asked])
    assert trained.exception is None, trained.output
    asked = ["baseline", "nnunet", "predict", "--prepared", prepared, "--work", work, "-o", out]
    predicted = CliRunner().invoke(app, [str(word) for word in asked])
    assert predicted.exception is None, predicted.output


def test_nnunet_trains_on_the_training_cases_and_predicts_the_test_cases(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    work, out = tmp_path / "work", tmp_path / "pred"
    run_nnunet(prepared, work, out)
    raw = work / "raw" / "Dataset500_decathlon"
    assert sorted(path.name for path in (raw / "labelsTr").iterdir()) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert sorted(path.name for path in (raw / "imagesTr").iterdir()) == [f"{name}_0000.nii.gz" for name in "abc"]
    split = json.loads((work / "split.json").read_text(encoding="utf-8"))
    assert (split["train"], split["val"]) == (["a", "b"], ["c"])
    described = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    assert described["labels"] == {"background": 0, "bright": 1, "brighter": 2}
    assert described["channel_names"] == {"0": "MR"} and described["numTraining"] == 3
    assert [path.name for path in out.glob("*.nii.gz")] == ["d.nii.gz"]
    written = json.loads((out / "baseline.json").read_text(encoding="utf-8"))
    assert written["name"] == "nnU-Net (3d_fullres)" and str(prepared) in written["note"]


def test_label_values_with_gaps_survive_nnunet(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    for part in ("train", "val", "test"):
        path = prepared / "annotations" / f"{part}.json"
        path.write_text(path.read_text().replace('"category_id": 2', '"category_id": 7'), encoding="utf-8")

    def rename(manifest: dict[str, Any]) -> None:
        manifest.update(labels={"1": "bright", "7": "brighter"}, files={})
        for case in manifest["cases"]:
            case["values"] = {"1": 1, "2": 7}

    change_manifest(prepared, rename)
    run_nnunet(prepared, tmp_path / "work", tmp_path / "pred")
    trained = sitk.ReadImage(str(tmp_path / "work" / "raw" / "Dataset500_decathlon" / "labelsTr" / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(trained), sitk.GetArrayFromImage(label_of(prepared, "a")))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "pred" / "d.nii.gz")))
    assert set(np.unique(found)) == {0, 1, 7}


def test_nnunet_takes_its_plane_network_for_single_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    dataset = NativeDataset(PreparedDataset.open(write_prepared(tmp_path / "stills", pictures=True)))
    trained = nnunet.train(dataset, tmp_path / "work", nnunet.TrainingSettings(minutes=1))
    assert trained["configuration"] == "2d"


def test_an_nnunet_that_was_trained_on_a_test_case_is_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    nnunet.train(NativeDataset(PreparedDataset.open(prepared)), tmp_path / "work", nnunet.TrainingSettings(minutes=1))
    other = write_prepared(tmp_path / "other")
    for kind in ("images", "masks"):
        (other / kind / "test").rename(other / kind / "kept")
        (other / kind / "train").rename(other / kind / "test")
        (other / kind / "kept").rename(other / kind / "train")
    shutil.move(other / "annotations" / "test.json", other / "annotations" / "kept.json")
    shutil.move(other / "annotations" / "train.json", other / "annotations" / "test.json")
    shutil.move(other / "annotations" / "kept.json", other / "annotations" / "train.json")

    def swap(manifest: dict[str, Any]) -> None:
        manifest.update(files={}, patients={"train": ["d"], "val": ["c"], "test": ["a", "b"]})
        for case in manifest["cases"]:
            case["part"] = {"train": "test", "test": "train"}.get(case["part"], case["part"])

    change_manifest(other, swap)
    dataset = NativeDataset(PreparedDataset.open(other))
    with pytest.raises(AutoMedSAMError, match=r"trained on the case a, which the prepared dataset .*other holds out"):
        nnunet.predict(dataset, dataset.cases("test"), tmp_path / "work", tmp_path / "pred")


@pytest.mark.parametrize("options", [(), ("--prepared", "p", "--data", "d")])
def test_one_dataset_is_named_and_no_more(options: tuple[str, ...], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["baseline", "mobilesam", *options])
    assert isinstance(result.exception, AutoMedSAMError) and "either --data" in str(result.exception)


@pytest.mark.parametrize(
    "command", [("mobilesam",), ("nnunet", "train", "--work", "w"), ("nnunet", "predict", "--work", "w")]
)
def test_labels_inside_each_other_are_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["baseline", *command, "--task", "brats", "--data", str(tmp_path)])
    assert isinstance(result.exception, AutoMedSAMError) and "brats lie inside each other" in str(result.exception)
