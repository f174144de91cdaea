"""A built-in task and a prepared dataset are read through the same interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from prepared_files import LABELS, write_prepared

from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.builtin_dataset import BuiltinDataset
from automedsam_lab.data.dataset import select_cases, selection_cases, training_cases
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.data.prepared.native_cases import NativeFrames, NativeReader
from automedsam_lab.data.prepared.native_dataset import NativeDataset
from automedsam_lab.data.splits import split_name


def stored_split(task: str) -> dict[str, list[str]]:
    file = "glioma" if task == "brats" else task
    text = resources.files("automedsam_lab").joinpath("splits", f"{file}.json").read_text("utf-8")
    parts: dict[str, list[str]] = json.loads(text)["parts"]
    return parts


def of_2013(part: str) -> str:
    """The first patient of BraTS 2013 in a part of the split of gliomas."""
    return next(name for name in stored_split("glioma")[part] if name.startswith("brats_2013"))


def write_case(folder: Path, image: str, label: str, values: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, array in ((image, rng.normal(100, 20, (4, 6, 5)).astype(np.float32)), (label, None)):
        stored = rng.choice(np.array(values, np.uint8), (4, 6, 5)) if array is None else array
        picture = sitk.GetImageFromArray(stored)
        picture.SetSpacing((1.0, 1.5, 3.0))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(picture, str(folder / name))


class WithoutValidation(BuiltinDataset):
    """A task whose split has too few patients to spare some for validation."""

    @property
    def patients(self) -> Mapping[str, Sequence[str]]:
        return {**super().patients, "val": []}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient of each split of the built-in tasks, as they are published, and one of no split."""
    root = tmp_path_factory.mktemp("published")
    hippocampus, glioma = stored_split("hippocampus"), stored_split("glioma")
    names = [hippocampus[part][0] for part in ("train", "validation", "test")]
    for seed, name in enumerate([*names, "hippocampus_999"]):
        folder = root / "msd_task04_hippocampus"
        write_case(folder, f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz", (0, 1, 2), seed)
    for seed, name in enumerate([of_2013("train"), of_2013("test")]):
        folder = root / "brats2015" / name
        for more, image in enumerate(("Flair_subtrMeanDivStd.nii.gz", "T1c_subtrMeanDivStd.nii.gz")):
            write_case(folder, image, "OTMultiClass.nii.gz", (0, 1, 2, 3, 4), seed + 20 * more)
    silver = root / "brats_toolkit_silver" / glioma["train_silver"][0]
    write_case(silver, f"{silver.name}_fla_bet.nii.gz", f"{silver.name}_fusion_simple.nii.gz", (0, 1, 2, 4), 9)
    return root


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> NativeDataset:
    return NativeDataset(PreparedDataset.open(write_prepared(tmp_path_factory.mktemp("prepared") / "drawn")))


@pytest.mark.parametrize("task", builtin_tasks.TASKS)
def test_a_builtin_task_has_the_cases_and_voxels_of_its_published_files(task: str, published: Path) -> None:
    dataset, stored = BuiltinDataset(task, published), stored_split(task)
    by_patient = {case.patient: case for case in builtin_tasks.cases(task, published)}
    for split, names in {"train": ("train", "train_silver"), "val": ("validation",), "test": ("test",)}.items():
        wanted = sorted(p for name in names for p in stored.get(name, ()) if p in by_patient)
        cases = dataset.cases(split)
        assert [case.name for case in cases] == [case.patient for case in cases] == wanted
        for case in cases:
            volume, labels = builtin_tasks.load(by_patient[case.name])
            loaded = case.load()
            np.testing.assert_array_equal(loaded.volume.array, volume.array)
            np.testing.assert_array_equal(
                loaded.reference,
                builtin_tasks.task_labels(by_patient[case.name], labels),  # type: ignore[arg-type]
            )
            assert loaded.volume.spacing == volume.spacing == (1.0, 1.5, 3.0)
            assert set(np.unique(loaded.reference)) - {0} == set(dataset.labels)  # type: ignore[arg-type]


def test_real_builtin_cases_are_those_of_the_stored_splits(shared_data: Path) -> None:
    for task in builtin_tasks.TASKS:
        dataset, stored = BuiltinDataset(task, shared_data), stored_split(task)
        # Of one test patient there is no contrast-enhanced T1.
        missing = {"brats_2017_unnamed_flair"} if task == "brats" else set()
        assert [case.name for case in dataset.cases("test")] == sorted({*stored["test"]} - missing)
        assert [case.name for case in dataset.cases("val")] == sorted(stored["validation"])
        case = dataset.cases("test")[0]
        of_files = next(found for found in builtin_tasks.cases(task, shared_data) if found.patient == case.name)
        volume, labels = builtin_tasks.load(of_files)
        loaded = case.load()
        np.testing.assert_array_equal(loaded.volume.array, volume.array)
        np.testing.assert_array_equal(loaded.reference, builtin_tasks.task_labels(of_files, labels))


@pytest.mark.parametrize(
    ("task", "digest"),
    [
        ("hippocampus", "bb7998d28c8416778b6c5e8bc21f3a88842fa6a2f44bc6f165269f173d59af55"),
        ("glioma", "134c19d77dbd70393661944d781d18d2d3d2db6708a5515fc16778cdb2708838"),
    ],
)
def test_real_test_cases_are_those_that_the_published_figures_were_measured_on(
    shared_data: Path, task: str, digest: str
) -> None:
    found = hashlib.sha256()
    for case in BuiltinDataset(task, shared_data).cases("test"):
        loaded = case.load()
        assert loaded.reference is not None
        for part in (case.name.encode(), loaded.volume.array.tobytes(), loaded.reference.tobytes()):
            found.update(part)
        found.update(repr(loaded.volume.spacing).encode())
    assert found.hexdigest() == digest


def test_silver_references_are_for_training_only(published: Path) -> None:
    dataset, stored = BuiltinDataset("glioma", published), stored_split("glioma")
    assert {case.name for case in training_cases(dataset)} == {of_2013("train"), stored["train_silver"][0]}
    assert [case.name for case in training_cases(dataset, experts_only=True)] == [of_2013("train")]
    assert [case.name for case in select_cases(dataset, "train")] == [of_2013("train")]


def test_unseen_cases_are_in_no_split_that_shapes_a_model(published: Path, prepared: NativeDataset) -> None:
    unseen = [case.name for case in BuiltinDataset("hippocampus", published).cases("unseen")]
    assert unseen == sorted([stored_split("hippocampus")["test"][0], "hippocampus_999"])
    assert [case.name for case in prepared.cases("unseen")] == ["d"]


def test_a_prepared_dataset_has_the_native_voxels_of_its_archive(prepared: NativeDataset) -> None:
    assert prepared.labels == LABELS and prepared.patients == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    for split, names in (("train", ["a", "b"]), ("val", ["c"]), ("test", ["d"])):
        cases = prepared.cases(split)
        assert [case.name for case in cases] == [case.patient for case in cases] == names
        for case in cases:
            loaded = case.load()
            image, label = (
                sitk.GetArrayFromImage(sitk.ReadImage(str(prepared.prepared.root / folder / f"{case.name}.nii.gz")))
                for folder in ("imagesTr", "labelsTr")
            )
            np.testing.assert_array_equal(loaded.volume.array, image)
            np.testing.assert_array_equal(loaded.reference, label)


def test_frames_of_a_prepared_case_are_those_that_training_sees(prepared: NativeDataset) -> None:
    reader = NativeReader(prepared.prepared)
    for case, stored in zip(prepared.cases("train"), prepared.prepared.cases("train"), strict=True):
        frames, seen = case.load_frames(), reader.read(stored)
        assert seen is not None and frames.plane is Plane.AXIAL
        np.testing.assert_array_equal(frames.frames, seen.frames)
        np.testing.assert_array_equal(frames.labels, seen.labels)


def test_settings_are_selected_on_validation_cases_or_else_on_training_cases(
    published: Path, prepared: NativeDataset
) -> None:
    hippocampus = BuiltinDataset("hippocampus", published)
    names = [
        ([case.name for case in cases], split)
        for cases, split in map(selection_cases, [hippocampus, WithoutValidation("glioma", published)])
    ]
    assert names == [([stored_split("hippocampus")["validation"][0]], "val"), ([of_2013("train")], "train")]
    assert [case.name for case in selection_cases(prepared)[0]] == ["c"]


def test_a_split_without_cases_is_refused_in_one_sentence(published: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"The split 'val' of the glioma split has no cases here; choose train"):
        select_cases(BuiltinDataset("glioma", published), "val")


def test_the_old_name_of_a_split_is_accepted_and_others_are_refused(published: Path, prepared: NativeDataset) -> None:
    for dataset in (prepared, BuiltinDataset("hippocampus", published)):
        assert [c.name for c in select_cases(dataset, "validation")] == [c.name for c in select_cases(dataset, "val")]
        with pytest.raises(AutoMedSAMError, match="no split 'dev'; choose one of train, val, test, unseen"):
            select_cases(dataset, "dev")
    assert split_name("validation") == "val"


def test_boxes_without_masks_are_refused_where_masks_are_needed(tmp_path: Path) -> None:
    dataset = NativeDataset(PreparedDataset.open(write_prepared(tmp_path / "boxes", masks=False, pictures=True)))
    [case] = dataset.cases("test")
    assert case.load().boxes
    with pytest.raises(AutoMedSAMError, match="The case d has boxes but no masks"):
        case.load_frames()


def test_a_picture_whose_mask_holds_several_values_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are read by the reader of the archive, as for training, and not as black and white."""
    dataset = NativeDataset(PreparedDataset.open(write_prepared(tmp_path / "drawn", pictures=True)))
    labels = np.zeros((1, 40, 32), np.uint8)
    labels[0, :9], labels[0, 9:20] = 1, 3
    monkeypatch.setattr(
        "automedsam_lab.data.prepared.native_cases.NativeReader.read",
        lambda _reader, _case: NativeFrames(np.zeros_like(labels), labels),
    )
    np.testing.assert_array_equal(dataset.cases("test")[0].load().reference, labels)  # type: ignore[arg-type]
