"""Each bad input of reading and writing ends in one clear sentence and leaves no half-written file."""

import gzip
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import read_volume

WriteSeries = Callable[..., None]
WRITTEN = [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha"]


@contextmanager
def one_sentence(*parts: str) -> Iterator[None]:
    """Expect an error that is one sentence, names `parts`, and says what to do after a semicolon."""
    with pytest.raises(AutoMedSAMError) as caught:
        yield
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert message.endswith(".")
    assert not re.search(r"[.!?]\s", message), message
    assert "\n" not in message
    assert "; " in message


def save(volume: Volume, path: Path) -> Path:
    sitk.WriteImage(volume.to_image(volume.array), str(path))
    return path


def test_no_input_at_all() -> None:
    with one_sentence("No input"):
        read_volume([])


@pytest.mark.parametrize("name", ["missing.nii.gz", "missing", "missing/head.nrrd"])
def test_missing_file(name: str, tmp_path: Path) -> None:
    with one_sentence(name, "does not exist"):
        read_volume(tmp_path / name)


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "head").write_text("x")
    with one_sentence("does not exist"):
        read_volume(tmp_path / "head" / "head.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".jpg"])
@pytest.mark.parametrize("content", [b"", b"This is a letter, not an image.\n" * 40])
def test_text_named_as_an_image(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_bytes(content)
    with one_sentence(path.name):
        read_volume(path)


def test_packed_text_named_nifti(tmp_path: Path) -> None:
    path = tmp_path / "letter.nii.gz"
    path.write_bytes(gzip.compress(b"This is a letter.\n" * 1000))
    with one_sentence(path.name, "not a NIfTI file"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_file_that_broke_off(a_volume: Volume, suffix: str, kept: float, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / f"head{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with one_sentence(path.name):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture_that_broke_off(a_picture: Volume, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"xray{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(a_picture.array[0]), str(path))
    path.write_bytes(path.read_bytes()[:-40])
    with one_sentence(path.name):
        read_volume(path)


def test_damaged_gzip(a_volume: Volume, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / "head.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with one_sentence("damaged"):
        read_volume(path)


def test_header_without_its_voxels(a_volume: Volume, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / "head.mhd")
    (tmp_path / "head.raw").unlink(missing_ok=True)
    (tmp_path / "head.zraw").unlink(missing_ok=True)
    with one_sentence("head.mhd"):
        read_volume(path)


def test_unknown_format(tmp_path: Path) -> None:
    path = tmp_path / "scan.docx"
    path.write_text("x")
    with one_sentence("no known image format", ".nii.gz"):
        read_volume(path)


def test_file_that_may_not_be_read(a_volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(a_volume, tmp_path / "head.nii.gz")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with one_sentence("head.nii.gz", "Permission denied"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(a_volume: Volume, bad: float, dtype: type, suffix: str, tmp_path: Path) -> None:
    array = a_volume.array.astype(dtype)
    array[0, 0, 0] = array[-1, -1, -1] = bad
    with one_sentence("head has 2 voxels", "NaN or infinite"):
        read_volume(save(replace(a_volume, array=array), tmp_path / f"head{suffix}"))


def test_constant_voxels(a_volume: Volume, tmp_path: Path) -> None:
    flat = replace(a_volume, array=np.full_like(a_volume.array, 3))
    with one_sentence("same value (3)"):
        read_volume(save(flat, tmp_path / "head.nii.gz"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_one_slice_in_a_file_for_volumes(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    path = save(replace(a_volume, array=a_volume.array[:1]), tmp_path / f"slice{suffix}")
    with one_sentence("only 1 slice", "PNG"):
        read_volume(path)


def test_two_dimensional_nifti(a_picture: Volume, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(a_picture.array[0]), str(tmp_path / "flat.nii.gz"))
    with one_sentence("only 1 slice"):
        read_volume(tmp_path / "flat.nii.gz")


def test_four_dimensions_where_three_are_wanted(a_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "perfusion.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([a_volume.to_image(a_volume.array)] * 4), str(path))
    with one_sentence("perfusion.nii.gz", "4-D file with 4 channels"):
        read_volume(path, expected_channels=1)


def test_four_dimensional_file_among_several(a_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "perfusion.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([a_volume.to_image(a_volume.array)] * 4), str(path))
    with one_sentence("perfusion.nii.gz", "4-D"):
        read_volume([save(a_volume, tmp_path / "t1.nii.gz"), path])


def test_too_few_modalities(a_volume: Volume, tmp_path: Path) -> None:
    with one_sentence("4 channels", "1 were given"):
        read_volume(save(a_volume, tmp_path / "t1.nii.gz"), expected_channels=4)


@pytest.mark.parametrize("change", ["size", "spacing", "origin", "direction"])
def test_modalities_of_different_grids(a_volume: Volume, change: str, tmp_path: Path) -> None:
    other = {
        "size": replace(a_volume, array=a_volume.array[1:]),
        "spacing": replace(a_volume, spacing=(0.7, 0.5, 4.5)),
        "origin": replace(a_volume, origin=(0.0, 0.0, 0.0)),
        "direction": replace(a_volume, direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
    }[change]
    paths = [save(a_volume, tmp_path / "t1.nii.gz"), save(other, tmp_path / "flair.nii.gz")]
    with one_sentence("flair.nii.gz has another grid than", "t1.nii.gz"):
        read_volume(paths)


def test_sheared_nifti(a_volume: Volume, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / "sheared.nii")
    content = bytearray(path.read_bytes())
    content[252:254] = (0).to_bytes(2, "little")
    content[280:328] = np.array([[1, 0.4, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0]], dtype="<f4").tobytes()
    path.write_bytes(content)
    with one_sentence("sheared"):
        read_volume(path)


def test_complex_voxels(a_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "kspace.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(a_volume.array.astype(np.complex64)), str(path))
    with one_sentence("kspace.nii.gz", "complex"):
        read_volume(path)


def test_folder_without_dicom(tmp_path: Path) -> None:
    with one_sentence("holds no DICOM series"):
        read_volume(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing here")
    with one_sentence("holds no DICOM series"):
        read_volume(tmp_path)


def test_folder_of_two_series(a_volume: Volume, write_dicom_series: WriteSeries, tmp_path: Path) -> None:
    write_dicom_series(a_volume, tmp_path)
    write_dicom_series(replace(a_volume, array=a_volume.array[:3]), tmp_path, number=2)
    with one_sentence("2 DICOM volumes", "series 1 (6 slices", "series 2 (3 slices", "--series N"):
        read_volume(tmp_path)


def test_series_with_a_slice_missing(a_volume: Volume, write_dicom_series: WriteSeries, tmp_path: Path) -> None:
    write_dicom_series(a_volume, tmp_path, skip=(2,))
    with one_sentence("1 slice is missing"):
        read_volume(tmp_path)


def test_series_of_one_slice(a_volume: Volume, write_dicom_series: WriteSeries, tmp_path: Path) -> None:
    write_dicom_series(replace(a_volume, array=a_volume.array[:1]), tmp_path)
    with one_sentence("only 1 slice"):
        read_volume(tmp_path)


def test_impossible_grid(a_volume: Volume) -> None:
    for wrong in ({"spacing": (1.0, 0.0, 1.0)}, {"origin": (np.nan, 0.0, 0.0)}, {"direction": (0.0,) * 9}):
        with one_sentence("impossible grid"):
            replace(a_volume, **wrong)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_output_folder_that_does_not_exist(a_segmentation: Segmentation, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / f"lesions{suffix}"
    with one_sentence("does not exist"):
        check_output(path)
    with one_sentence("does not exist"):
        write_segmentation(a_segmentation, path)
    assert not list(tmp_path.iterdir())


def test_output_folder_that_is_a_file(a_segmentation: Segmentation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with one_sentence("does not exist"):
        write_segmentation(a_segmentation, tmp_path / "file" / "lesions.nii.gz")


def test_output_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lesions.nii.gz").mkdir()
    with one_sentence("is a folder"):
        check_output(tmp_path / "lesions.nii.gz")


def test_output_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    with one_sentence("cannot be written", "Read-only file system"):
        check_output(tmp_path / "lesions.nii.gz")


def test_output_that_would_overwrite_an_input(a_volume: Volume, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / "head.nii.gz")
    with one_sentence("is an input as well"):
        check_output(tmp_path / ".." / tmp_path.name / "head.nii.gz", a_volume, [path])


def test_volume_as_png(a_segmentation: Segmentation, tmp_path: Path) -> None:
    with one_sentence("PNG", "has 6"):
        check_output(tmp_path / "lesions.png", a_segmentation.volume)
    with one_sentence("PNG", "has 6"):
        write_segmentation(a_segmentation, tmp_path / "lesions.png")
    assert not list(tmp_path.iterdir())


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file grow past `room` bytes, as on a full disk: the real writers meet real failures."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("room", [0, 100, 30_000])
def test_disk_that_fills_up_leaves_the_old_file(suffix: str, room: int, tmp_path: Path) -> None:
    labels = np.random.default_rng(7).integers(0, 255, (40, 50, 60)).astype(np.uint8)
    volume = Volume(labels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    path = tmp_path / f"lesions{suffix}"
    path.write_text("the old file")
    segmentation = Segmentation(labels, volume, [Segment(1, "Mass", (1, 0, 0), "")])
    with full_disk(room), one_sentence("cannot be written"):
        write_segmentation(segmentation, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "the old file"


def test_disk_that_fills_up_under_a_mask(a_picture: Volume, tmp_path: Path) -> None:
    labels = (a_picture.array > 100).astype(np.uint8)
    segmentation = Segmentation(labels, a_picture, [Segment(1, "Lung", (1, 0, 0), "")])
    with full_disk(60), one_sentence("cannot be written"):
        write_segmentation(segmentation, tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_writing_that_is_broken_off_leaves_nothing(
    a_segmentation: Segmentation, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(_: sitk.Image, path: str, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(sitk, "WriteImage", write_half)
    with pytest.raises((AutoMedSAMError, KeyboardInterrupt)):
        write_segmentation(a_segmentation, tmp_path / "lesions.seg.nrrd")
    assert not list(tmp_path.iterdir())
