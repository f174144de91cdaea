"""Images of several modalities: each goes where it was given, or where its name or DICOM tags belong, once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.contract.roles import Role
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.role_reader import parse_input, read_modalities

BRATS = tuple(map(Role, ("FLAIR", "T1ce")))
FOUR = tuple(map(Role, ("T1", "T1ce", "T2", "FLAIR")))


@pytest.fixture
def write(a_volume: Volume, tmp_path: Path) -> Callable[[str], float]:
    """Writes an image, and returns what all its voxels have in common: their level."""

    def write_one(name: str) -> float:
        level = 1000.0 * (1 + len(list(tmp_path.iterdir())))
        array = (a_volume.array % 500 + level).astype(np.float32)
        sitk.WriteImage(a_volume.to_image(array), str(tmp_path / name))
        return level

    return write_one


def read(folder: Path, *arguments: str, roles: tuple[Role, ...] = BRATS) -> list[float]:
    """The level of each channel."""
    paths = [one.replace("=", f"={folder}/") if "=" in one else f"{folder}/{one}" for one in arguments]
    inputs = [parse_input(Path(path)) for path in paths]
    volume = read_modalities(inputs, roles, "brats")
    assert volume.channels == len(roles) and len(volume.descriptions) == len(roles)
    return [float(channel.min() // 1000 * 1000) for channel in volume.array]


def refusal(folder: Path, *arguments: str, roles: tuple[Role, ...] = BRATS) -> str:
    with pytest.raises(AutoMedSAMError) as refused:
        read(folder, *arguments, roles=roles)
    sentence = str(refused.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_roles_that_are_given_win_over_names_and_order(write: Callable[[str], float], tmp_path: Path) -> None:
    one, other = write("case_t1ce.nii.gz"), write("case_flair.nii.gz")
    assert read(tmp_path, "t1ce=case_t1ce.nii.gz", "FLAIR=case_flair.nii.gz") == [other, one]
    assert read(tmp_path, "flair=case_t1ce.nii.gz", "t1gd=case_flair.nii.gz") == [one, other]
    assert read(tmp_path, "flair=case_flair.nii.gz", "case_t1ce.nii.gz") == [other, one]


def test_names_decide_and_contrast_is_told_from_none(write: Callable[[str], float], tmp_path: Path) -> None:
    names = ("p_t1ce.nii.gz", "p_t2.nii.gz", "p_flair.nii.gz", "p_t1.nii.gz")
    levels = dict(zip(names, map(write, names), strict=True))
    wanted = [levels[f"p_{role}.nii.gz"] for role in ("t1", "t1ce", "t2", "flair")]
    assert read(tmp_path, *names, roles=FOUR) == wanted
    assert read(tmp_path, *reversed(names), roles=FOUR) == wanted


def test_names_of_brats_2023_are_known(write: Callable[[str], float], tmp_path: Path) -> None:
    names = [f"BraTS-GLI-00001-000-{kind}.nii.gz" for kind in ("t1c", "t1n", "t2f", "t2w")]
    contrast, native, fluid, weighted = map(write, names)
    assert read(tmp_path, *names, roles=FOUR) == [native, contrast, weighted, fluid]


def test_names_that_state_nothing_are_taken_in_the_models_order(write: Callable[[str], float], tmp_path: Path) -> None:
    levels = [write("a.nii.gz"), write("b.nii.gz")]
    assert read(tmp_path, "a.nii.gz", "b.nii.gz") == levels
    assert read(tmp_path, "t1ce=a.nii.gz", "b.nii.gz") == levels[::-1]


def test_folder_is_searched_by_name_and_its_other_files_are_left(write: Callable[[str], float], tmp_path: Path) -> None:
    names = ("p_seg.nii.gz", "p_t1.nii.gz", "p_t1ce.nii.gz", "p_t2.nii.gz", "p_flair.nii.gz")
    levels = dict(zip(names, map(write, names), strict=True))
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert read(tmp_path, "") == [levels["p_flair.nii.gz"], levels["p_t1ce.nii.gz"]]


@pytest.mark.parametrize(
    ("files", "arguments", "sentence"),
    [
        (["a_flair.nii.gz"], ["a_flair.nii.gz"], r"takes 2 images \(FLAIR, T1ce\), and 1 was given"),
        (["a.nii.gz", "b.nii.gz", "c.nii.gz"], ["a.nii.gz", "b.nii.gz", "c.nii.gz"], "and 3 were given"),
        (["a.nii.gz"], ["a.nii.gz", "a.nii.gz"], "is given twice"),
        (["a.nii.gz", "b.nii.gz"], ["flair=a.nii.gz", "FLAIR=b.nii.gz"], "are both given as FLAIR"),
        (["a.nii.gz", "b.nii.gz"], ["t2=a.nii.gz", "flair=b.nii.gz"], "has no modality t2"),
        (["a_flair.nii.gz", "b_flair.nii.gz"], ["a_flair.nii.gz", "b_flair.nii.gz"], "is not recognized as"),
        (["a_t2.nii.gz", "b_flair.nii.gz"], ["a_t2.nii.gz", "b_flair.nii.gz"], "is not recognized as"),
        (["a.nii.gz", "b_flair.nii.gz"], ["a.nii.gz", "b_flair.nii.gz"], "is not recognized as"),
        (["p_flair.nii.gz", "p_t1.nii.gz"], [""], "no image whose name or tags state that it is T1ce"),
        (["flair.nii.gz", "flair2.nii.gz", "t1ce.nii.gz"], [""], "may both be FLAIR"),
        (["a.nii.gz", "b.nii.gz"], ["flair=a.nii.gz", "t1ce=missing.nii.gz"], "missing.nii.gz does not exist"),
    ],
)
def test_what_is_not_clear_is_asked_for_in_one_sentence(
    write: Callable[[str], float], tmp_path: Path, files: list[str], arguments: list[str], sentence: str
) -> None:
    for name in files:
        write(name)
    assert re.search(sentence, refusal(tmp_path, *arguments))


def test_other_grid_is_refused(write: Callable[[str], float], a_volume: Volume, tmp_path: Path) -> None:
    write("flair.nii.gz")
    other = replace(a_volume, spacing=(0.7, 0.5, 4.5))
    sitk.WriteImage(other.to_image(a_volume.array), str(tmp_path / "t1ce.nii.gz"))
    assert "t1ce.nii.gz has another grid than" in refusal(tmp_path, "flair=flair.nii.gz", "t1ce=t1ce.nii.gz")


def test_synonyms_and_dicom_words_of_a_bundle_count(write: Callable[[str], float], tmp_path: Path) -> None:
    roles = (Role("FLAIR"), Role("perfusion", ("rcbv", "blood volume"), {"SequenceName": ("ep2d perf",)}))
    levels = [write("x_blood-volume.nii.gz"), write("x_flair.nii.gz")]
    assert read(tmp_path, "x_blood-volume.nii.gz", "x_flair.nii.gz", roles=roles) == levels[::-1]
    assert read(tmp_path, "RCBV=x_flair.nii.gz", "flair=x_blood-volume.nii.gz", roles=roles) == levels
    assert roles[1].fits({"name": "7", "SequenceName": "ep2d_perf"}) and not roles[1].fits({"name": "volume blood"})


def test_dicom_study_is_searched_by_its_series(
    a_volume: Volume, write_dicom_series: Callable[..., None], tmp_path: Path
) -> None:
    import pydicom

    study = tmp_path / "t1_study"
    study.mkdir()
    descriptions = {1: "AX T2 FLAIR", 2: "AX T1", 3: "AX T1 POST GD"}
    for number, description in descriptions.items():
        array = (a_volume.array % 500 + 1000 * number).astype(np.int16)
        write_dicom_series(replace(a_volume, array=array), study / str(number), number)
        for file in (study / str(number)).iterdir():
            header = pydicom.dcmread(file)
            header.SeriesDescription = description
            header.save_as(file)
    assert read(study, "") == [1000.0, 3000.0]
    assert "that it is T2" in refusal(study, "", roles=(Role("FLAIR"), Role("T2")))


def test_path_with_an_equals_sign_is_a_path(write: Callable[[str], float], tmp_path: Path) -> None:
    level = write("sub=1_flair.nii.gz")
    assert parse_input(tmp_path / "sub=1_flair.nii.gz").role == ""
    assert parse_input(Path("flair=sub=1.nii.gz")).path == Path("sub=1.nii.gz")
    assert parse_input(Path("a=b/flair.nii.gz")).role == "a"
    assert level
