"""A NIfTI file is read by its own name and content, whatever lies beside it and whatever its suffix says."""

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.nifti import read_nifti, write_nifti
from automedsam.io.volume_reader import read_volume

VOXELS = np.random.default_rng(3).integers(0, 200, (6, 7, 8)).astype(np.int16)


def image(path: Path, voxels: np.ndarray = VOXELS, kind: type = nib.Nifti1Image) -> Path:
    """Voxels `(..., K, J, I)` as a file."""
    nib.save(kind(voxels.transpose(*reversed(range(voxels.ndim))), np.diag([-1, -1, 2, 1.0]), dtype=voxels.dtype), path)
    return path


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz", "HEAD.NII", "Head.Nii.gZ"])
def test_only_the_named_file_is_read(name: str, tmp_path: Path) -> None:
    for index, other in enumerate(("head.nii", "head.nii.gz"), 1):
        image(tmp_path / other, VOXELS + index)
    image(tmp_path / "head.img", VOXELS + 9, nib.Nifti1Pair)
    (tmp_path / "source").mkdir()
    named = image(tmp_path / "source" / f"named.{'nii.gz' if name.lower().endswith('gz') else 'nii'}")
    shutil.copy(named, tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, VOXELS)


def test_header_of_a_pair_is_refused_though_its_voxels_lie_beside(tmp_path: Path) -> None:
    image(tmp_path / "head.img", kind=nib.Nifti1Pair)
    (tmp_path / "head.hdr").rename(tmp_path / "head.nii")
    with pytest.raises(AutoMedSAMError, match="pair"):
        read_volume(tmp_path / "head.nii")


@pytest.mark.parametrize("code", [0, 1, 99, 127, 255, 1536, 2304, -1, 32767])
def test_type_of_voxels_that_cannot_be_read_is_refused_in_one_sentence(code: int, tmp_path: Path) -> None:
    path = image(tmp_path / "head.nii")
    content = bytearray(path.read_bytes())
    content[70:72] = code.to_bytes(2, "little", signed=True)
    path.write_bytes(content)
    with pytest.raises(AutoMedSAMError, match=r"holds voxels of|incomplete"):
        read_volume(path)


