"""What a folder, a pattern, a BIDS tree, a DICOM tree or a CSV file is taken for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_cohort import write_tiny_case

from automedsam.cohort.case import Case, file_stem
from automedsam.cohort.inputs import find_cases
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 400)


def found(folder: Path | str, *modalities: str) -> dict[str, tuple[list[str], str | None, str]]:
    cases = find_cases(str(folder), modalities, Path(folder).parent / "out")
    return {
        case.name: ([p.name for p in case.paths], case.reference and case.reference.name, case.problem)
        for case in cases
    }


def test_files_of_one_folder_are_cases(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii.gz", tmp_path / "in" / "b.nrrd", tmp_path / "in" / "notes.txt")
    assert found(tmp_path / "in", "T1") == {"a": (["a.nii.gz"], None, ""), "b": (["b.nrrd"], None, "")}


def test_modalities_and_references_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        folder = tmp_path / "in" / name
        touch(*(folder / f"{name}_{kind}.nii.gz" for kind in ("flair", "t1ce", "seg")))
    assert found(tmp_path / "in", "FLAIR")["p1"] == (["p1_flair.nii.gz"], "p1_seg.nii.gz", "")
    assert found(tmp_path / "in", "T1c", "FLAIR")["p2"][0] == ["p2_t1ce.nii.gz", "p2_flair.nii.gz"]


def test_folders_named_after_patients_with_files_named_after_modalities(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name / f"{kind}.nii.gz" for name in ("p1", "p2") for kind in ("FLAIR", "T1", "mask")))
    assert found(tmp_path / "in", "FLAIR") == {name: (["FLAIR.nii.gz"], "mask.nii.gz", "") for name in ("p1", "p2")}


def test_decathlon_layout(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "imagesTr" / "h_001.nii.gz", tmp_path / "in" / "labelsTr" / "h_001.nii.gz")
    touch(tmp_path / "in" / "imagesTs" / "h_002.nii.gz")
    assert found(tmp_path / "in", "T1") == {
        "h_001": (["h_001.nii.gz"], "h_001.nii.gz", ""),
        "h_002": (["h_002.nii.gz"], None, ""),
    }


def test_numbered_channels(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / f"c_{name}_{channel:04d}.nii.gz" for name in ("1", "2") for channel in (0, 1)))
    assert found(tmp_path / "in", "FLAIR", "T1")["c_2"][0] == ["c_2_0000.nii.gz", "c_2_0001.nii.gz"]


def test_bids(tmp_path: Path) -> None:
    tree = tmp_path / "in"
    touch(tree / "dataset_description.json")
    for subject in ("01", "02"):
        anat = tree / f"sub-{subject}" / "ses-t1" / "anat"
        touch(anat / f"sub-{subject}_ses-t1_acq-3d_FLAIR.nii.gz", anat / f"sub-{subject}_ses-t1_T1w.nii.gz")
    touch(tree / "sub-01" / "ses-t1" / "func" / "sub-01_ses-t1_task-rest_bold.nii.gz")
    labels = tree / "derivatives" / "manual" / "sub-01" / "sub-01_ses-t1_space-orig_dseg.nii.gz"
    touch(labels, labels.with_name("sub-01_ses-t1_desc-brain_mask.nii.gz"))
    cases = found(tree, "FLAIR")
    assert cases["sub-01_ses-t1"] == (["sub-01_ses-t1_acq-3d_FLAIR.nii.gz"], labels.name, "")
    assert len(cases) == 2
    assert found(tree, "T1", "FLAIR")["sub-02_ses-t1"][0][0] == "sub-02_ses-t1_T1w.nii.gz"


def test_dicom_series_are_cases(tmp_path: Path, a_volume: Volume, write_dicom_series: Callable[..., None]) -> None:
    (tmp_path / "in" / "p1").mkdir(parents=True)
    write_dicom_series(a_volume, tmp_path / "in" / "p1")
    write_dicom_series(a_volume, tmp_path / "in" / "p2")
    write_dicom_series(a_volume, tmp_path / "in" / "p2", 2)
    assert set(found(tmp_path / "in", "T1")) == {"p1", "p2_series 1", "p2_series 2"}


def test_a_pattern(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "scan.nii.gz" for name in ("a", "b")), tmp_path / "a" / "other.nii.gz")
    assert set(found(f"{tmp_path}/*/scan.nii.gz", "T1")) == {"a_scan", "b_scan"}


def test_the_output_folder_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "out" / "images" / "a.nrrd")
    assert [case.name for case in find_cases(str(tmp_path), ["T1"], tmp_path / "out")] == ["a"]


def test_csv_paths_start_at_its_folder(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        "\ufeffCase;t1ce;FLAIR;reference\np 1;d/x.nii.gz;d/y.nii.gz;d/s.nii.gz\np2;;d/z.nii.gz;\n", encoding="utf-8"
    )
    one, two = find_cases(str(table), ("FLAIR", "T1c"), tmp_path / "out")
    assert one == Case("p 1", (tmp_path / "d/y.nii.gz", tmp_path / "d/x.nii.gz"), tmp_path / "d/s.nii.gz")
    assert two.problem == "p2 has no T1c image in line 3 of cases.csv: fill it in."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,T1\na,x.nii\n", 'has no column "FLAIR" (its columns are case, T1)'),
        ("name,FLAIR\na,x.nii\n", 'has no column "case"'),
        ("case,FLAIR\na,x.nii\na,y.nii\n", "names the case a twice (lines 2 and 3)"),
        ("case,FLAIR,flair\na,x,y\n", "names a column twice"),
        ("case,FLAIR\n", "names no case"),
        ("", "is empty"),
        ("case,FLAIR\n,x.nii\n", "Line 2 of"),
        ("case,FLAIR\na,\n", "a has no FLAIR image in line 2"),
    ],
)
def test_a_faulty_csv_file_is_refused_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(AutoMedSAMError) as refused:
        find_cases(str(tmp_path / "cases.csv"), ["FLAIR"], tmp_path / "out")
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_of_two_modalities_where_there_is_one(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "p1" / "p1_flair.nii.gz", tmp_path / "in" / "p2" / "p2_flair.nii.gz")
    with pytest.raises(AutoMedSAMError, match=r"p1 has no T1c image \(found FLAIR\).*None of the 2 cases"):
        find_cases(str(tmp_path / "in"), ["FLAIR", "T1c"], tmp_path / "out")


def test_a_case_without_the_modality_is_listed_and_the_others_stay(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "p1" / "p1_flair.nii.gz", tmp_path / "in" / "p2" / "p2_t1ce.nii.gz")
    cases = found(tmp_path / "in", "FLAIR")
    assert not cases["p1"][2] and cases["p2"][2].startswith("p2 has no FLAIR image (found T1c)")


@pytest.mark.parametrize("name", ["in", "no/such/folder", "*.nii.gz"])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(AutoMedSAMError, match=r"contains no image|does not exist|No file matches"):
        find_cases(str(tmp_path / name), ["T1"], tmp_path / "out")


def test_names_of_files_are_safe_and_never_the_same() -> None:
    names = ["a", "a/b", "a_b", "../a", "", "ä ö", "x" * 300, "x" * 301, "..", "a\nb"]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert not any("/" in stem or stem.startswith(".") or len(stem) > 140 for stem in stems)


def test_a_case_survives_its_row(tmp_path: Path) -> None:
    case = Case("a", (write_tiny_case(tmp_path / "a.nii", 1),), tmp_path / "r.nii", "no")
    assert Case.from_row(case.to_row()) == case


def test_two_files_are_never_one_case(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii.gz", tmp_path / "in" / "A.nrrd")
    with pytest.raises(AutoMedSAMError, match="would both be the case"):
        find_cases(str(tmp_path / "in"), ["T1"], tmp_path / "out")
    touch(*(tmp_path / "in2" / name / f"x{suffix}" for name in ("p", "q") for suffix in (".nii.gz", ".nrrd")))
    with pytest.raises(AutoMedSAMError, match="would both be the case"):
        find_cases(str(tmp_path / "in2"), ["T1"], tmp_path / "out")


def test_files_of_the_same_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / site / name / "scan.nii.gz" for site in ("s1", "s2") for name in ("p1", "p2")))
    assert set(found(tmp_path / "in", "T1")) == {
        f"{site}_{name}_scan" for site in ("s1", "s2") for name in ("p1", "p2")
    }


def test_masks_beside_named_images_are_no_cases_and_no_references(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        touch(*(tmp_path / "in" / name / f"{name}_{kind}.nii.gz" for kind in ("flair", "brain", "brain_mask")))
    notes: list[str] = []
    cases = find_cases(str(tmp_path / "in"), ["FLAIR"], tmp_path / "out", notes)
    assert [(case.name, case.reference) for case in cases] == [("p1", None), ("p2", None)]
    assert notes == ["p1_brain.nii.gz and 1 more were left out: their names give no modality, as those of others do."]
