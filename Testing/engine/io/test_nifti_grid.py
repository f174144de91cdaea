"""A NIfTI mask lies where the image lies, in every program: both transforms are read, kept and compared."""

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.nifti_grid import mask_header
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import read_volume

SHAPE = (8, 7, 6)
RAS = np.array([[-1.0, 0, 0, 28], [0, -1.0, 0, 32], [0, 0, 2.0, -24], [0, 0, 0, 1]])
PLACE = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
         "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units")  # fmt: skip
TURN = np.array([[0.6, -0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def shifted(x: float, y: float, z: float) -> np.ndarray:
    moved = RAS.copy()
    moved[:3, 3] += (x, y, z)
    return moved


def image(
    path: Path,
    sform: np.ndarray | None = RAS,
    qform: np.ndarray | None = RAS,
    kind: Any = nib.Nifti1Image,
    **fields: Any,
) -> Path:
    """A file of noise whose header fields are those given, whatever nibabel thinks of them."""
    header = kind.header_class()
    header.set_data_dtype(np.int16)
    header.set_data_shape(SHAPE)
    header.set_xyzt_units("mm")
    header.set_qform(RAS if qform is None else qform, 0 if qform is None else 1)
    header.set_sform(RAS if sform is None else sform, 0 if sform is None else 2)
    header["vox_offset"] = 352 if kind is nib.Nifti1Image else 544
    for name, value in fields.items():
        header[name] = value
    voxels = np.random.default_rng(1).integers(0, 1000, SHAPE[::-1]).astype(np.int16)
    path.write_bytes(header.binaryblock.ljust(int(header["vox_offset"]), b"\0") + voxels.tobytes())
    return path


def place_of(path: Path) -> list[Any]:
    """The header fields as they stand in the file."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    header = nib.Nifti1Header(content[:348], check=False)
    return [header[name].tolist() for name in PLACE]


def segmented(volume: Volume, path: Path) -> Path:
    labels = (volume.array > 500).astype(np.uint8)
    write_segmentation(Segmentation(labels, volume, [Segment(1, "Mass", (1, 0, 0), "")]), path)
    return path


DISAGREEING = {
    "shifted": {"sform": shifted(12, -7, 9)},
    "turned": {"sform": TURN @ RAS},
    "mirrored": {"sform": np.diag([-1, 1, 1, 1.0]) @ RAS},
    "scaled": {"sform": RAS @ np.diag([1, 1, 1.25, 1])},
    "scaled, no qform": {"sform": RAS @ np.diag([1, 1, 1.25, 1]), "qform": None},
    "turned qform": {"qform": TURN @ RAS, "sform_code": 1},
}


@pytest.mark.parametrize("case", DISAGREEING)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_mask_keeps_both_transforms_where_they_differ(case: str, suffix: str, tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", **DISAGREEING[case])
    volume = read_volume(source)
    mask = segmented(volume, tmp_path / f"mask{suffix}")
    assert place_of(mask) == place_of(source)
    np.testing.assert_array_equal(nib.load(mask).affine, nib.load(source).affine)
    # ITK reads the other transform of some of them, and finds both files in the same place.
    one, other = sitk.ReadImage(str(source)), sitk.ReadImage(str(mask))
    assert (one.GetOrigin(), one.GetSpacing(), one.GetDirection()) == (
        other.GetOrigin(), other.GetSpacing(), other.GetDirection(),
    )  # fmt: skip


@pytest.mark.parametrize("case", DISAGREEING)
def test_differing_transforms_are_reported_in_one_sentence(case: str, tmp_path: Path) -> None:
    volume = read_volume(image(tmp_path / "head.nii", **DISAGREEING[case]))
    assert len(volume.notes) == 1
    note = volume.notes[0]
    assert "head.nii" in note and "sform" in note and note.endswith(".") and not re.search(r"[.!?]\s", note)
    assert ("Slicer" in note) == (case in ("shifted", "turned", "mirrored", "scaled"))


@pytest.mark.parametrize("case", DISAGREEING)
def test_voxels_and_millilitres_are_those_of_the_sform(case: str, tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", **DISAGREEING[case])
    volume, affine = read_volume(source), nib.load(source).affine
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-5)
    assert volume.voxel_volume_ml == pytest.approx(abs(np.linalg.det(affine[:3, :3])) / 1000, rel=1e-6)


def test_equal_transforms_are_not_reported(tmp_path: Path) -> None:
    for more in ({}, {"sform": None}, {"qform": None}, {"sform": TURN @ RAS, "qform": TURN @ RAS}):
        assert read_volume(image(tmp_path / "head.nii", **more)).notes == ()


def test_file_without_a_position_is_reported_and_stays_without(tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", sform=None, qform=None)
    volume = read_volume(source)
    assert "no position" in volume.notes[0] and volume.spacing == (1.0, 1.0, 2.0)
    assert place_of(segmented(volume, tmp_path / "mask.nii.gz")) == place_of(source)


@pytest.mark.parametrize("bad", [0.0, np.nan, -2.0])
def test_sizes_of_the_sform_hold_where_pixdim_is_faulty(bad: float, tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", pixdim=[1, 1, 1, bad, 1, 1, 1, 1])
    volume = read_volume(source)
    np.testing.assert_allclose(volume.spacing, (1, 1, 2), rtol=1e-6)
    np.testing.assert_allclose(np.reshape(volume.direction, (3, 3)), np.eye(3), atol=1e-6)
    assert bool(volume.notes) == (bad != -2.0)


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_sizes_that_nothing_gives_are_not_made_up(bad: float, tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"head\.nii has an impossible grid"):
        read_volume(image(tmp_path / "head.nii", sform=None, pixdim=[1, 1, 1, bad, 1, 1, 1, 1]))


@pytest.mark.parametrize(("code", "factor"), [(1, 1000), (2, 1), (3, 0.001), (0, 1)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_units_of_the_file_become_millimetres(code: int, factor: float, form: str, tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", **{form: None}, xyzt_units=code)
    volume = read_volume(source)
    np.testing.assert_allclose(volume.spacing, np.array([1, 1, 2]) * factor, rtol=1e-6)
    np.testing.assert_allclose(volume.origin, np.array([-28, -32, -24]) * factor, rtol=1e-6)
    assert place_of(segmented(volume, tmp_path / "mask.nii")) == place_of(source)


def test_nifti_2_is_read_and_its_mask_lies_in_the_same_place(tmp_path: Path) -> None:
    volume = read_volume(image(tmp_path / "head.nii", kind=nib.Nifti2Image, sform=shifted(0.1, 0.2, 0.3), qform=None))
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ shifted(0.1, 0.2, 0.3), atol=1e-6)
    mask = segmented(volume, tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(nib.load(mask).affine, shifted(0.1, 0.2, 0.3), atol=1e-5)


def sheared(shear: float) -> np.ndarray:
    matrix = RAS.copy()
    matrix[1, 2] = shear
    return matrix


@pytest.mark.parametrize("shear", [1e-5, 1e-3, 1e-2])
def test_nearly_orthogonal_sform_is_read_with_the_nearest_rotation(shear: float, tmp_path: Path) -> None:
    source = image(tmp_path / "head.nii", sform=sheared(shear), qform=None)
    volume = read_volume(source)
    directions = np.reshape(volume.direction, (3, 3))
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-12)
    corner = tuple(count - 1 for count in volume.shape)
    true = np.diag([-1, -1, 1, 1]) @ sheared(shear) @ (*corner[::-1], 1)
    assert np.linalg.norm(np.subtract(volume.world(corner), true[:3])) <= 0.5 * min(volume.spacing)
    assert place_of(segmented(volume, tmp_path / "mask.nii.gz")) == place_of(source)


def test_sheared_sform_is_refused_unless_there_is_a_qform(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match="sheared"):
        read_volume(image(tmp_path / "head.nii", sform=sheared(1), qform=None))
    source = image(tmp_path / "head.nii", sform=sheared(1))
    volume = read_volume(source)
    assert "sheared" in volume.notes[0] and "qform" in volume.notes[0]
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ RAS, atol=1e-5)
    assert place_of(segmented(volume, tmp_path / "mask.nii.gz")) == place_of(source)


@pytest.mark.parametrize("faulty", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_qform_is_used_where_the_sform_is_no_grid(faulty: np.ndarray, tmp_path: Path) -> None:
    rows = {f"srow_{axis}": faulty[index] for index, axis in enumerate("xyz")}
    source = image(tmp_path / "head.nii", **rows)
    volume = read_volume(source)
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ RAS, atol=1e-5)
    assert "no possible grid" in volume.notes[0]
    assert str(place_of(segmented(volume, tmp_path / "mask.nii.gz"))) == str(place_of(source))
    with pytest.raises(AutoMedSAMError, match="impossible grid"):
        read_volume(image(tmp_path / "other.nii", qform=None, **rows))


def oblique(a_volume: Volume, shear: float) -> Volume:
    matrix = np.reshape(a_volume.direction, (3, 3)).copy()
    matrix[0, 2] += shear
    return replace(a_volume, direction=tuple(matrix.ravel().tolist()))


def test_grid_that_nifti_cannot_carry_is_refused_before_the_run(a_volume: Volume, tmp_path: Path) -> None:
    cases = {
        "sheared": oblique(a_volume, 0.3),
        "single precision": replace(a_volume, origin=(1e7 + 0.3, 0.0, 0.0)),
        "32767": replace(a_volume, array=np.broadcast_to(np.int16(0), (2, 2, 40000))),
    }
    for word, volume in cases.items():
        with pytest.raises(AutoMedSAMError, match=rf"{word}.*; write \.seg\.nrrd"):
            check_output(tmp_path / "mask.nii.gz", volume)
        check_output(tmp_path / "mask.seg.nrrd", volume)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nrrd", ".mha"])
def test_sheared_grid_is_written_as_it_is_where_the_format_can(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    volume = oblique(a_volume, 0.3)
    mask = sitk.ReadImage(str(segmented(volume, tmp_path / f"mask{suffix}")))
    corner = tuple(count - 1 for count in volume.shape)
    np.testing.assert_allclose(mask.TransformIndexToPhysicalPoint(corner[::-1]), volume.world(corner), atol=1e-6)


def test_small_shear_of_another_format_is_kept_in_the_sform(a_volume: Volume, tmp_path: Path) -> None:
    volume = oblique(a_volume, 0.005)
    mask = nib.load(segmented(volume, tmp_path / "mask.nii"))
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ mask.affine, volume.affine, atol=1e-4)


def test_header_of_a_volume_that_was_moved_since_is_not_repeated(tmp_path: Path) -> None:
    volume = replace(read_volume(image(tmp_path / "head.nii", sform=shifted(9, 9, 9))), origin=(1.0, 2.0, 3.0))
    written = nib.load(segmented(volume, tmp_path / "mask.nii"))
    np.testing.assert_allclose(written.affine[:3, 3], (-1, -2, 3), atol=1e-5)
    np.testing.assert_allclose(written.get_qform(), written.affine, atol=1e-5)
    assert mask_header(volume, np.dtype(np.uint8))["sform_code"] == 1


def test_mirrored_axes_are_kept(tmp_path: Path) -> None:
    mirrored = np.diag([1, -1, 1, 1.0]) @ RAS
    volume = read_volume(image(tmp_path / "head.nii", sform=None, qform=mirrored))
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ mirrored, atol=1e-5)