def test_content_decides_whether_it_is_packed(tmp_path: Path) -> None:
    plain = image(tmp_path / "plain.nii")
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    shutil.copy(plain, tmp_path / "plain.nii.gz")
    for name in ("packed.nii", "plain.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, VOXELS)


@pytest.mark.parametrize(("more", "message"), [(b"xyz", "3 bytes"), (b"\x1f", "1 bytes"), (bytes(512), "")])
def test_bytes_after_the_packed_end_are_left_out(more: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "head.nii.gz"
    path.write_bytes(image(path).read_bytes() + more)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert len(volume.notes) == bool(message) and all(message in note for note in volume.notes)


@pytest.mark.parametrize("place", [100, 352, 500])
def test_file_packed_in_parts_is_one(place: int, tmp_path: Path) -> None:
    whole = image(tmp_path / "head.nii").read_bytes()
    path = tmp_path / "parts.nii.gz"
    path.write_bytes(gzip.compress(whole[:place]) + gzip.compress(whole[place:]))
    np.testing.assert_array_equal(read_volume(path).array, VOXELS)


@pytest.mark.parametrize("cut", [1, 8, 200])
def test_packed_file_that_broke_off(cut: int, tmp_path: Path) -> None:
    path = image(tmp_path / "head.nii.gz")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(AutoMedSAMError, match="damaged or incomplete"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_header_that_claims_more_than_any_memory_is_an_incomplete_file(suffix: str, tmp_path: Path) -> None:
    content = bytearray(image(tmp_path / "head.nii").read_bytes())
    content[42:48] = np.full(3, 32767, "<i2").tobytes()
    path = tmp_path / f"large{suffix}"
    path.write_bytes(gzip.compress(bytes(content)) if suffix == ".nii.gz" else content)
    with pytest.raises(AutoMedSAMError, match="incomplete"):
        read_volume(path)


@pytest.mark.parametrize("sizes", [(-5, 7, 6), (0, 7, 6)])
def test_impossible_sizes(sizes: tuple[int, int, int], tmp_path: Path) -> None:
    path = image(tmp_path / "head.nii")
    content = bytearray(path.read_bytes())
    content[42:48] = np.array(sizes, "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(AutoMedSAMError, match="impossible sizes"):
        read_volume(path)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<i2", ">i2", "<u2", ">u2", "<i4", ">i4", "u4", "i8", "u8", "<f4", ">f4", "<f8", ">f8"]
)
def test_every_number_type_is_read_as_itself(dtype: str, tmp_path: Path) -> None:
    voxels = (VOXELS % 100).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    header["sform_code"], header["vox_offset"] = 1, 352
    header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
    path = tmp_path / "head.nii"
    path.write_bytes(header.binaryblock + bytes(4) + voxels.tobytes())
    read = read_volume(path).array
    assert read.dtype == voxels.dtype.newbyteorder("=") and read.flags.writeable
    np.testing.assert_array_equal(read, voxels)


SLOPES = [
    ((0.0, 5.0), lambda x: x),
    ((np.nan, np.nan), lambda x: x),
    ((np.inf, 0.0), lambda x: x),
    ((1.0, 0.0), lambda x: x),
    ((2.0, np.nan), lambda x: 2.0 * x),
    ((1.0, -1024.0), lambda x: x - 1024.0),
    ((-0.5, 3.0), lambda x: 3.0 - 0.5 * x),
]


@pytest.mark.parametrize(("slope", "true"), SLOPES)
def test_slope_and_intercept_give_true_values(slope: tuple[float, float], true: object, tmp_path: Path) -> None:
    path = image(tmp_path / "head.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = np.array(slope, "<f4").tobytes()
    path.write_bytes(content)
    read = read_volume(path).array
    np.testing.assert_allclose(read, true(VOXELS), rtol=1e-6)
    assert read.dtype == (np.int16 if slope[0] in (0, np.inf) or slope == (1, 0) or np.isnan(slope[0]) else np.float32)


def test_single_axes_are_dropped_and_a_fourth_is_the_channel(tmp_path: Path) -> None:
    for extra in ((), (1,), (1, 1), (1, 1, 1, 1)):
        assert read_volume(image(tmp_path / "a.nii", VOXELS.reshape(*extra, *VOXELS.shape))).array.shape == VOXELS.shape
    channels = np.stack([VOXELS, VOXELS + 1])
    for shape in ((2,), (2, 1), (1, 2)):
        volume = read_volume(image(tmp_path / "b.nii", channels.reshape(*shape, *VOXELS.shape)))
        np.testing.assert_array_equal(volume.array, channels)
    with pytest.raises(AutoMedSAMError, match="more than 4 axes"):
        read_volume(image(tmp_path / "c.nii", np.stack([channels, channels])))


def test_colors_become_gray_for_a_model_of_one_channel_with_a_warning(tmp_path: Path) -> None:
    colours = np.zeros(VOXELS.shape[::-1], [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"] = VOXELS.transpose()
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "colour.nii.gz")
    volume = read_volume(tmp_path / "colour.nii.gz", expected_channels=1)
    np.testing.assert_array_equal(volume.array, np.rint(0.299 * VOXELS))
    assert "colour" in volume.notes[0]
    for name in "GB":
        colours[name] = colours["R"]
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "grey.nii.gz")
    volume = read_volume(tmp_path / "grey.nii.gz", expected_channels=1)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert not volume.notes


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_written_is_the_same_bytes_each_time(a_volume: Volume, packed: bool, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_nifti(a_volume.array, a_volume, tmp_path / name, packed=packed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    np.testing.assert_array_equal(read_nifti(tmp_path / "one", "one").array, a_volume.array)
    nib.load(shutil.copy(tmp_path / "one", tmp_path / f"x.nii{'.gz' if packed else ''}"))
