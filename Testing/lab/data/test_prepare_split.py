"""No patient in two parts, however the parts were made."""

import json
from pathlib import Path

import archive_files
import prepared_checks as checks
import pytest

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.prepare.run import Settings, prepare
from automedsam_lab.data.prepare.split import draw_splits, read_parts
from automedsam_lab.data.readers.registry import DatasetFormat


@pytest.mark.parametrize(
    ("total", "wanted"),
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (5, (3, 1, 1)), (100, (70, 20, 10)), (187, (131, 37, 19))],
)
def test_seventy_twenty_ten_of_the_patients(total: int, wanted: tuple[int, int, int]) -> None:
    parts = draw_splits([f"p{number}" for number in range(total)], seed=3)
    assert tuple(list(parts.values()).count(part) for part in ("train", "val", "test")) == wanted


def test_the_seed_alone_decides_not_the_order_of_the_patients() -> None:
    patients = [f"p{number}" for number in range(50)]
    assert draw_splits(patients, 1) == draw_splits(patients[::-1], 1) != draw_splits(patients, 2)


def test_all_images_of_a_patient_are_in_one_part(tmp_path: Path) -> None:
    rows = [f"{patient:08d}_{image:03d}.png,Mass,1,2,300,400" for patient in range(1, 11) for image in range(3)]
    root = archive_files.chestxray14(tmp_path / "a", rows)
    prepare(Settings(DatasetFormat.CHESTXRAY14, root, tmp_path / "o"))
    images = checks.check(tmp_path / "o")
    assert len({(image["patient"], image["part"]) for image in images.values()}) == 10
    assert checks.manifest_of(tmp_path / "o")["counts"]["train"]["patients"] == 7


def written(path: Path, **parts: list[str]) -> str:
    path.write_text(json.dumps(parts), encoding="utf-8")
    return str(path)


def test_a_given_split_is_followed_and_whom_it_does_not_name_is_skipped_by_name(tmp_path: Path) -> None:
    root = archive_files.brats(tmp_path / "a", 2023, cases=4)
    split = written(
        tmp_path / "split.json", train=["BraTS-GLI-00003"], validation=["BraTS-GLI-00001-000"], test=["BraTS-GLI-00002"]
    )
    summary = prepare(Settings(DatasetFormat.BRATS, root, tmp_path / "o", split=split))
    parts = {image["file_name"][:15]: image["part"] for image in checks.check(tmp_path / "o").values()}
    assert parts == {"BraTS-GLI-00003": "train", "BraTS-GLI-00001": "val", "BraTS-GLI-00002": "test"}
    assert summary.skips == 1 and "BraTS-GLI-00004-000-t2f.nii.gz is of BraTS-GLI-00004" in summary.skipped[0].reason


def test_a_patient_in_two_parts_of_a_given_split_is_refused_by_name(tmp_path: Path) -> None:
    split = written(tmp_path / "split.json", train=["a", "b"], val=["c"], test=["b"])
    with pytest.raises(AutoMedSAMError, match=r"split\.json puts b in two parts"):
        read_parts(split)


def test_a_patient_whose_examinations_a_given_split_tears_apart_is_refused(tmp_path: Path) -> None:
    root = archive_files.brats_2015(tmp_path / "a")
    split = written(
        tmp_path / "split.json", train=["HGG_brats_tcia_pat105_1"], val=[], test=["HGG_brats_tcia_pat105_2"]
    )
    with pytest.raises(AutoMedSAMError, match="puts HGG_brats_tcia_pat105 in two parts"):
        prepare(Settings(DatasetFormat.BRATS, root, tmp_path / "o", split=split))


def lists(folder: Path, **names: list[str]) -> str:
    folder.mkdir()
    for name, lines in names.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def test_chestxray14_s_own_lists_hold_its_test_out_and_share_the_rest_by_patient(tmp_path: Path) -> None:
    names = [f"{patient:08d}_{image:03d}.png" for patient in range(1, 13) for image in range(2)]
    root = archive_files.chestxray14(tmp_path / "a", [f"{name},Mass,1,2,300,400" for name in names])
    split = lists(tmp_path / "own", train_val_list=names[:18], test_list=names[18:])
    summary = prepare(Settings(DatasetFormat.CHESTXRAY14, root, tmp_path / "o", split=split))
    images = checks.check(tmp_path / "o")
    assert {name for name, image in images.items() if image["part"] == "test"} == set(names[18:])
    assert [summary.counts[part]["patients"] for part in ("train", "val", "test")] == [7, 2, 3]


def test_a_list_that_tears_a_patient_apart_is_refused_by_name(tmp_path: Path) -> None:
    names = [f"{patient:08d}_{image:03d}.png" for patient in range(1, 5) for image in range(2)]
    root = archive_files.chestxray14(tmp_path / "a", [f"{name},Mass,1,2,300,400" for name in names])
    split = lists(tmp_path / "own", train_val_list=names[:5], test_list=names[5:])
    with pytest.raises(AutoMedSAMError, match="own puts 00000003 in two parts"):
        prepare(Settings(DatasetFormat.CHESTXRAY14, root, tmp_path / "o", split=split))
    twice = lists(tmp_path / "twice", train=["a", "b.jpg"], val=["b"])
    with pytest.raises(AutoMedSAMError, match="twice puts b in two parts"):
        read_parts(twice)


def test_a_folder_without_lists_is_no_split(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"holds train\.txt"):
        read_parts(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", '{"training": []}', '{"train": "a"}'])
def test_a_split_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content, encoding="utf-8")
    with pytest.raises(AutoMedSAMError, match=r"split\.json"):
        read_parts(str(tmp_path / "split.json"))


def test_the_lab_s_own_split_is_known_by_its_name() -> None:
    parts = read_parts("hippocampus")
    assert [list(parts.values()).count(part) for part in ("train", "val", "test")] == [131, 19, 37]
