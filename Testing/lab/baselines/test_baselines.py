"""Other people's models, each in a process of its own, and what they leave for the table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from log_lines import log_lines
from stand_in_baselines import a_baseline, a_worker
from typer.testing import CliRunner

from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines import nnunet, slice_baseline
from automedsam_lab.baselines import universeg as universeg_adapter
from automedsam_lab.baselines.sam2 import sam2
from automedsam_lab.baselines.slice_baseline import SliceBaseline, SliceSettings
from automedsam_lab.baselines.ultralytics import fastsam, mobilesam
from automedsam_lab.cli import baselines
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.builtin_dataset import BuiltinDataset
from automedsam_lab.data.dataset import DatasetCase, LoadedCase

OBLIQUE = (0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def write_hippocampus(root: Path, patient: str, seed: int = 0) -> np.ndarray:
    """Two bright blocks that share no slice of any plane, labelled 1 and 2, on a turned grid; returns the labels."""
    folder = root / "msd_task04_hippocampus"
    labels = np.zeros((12, 16, 14), np.uint8)
    labels[2:6, 3:8, 2:6], labels[7:10, 9:14, 7:12] = 1, 2
    voxels = np.random.default_rng(seed).normal(100, 5, labels.shape) + 60 * labels
    for part, array in (("imagesTr", voxels.astype(np.float32)), ("labelsTr", labels)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.2, 0.9))
        image.SetOrigin((5.0, -3.0, 20.0))
        image.SetDirection(OBLIQUE)
        sitk.WriteImage(image, str(folder / part / f"{patient}.nii.gz"))
    return labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of datasets with two test, two training and one validation patient of the hippocampus split."""
    parts = builtin_tasks.split("hippocampus")
    for seed, patient in enumerate([*parts["test"][:2], *parts["train"][:2], parts["val"][0]]):
        write_hippocampus(tmp_path / "data", patient, seed)
    return tmp_path / "data"


@pytest.fixture
def held_out(data: Path) -> list[DatasetCase]:
    return BuiltinDataset("hippocampus", data).cases("test")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


def label_of(case: DatasetCase, data: Path) -> Path:
    return data / "msd_task04_hippocampus" / "labelsTr" / f"{case.name}.nii.gz"


def test_a_baselines_masks_lie_on_the_cases_own_grid(
    tmp_path: Path, data: Path, held_out: list[DatasetCase], weights: Path
) -> None:
    slice_baseline.predict(a_baseline(tmp_path), held_out, tmp_path / "pred", SliceSettings(weights=weights))
    for case in held_out:
        reference, found = (
            sitk.ReadImage(str(path)) for path in (label_of(case, data), tmp_path / "pred" / f"{case.patient}.nii.gz")
        )
        assert found.GetDirection() == pytest.approx(reference.GetDirection())
        assert (found.GetOrigin(), found.GetSpacing()) == (reference.GetOrigin(), pytest.approx(reference.GetSpacing()))
        assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(reference))


def test_baseline_json_holds_what_the_table_needs(tmp_path: Path, held_out: list[DatasetCase], weights: Path) -> None:
    reported = []
    slice_baseline.predict(
        a_baseline(tmp_path),
        held_out,
        tmp_path / "pred",
        SliceSettings(weights=weights),
        on_done=lambda case, seconds: reported.append((case, seconds)),
    )
    written = json.loads((tmp_path / "pred" / "baseline.json").read_text(encoding="utf-8"))
    assert (written["schema"], written["name"], written["version"]) == (1, "Fake", "1.2")
    assert (written["prompted"], written["weights"], written["size_mb"]) == ("box", "given", 3.0)
    assert written["cpu_minutes_training"] is None and written["machine"]["cores"] >= 1
    patients = [case.patient for case in held_out]
    assert list(written["cases"]) == patients and reported == [(patient, 0.5) for patient in patients]
    assert all(cost["images"] > 0 for cost in written["cases"].values())


def test_random_weights_leave_time_and_size_but_no_masks(tmp_path: Path, held_out: list[DatasetCase]) -> None:
    out = tmp_path / "pred"
    written = slice_baseline.predict(a_baseline(tmp_path), held_out, out, SliceSettings(slices=5))
    assert written.weights == "random" and "mean nothing" in written.note
    assert sum(cost["images"] for cost in written.cases.values()) == 5
    assert not list(out.glob("*.nii.gz"))


