"""A damaged file is a volume or one sentence, whatever its bytes are."""

from __future__ import annotations

import gzip
import struct
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import DIGITAL_RADIOGRAPH, dataset, enhanced, save, slices, voxels
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import data_type_codes

from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume

FORMATS = (
    "nii",
    "nii.gz",
    "nii2",
    "nii4d",
    "nrrd",
    "nrrd-gz",
    "mha",
    "mha-z",
    "png",
    "jpg",
    "rgb.png",
    "dcm",
    "frames",
)
NIFTI = ("nii", "nii.gz", "nii2", "nii4d")
# Where a NIfTI-1 and a NIfTI-2 header have their data type.
_DATA_TYPE_AT = {"nii2": 12}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, str]]:
    """The bytes of a small sound file of each format, and its suffix."""
    folder = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(0, 1000, (5, 6, 7)).astype(np.int16))
    image.SetSpacing((1.0, 1.5, 2.0))
    flat = sitk.GetImageFromArray(rng.integers(0, 255, (6, 7)).astype(np.uint8))
    made: dict[str, tuple[bytes, str]] = {}
    for name, suffix, picture, packed in [
        ("nii", ".nii", image, False),
        ("nrrd", ".nrrd", image, False),
        ("nrrd-gz", ".nrrd", image, True),
        ("mha", ".mha", image, False),
        ("mha-z", ".mha", image, True),
        ("png", ".png", flat, False),
        ("jpg", ".jpg", flat, False),
        ("rgb.png", ".png", sitk.Compose([flat] * 3), False),
    ]:
        path = folder / f"{name}{suffix}"
        sitk.WriteImage(picture, str(path), packed)
        made[name] = path.read_bytes(), suffix
    made["nii.gz"] = made["nii"][0], ".nii.gz"
    for name, kind, shape in [("nii2", nib.Nifti2Image, (3, 4, 5)), ("nii4d", nib.Nifti1Image, (3, 4, 5, 2))]:
        nib.save(kind(rng.normal(size=shape).astype(np.float32), np.diag([1, 2, 3, 1])), folder / f"{name}.nii")
        made[name] = (folder / f"{name}.nii").read_bytes(), ".nii"
    save(dataset(voxels()[0], DIGITAL_RADIOGRAPH, "DX"), folder / "one.dcm")
    enhanced(folder / "frames.dcm", voxels())
    made["dcm"] = (folder / "one.dcm").read_bytes(), ".dcm"
    made["frames"] = (folder / "frames.dcm").read_bytes(), ".dcm"
    return made


def read(content: bytes, suffix: str, folder: Path) -> Volume | None:
    """The volume, or None if it was refused in one line; any other exception fails the test."""
    path = folder / f"damaged{suffix}"
    # Headers are damaged, not what they are packed in.
    path.write_bytes(gzip.compress(content, 1) if suffix == ".nii.gz" else content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_volume(path)
    except AutoMedSAMError as error:
        if "\n" in str(error):
            raise
        return None
    finally:
        path.unlink()


_EXTREMES = [
    struct.pack(kind, value)
    for kind in ("<h", ">h", "<i", ">i", "<f", "<q")
    for value in (-1, 0, 1, 32767, -32768)
] + [struct.pack("<f", value) for value in (float("nan"), float("inf"), 1e38, 1e-38)]  # fmt: skip
_JUNK = st.sampled_from(_EXTREMES) | st.binary(max_size=9)
# Where, how many bytes are taken out, and what is put in; most of what decides is at the beginning.
_CHANGES = st.lists(st.tuples(st.integers(0, 500) | st.integers(0, 5000), st.integers(0, 12), _JUNK), max_size=4)


def damage(content: bytes, changes: list[tuple[int, int, bytes]], in_place: bool, cut: int | None) -> bytes:
    for start, length, junk in changes:
        at = start % max(len(content), 1)
        content = content[:at] + junk + content[at + (len(junk) if in_place else length) :]
    return content[:cut]


@pytest.mark.parametrize("name", FORMATS)
def test_a_sound_file_is_read(name: str, sound: dict[str, tuple[bytes, str]], tmp_path: Path) -> None:
    assert isinstance(read(*sound[name], tmp_path), Volume)


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("name", FORMATS)
@given(changes=_CHANGES, in_place=st.booleans(), cut=st.none() | st.integers(0, 2000))
def test_a_damaged_file_is_a_volume_or_one_sentence(
    name: str,
    sound: dict[str, tuple[bytes, str]],
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, int, bytes]],
    in_place: bool,
    cut: int | None,
) -> None:
    content, suffix = sound[name]
    content = damage(content, changes, in_place, cut)
    assume(name not in NIFTI or has_known_data_type(content, name))
    volume = read(content, suffix, tmp_path_factory.getbasetemp())
    assert volume is None or volume.array.size > 0


@settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(changes=_CHANGES, in_place=st.booleans(), cut=st.none() | st.integers(0, 2000))
def test_a_series_with_a_damaged_file_is_a_volume_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, bytes]], in_place: bool, cut: int | None
) -> None:
    folder = tmp_path_factory.mktemp("series")
    damaged = sorted(slices(folder, voxels(4)).iterdir())[1]
    damaged.write_bytes(damage(damaged.read_bytes(), changes, in_place, cut))
    try:
        assert read_volume(folder).array.size > 0
    except AutoMedSAMError as error:
        if "\n" in str(error):
            raise


def has_known_data_type(content: bytes, name: str) -> bool:
    at = _DATA_TYPE_AT.get(name, 70)
    codes = {struct.unpack_from(order, content, at)[0] for order in ("<h", ">h") if len(content) >= at + 2}
    return codes <= set(data_type_codes.value_set())


@pytest.mark.parametrize("name", NIFTI)
def test_a_nifti_file_of_an_unknown_data_type_is_refused_in_one_sentence(
    name: str, sound: dict[str, tuple[bytes, str]], tmp_path: Path
) -> None:
    content, suffix = sound[name]
    at = _DATA_TYPE_AT.get(name, 70)
    assert read(content[:at] + struct.pack("<h", 127) + content[at + 2 :], suffix, tmp_path) is None
