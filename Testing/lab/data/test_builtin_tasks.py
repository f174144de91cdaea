"""Who is in which part of the split, and what the labels of each year mean."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.builtin_tasks import Case, LabelScheme, Region


@pytest.mark.parametrize(
    ("scheme", "enhancing"),
    [
        (LabelScheme.BRATS_2012_2016, 4),
        (LabelScheme.BRATS_2017_2021, 4),
        (LabelScheme.BRATS_2017_CBICA_4C, 3),
        (LabelScheme.BRATS_2023, 3),
    ],
)
def test_enhancing_tumour_is_read_by_the_declared_year(scheme: LabelScheme, enhancing: int) -> None:
    found = builtin_tasks.region_mask(np.arange(5), scheme, Region.ENHANCING_TUMOUR)
    assert np.flatnonzero(found).tolist() == [enhancing]


def test_label_3_is_core_until_2016_and_nothing_from_2017_to_2021() -> None:
    three = np.array([3])
    assert builtin_tasks.region_mask(three, LabelScheme.BRATS_2012_2016, Region.TUMOUR_CORE).all()
    assert not builtin_tasks.region_mask(three, LabelScheme.BRATS_2017_2021, Region.WHOLE_TUMOUR).any()


def test_hippocampus_labels_have_no_tumour_regions() -> None:
    with pytest.raises(AutoMedSAMError, match="declare the BraTS year"):
        builtin_tasks.region_mask(np.arange(3), LabelScheme.MSD_HIPPOCAMPUS)


@pytest.mark.parametrize("task", builtin_tasks.TASKS)
def test_no_patient_is_in_two_parts(task: str) -> None:
    patients = [patient for part in builtin_tasks.split(task).values() for patient in part]
    assert len(patients) == len(set(patients)) > 0


def test_the_written_hippocampus_split_is_the_one_that_its_seed_draws() -> None:
    text = resources.files("automedsam_lab").joinpath("splits", "hippocampus.json").read_text("utf-8")
    written = json.loads(text)
    everyone = [patient for part in written["parts"].values() for patient in part]
    shares = (written["fractions"]["validation"], written["fractions"]["test"])
    drawn = builtin_tasks.draw_split(everyone, shares, written["seed"])
    assert drawn == builtin_tasks.split("hippocampus")
    assert (drawn["train"], drawn["val"]) == (written["parts"]["train"], written["parts"]["validation"])
    assert [len(written["parts"][part]) for part in ("train", "validation", "test")] == [131, 19, 37]


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(AutoMedSAMError, match=r"'liver'.*hippocampus, glioma"):
        builtin_tasks.split("liver")


def test_a_folder_without_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="No glioma cases were found"):
        builtin_tasks.cases("glioma", tmp_path)


def test_a_label_on_another_grid_is_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16))
    label = sitk.GetImageFromArray(np.ones((4, 5, 6), np.uint8))
    label.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    sitk.WriteImage(label, str(tmp_path / "label.nii.gz"))
    case = Case("one", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz", LabelScheme.BRATS_2017_2021, "FLAIR")
    with pytest.raises(AutoMedSAMError, match="does not lie on the grid"):
        builtin_tasks.load(case)


def test_every_real_case_is_in_the_split_and_reads(shared_data: Path) -> None:
    for task, count in (("hippocampus", 187), ("glioma", 53)):
        found = builtin_tasks.cases(task, shared_data)
        split = sorted(patient for part in builtin_tasks.split(task).values() for patient in part)
        assert [case.patient for case in found] == split
        assert len(set(split)) == len(split) == count
        volume, labels = builtin_tasks.load(found[0])
        assert labels.shape == volume.shape
        assert builtin_tasks.task_labels(found[0], labels).max() == (2 if task == "hippocampus" else 1)


def test_whole_tumour_of_a_real_glioma_has_its_known_volume(shared_data: Path) -> None:
    case = next(c for c in builtin_tasks.cases("glioma", shared_data) if c.patient == "brats_2013_pat0001_1")
    volume, labels = builtin_tasks.load(case)
    assert builtin_tasks.task_labels(case, labels).sum() * volume.voxel_volume_ml == pytest.approx(111.7, abs=0.1)


def test_silver_labels_train_and_are_never_reported(shared_data: Path) -> None:
    reported = builtin_tasks.cases_of("glioma", shared_data, "val", "test")
    silver = builtin_tasks.cases_of("glioma", shared_data, "train_silver")
    assert reported and all(case.expert for case in reported)
    assert silver and not any(case.expert for case in silver)


def test_contrast_enhanced_cases_name_their_scheme(shared_data: Path) -> None:
    schemes = {case.patient: case.scheme for case in builtin_tasks.t1c_cases(shared_data)}
    assert schemes["Brats17_CBICA_ARF_1"] is LabelScheme.BRATS_2017_CBICA_4C
    assert len(schemes) == 52


def test_the_regions_of_a_glioma_lie_inside_each_other(shared_data: Path) -> None:
    case = next(c for c in builtin_tasks.cases("brats", shared_data) if c.patient == "Brats18_CBICA_AME_1")
    volume, stored = builtin_tasks.load(case)
    labels, spec = builtin_tasks.task_labels(case, stored), builtin_tasks.TASK_SPECS["brats"]
    assert volume.channels == 2 and case.modality == "FLAIR, T1c"
    for value, region in enumerate(Region, start=1):
        np.testing.assert_array_equal(spec.mask(labels, value), builtin_tasks.region_mask(stored, case.scheme, region))
    assert spec.mask(labels, 1).sum() > spec.mask(labels, 2).sum() > spec.mask(labels, 3).sum() > 0


def test_gliomas_with_both_sequences_are_in_the_same_parts(shared_data: Path) -> None:
    both = {case.patient for case in builtin_tasks.cases("brats", shared_data)}
    assert both < {case.patient for case in builtin_tasks.cases("glioma", shared_data)} and len(both) == 51
    assert builtin_tasks.split("brats") == builtin_tasks.split("glioma")