def test_a_baseline_of_an_earlier_run_is_gone_when_the_next_one_fails(
    tmp_path: Path, held_out: list[DatasetCase], weights: Path
) -> None:
    out = tmp_path / "pred"
    slice_baseline.predict(a_baseline(tmp_path), held_out, out, SliceSettings(weights=weights))
    failing = a_baseline(tmp_path, 'def work(job, tell): raise WorkerError("no luck")')
    with pytest.raises(AutoMedSAMError, match=r"^no luck$"):
        slice_baseline.predict(failing, held_out, out, SliceSettings(weights=weights))
    assert not (out / "baseline.json").exists()


def test_missing_weights_are_reported_before_anything_runs(tmp_path: Path, held_out: list[DatasetCase]) -> None:
    baseline = a_baseline(tmp_path, "def work(job, tell): open('ran', 'w')")
    with pytest.raises(AutoMedSAMError, match=r"no weights at .*gone\.pt.*nothing is ever downloaded"):
        slice_baseline.predict(baseline, held_out, tmp_path / "pred", SliceSettings(weights=tmp_path / "gone.pt"))
    assert not (tmp_path / "pred").exists()


def test_a_video_is_prompted_on_one_slice_and_pictures_on_each() -> None:
    labels = np.zeros((4, 9, 9), np.uint8)
    labels[1, 2:4, 3:5], labels[2, 2:7, 3:8], labels[2, 8, 0] = 1, 1, 2
    assert slice_baseline.true_boxes(labels, one_slice=True) == {"1": {"2": [3, 2, 8, 7]}, "2": {"2": [0, 8, 1, 9]}}
    assert slice_baseline.true_boxes(labels, one_slice=False)["1"] == {"1": [3, 2, 5, 4], "2": [3, 2, 8, 7]}


def test_baselines_see_the_slices_that_our_detectors_see(data: Path, held_out: list[DatasetCase]) -> None:
    pytest.importorskip("cv2", reason="the detectors' data need OpenCV: pip install 'automedsam[train]'")
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS, read_stack

    assert held_out[0].plane is DETECTOR_TASKS["hippocampus"].spec.plane
    [case, *_] = builtin_tasks.cases_of("hippocampus", data, "test")
    stack, read = read_stack(DETECTOR_TASKS["hippocampus"], case), held_out[0].load_frames()
    assert np.array_equal(stack.frames[0], read.frames) and np.array_equal(stack.labels, read.labels)


# nnU-Net


def test_nnunet_gets_training_and_validation_patients_and_no_held_out_one(data: Path, tmp_path: Path) -> None:
    parts = builtin_tasks.split("hippocampus")
    splits = nnunet.convert(BuiltinDataset("hippocampus", data), tmp_path / "work")
    raw = tmp_path / "work" / "raw" / "Dataset004_hippocampus"
    assert splits == {"train": parts["train"][:2], "val": parts["val"][:1]}
    names = [*splits["train"], *splits["val"]]
    assert sorted(file.name for file in (raw / "imagesTr").iterdir()) == sorted(f"{name}_0000.nii.gz" for name in names)
    assert sorted(file.name for file in (raw / "labelsTr").iterdir()) == sorted(f"{name}.nii.gz" for name in names)
    described = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    assert described == {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }


def test_nnunet_gets_the_tasks_labels_on_the_images_grid(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "brats2015" / "brats_2013_pat0001_1"
    folder.mkdir(parents=True)
    stored = np.arange(5, dtype=np.uint8).repeat(8).reshape(5, 4, 2)
    for name, array in (("Flair_subtrMeanDivStd", stored.astype(np.float32)), ("OTMultiClass", stored)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 2.0, 3.0))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    splits = nnunet.convert(BuiltinDataset("glioma", tmp_path / "data"), tmp_path / "work")
    assert splits["val"] == splits["train"] == [folder.name]  # There is nobody to spare for validation.
    raw = tmp_path / "work" / "raw" / "Dataset001_glioma"
    label = sitk.ReadImage(str(raw / "labelsTr" / f"{folder.name}.nii.gz"))
    image = sitk.ReadImage(str(raw / "imagesTr" / f"{folder.name}_0000.nii.gz"))
    assert label.GetSpacing() == image.GetSpacing() == (1.0, 2.0, 3.0)
    assert np.array_equal(sitk.GetArrayFromImage(label), stored > 0)


def test_a_folder_of_another_task_is_not_trained_in(data: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "split.json").write_text('{"task": "glioma"}', encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match="holds another dataset or split"):
        nnunet.convert(BuiltinDataset("hippocampus", data), tmp_path / "work")


def test_predicting_before_training_explains_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="run 'automedsam-lab baseline nnunet train' to its end"):
        nnunet.predict(BuiltinDataset("hippocampus", tmp_path), [], tmp_path, tmp_path / "pred")


FAKE_NNUNET = """
import SimpleITK as sitk
def work(job, tell):
    assert job["dataset"] == "Dataset004_hippocampus" and job["dataset_id"] == 4
    if job["action"] == "train":
        tell({"tell": "Training"})
        return {"used_minutes": job["minutes"], "wall_minutes": 1.0, "iterations": 10, "batch": 2, "size_mb": 22.0,
                "configuration": job["configuration"], "device": "cpu", "threads": 2, "version": "2.8"}
    for name, case in job["cases"].items():
        bright = sitk.ReadImage(case["images"][0]) > 190
        sitk.WriteImage(sitk.Cast(bright, sitk.sitkUInt8), case["output"])
        tell({"done": name, "seconds": 2.0 if job["mirror"] else 0.25, "images": 12})
    return {"version": "2.8"}
"""


def test_nnunets_folder_states_its_budget(
    data: Path, tmp_path: Path, held_out: list[DatasetCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    with log_lines() as logged:
        nnunet.train(BuiltinDataset("hippocampus", data), tmp_path / "work", nnunet.TrainingSettings(minutes=7.5))
    assert logged == ["Training"]
    baseline = nnunet.predict(BuiltinDataset("hippocampus", data), held_out, tmp_path / "work", tmp_path / "pred")
    assert (baseline.weights, baseline.prompted, baseline.cpu_minutes_training) == ("trained here", "none", 7.5)
    assert "7.5 CPU minutes (10 iterations of batch 2" in baseline.note
    assert baseline.cases == {case.name: {"seconds": 2.0, "images": 12} for case in held_out}
    found = sitk.ReadImage(str(tmp_path / "pred" / f"{held_out[0].patient}.nii.gz"))
    assert found.GetDirection() == pytest.approx(OBLIQUE)
    assert np.array_equal(sitk.GetArrayFromImage(found), write_hippocampus(tmp_path / "again", "x") == 2)


def test_nnunet_trains_on_a_budget_and_goes_on_where_it_was_stopped(
    data: Path, tmp_path: Path, held_out: list[DatasetCase]
) -> None:
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'automedsam[baseline-nnunet]'")
    work = tmp_path / "work"
    first = nnunet.train(BuiltinDataset("hippocampus", data), work, nnunet.TrainingSettings(minutes=0.02))
    assert first["iterations"] >= 1 and first["used_minutes"] >= 0.02
    again = nnunet.train(
        BuiltinDataset("hippocampus", data), work, nnunet.TrainingSettings(minutes=first["used_minutes"] + 0.02)
    )
    assert again["iterations"] > first["iterations"]
    nnunet.predict(BuiltinDataset("hippocampus", data), held_out, work, tmp_path / "pred")
    found = sitk.ReadImage(str(tmp_path / "pred" / f"{held_out[0].patient}.nii.gz"))
    assert found.GetSize() == sitk.ReadImage(str(label_of(held_out[0], data))).GetSize()


# The adapters

# Takes the examples' mean mask for an answer; its one parameter is the threshold.
FAKE_UNIVERSEG = """
import torch
class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.ones(1))
    def forward(self, target_image, support_images, support_labels):
        batch, _, height, width = target_image.shape
        assert support_images.shape == support_labels.shape and support_images.shape[0] == batch
        assert 0 <= float(target_image.min()) and float(target_image.max()) <= 1
        return support_labels.mean(1) - self.threshold
def universeg(version="v1", pretrained=False):
    assert not pretrained
    return Mean()
"""


def test_universeg_segments_from_the_training_patients_slices(
    data: Path, tmp_path: Path, held_out: list[DatasetCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="UniverSeg runs on PyTorch")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "universeg.py").write_text(FAKE_UNIVERSEG, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    torch.save({"threshold": torch.full((1,), 0.4)}, tmp_path / "universeg.pt")
    written = universeg_adapter.predict(
        BuiltinDataset("hippocampus", data),
        held_out,
        tmp_path / "pred",
        SliceSettings(weights=tmp_path / "universeg.pt"),
        examples=6,
    )
    assert written.prompted == "6 labelled slices" and written.weights == "given"
    reference, found = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (label_of(held_out[0], data), tmp_path / "pred" / f"{held_out[0].patient}.nii.gz")
    )
    # Every patient's blocks are in the same place, so the mean example covers them.
    assert np.array_equal(found[reference > 0], reference[reference > 0])


def test_examples_come_from_every_training_patient() -> None:
    def case(brightness: int) -> DatasetCase:
        labels = np.zeros((9, 20, 30), np.uint8)
        labels[2:6, 5:15, 10:20] = 1
        # The corners make the window that of 8 bits.
        pixels = np.full(labels.shape, brightness, np.float32)
        pixels[:, :2], pixels[:, -2:] = 0, 255
        loaded = LoadedCase(
            Volume(pixels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), labels
        )
        return DatasetCase(str(brightness), str(brightness), "", lambda: loaded, plane=Plane.AXIAL, window=(0, 255))

    support = universeg_adapter.support_set([case(10), case(20), case(30)], 6)
    assert support["images_1"].shape == support["labels_1"].shape == (6, 128, 128)
    assert sorted(np.unique(support["images_1"][:, 40, 64] * 255).round()) == [10, 20, 30]
    assert set(np.unique(support["labels_1"])) == {0, 1}


def test_stock_sam_2_follows_a_box_at_the_size_that_is_asked_for(tmp_path: Path, held_out: list[DatasetCase]) -> None:
    pytest.importorskip("sam2", reason="stock SAM 2 needs its package: pip install 'automedsam[baseline-sam2]'")
    pytest.importorskip("hydra", reason="the package sam2 builds its networks with hydra")
    baseline = sam2("sam2.1_hiera_t")
    small = replace(baseline, settings={**baseline.settings, "image_size": 128})
    written = slice_baseline.predict(small, held_out[:1], tmp_path / "pred", SliceSettings(slices=3))
    assert written.size_mb == pytest.approx(155.8, abs=0.1)  # 38.96 million parameters.
    assert written.cases[held_out[0].patient]["images"] == 3
    assert written.prompted == "box on one slice"


@pytest.mark.parametrize("baseline", [fastsam("s"), mobilesam()], ids=lambda baseline: baseline.name)
def test_ultralytics_runs_without_its_weights_and_without_the_network(
    baseline: SliceBaseline, tmp_path: Path, held_out: list[DatasetCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ultralytics", reason="ultralytics (AGPL-3.0) is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    written = slice_baseline.predict(baseline, held_out, tmp_path / "pred", SliceSettings(slices=1))
    assert written.weights == "random" and written.size_mb > 30
    assert not (tmp_path / ".config").exists(), "the user's own settings of ultralytics are left alone"


@pytest.mark.parametrize("baseline", [fastsam(), mobilesam()], ids=lambda baseline: baseline.name)
def test_the_license_of_ultralytics_is_stated(baseline: SliceBaseline) -> None:
    assert "AGPL-3.0" in baseline.worker.notice and "AGPL-3.0" in baseline.license


def test_missing_networks_are_reported_by_name() -> None:
    with pytest.raises(AutoMedSAMError, match=r"'m'; choose one of s, x"):
        fastsam("m")
    with pytest.raises(AutoMedSAMError, match=r"no configuration sam9.*sam2\.1_hiera_t512"):
        sam2("sam9")


@pytest.mark.parametrize("name", ["fastsam", "mobilesam"])
def test_the_license_is_stated_on_use_and_in_the_help(name: str, data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert "AGPL-3.0" in runner.invoke(baselines.app, [name, "--help"]).output
    used = runner.invoke(
        baselines.app, [name, "--cases", str(data), "--weights", str(tmp_path / "gone.pt"), "-o", str(tmp_path / "p")]
    )
    assert isinstance(used.exception, AutoMedSAMError) and "AGPL-3.0" in used.output


def test_the_same_cases_are_asked_for_as_in_an_evaluation(
    data: Path, tmp_path: Path, held_out: list[DatasetCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "WORKER", a_worker(tmp_path, FAKE_NNUNET))
    work, pred = str(tmp_path / "work"), tmp_path / "pred"
    runner = CliRunner()
    trained = runner.invoke(baselines.app, ["nnunet", "train", "--data", str(data), "--work", work, "--minutes", "2"])
    assert trained.exception is None and "2 CPU minutes" in trained.output
    arguments = ["nnunet", "predict", "--cases", str(data), "--work", work, "--part", "test", "-o", str(pred)]
    predicted = runner.invoke(baselines.app, arguments)
    assert predicted.exception is None and "167 ms per slice" in predicted.output
    assert sorted(file.name for file in pred.glob("*.nii.gz")) == [f"{case.patient}.nii.gz" for case in held_out]
    assert "and its mirroring" in json.loads((pred / "baseline.json").read_text())["note"]
    assert "21 ms per slice" in runner.invoke(baselines.app, [*arguments, "--no-mirror"]).output
    assert "without its mirroring" in json.loads((pred / "baseline.json").read_text())["note"]
