"""What the check before a run accepts can be written: any name, any link, any bytes in a path."""

import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import CAPTURE, dataset, voxels
from pydicom.uid import RLELossless

from automedsam.contract.backends import Backend
from automedsam.core.native_path import sitk_path
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io import atomic as whole_file_module
from automedsam.io.atomic import atomic_folder, check_folder, check_writable, write_error_message
from automedsam.io.image_reader import is_image_file
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import read_image, read_volume
from automedsam.runtime.session import open_session
from automedsam.video.clip import open_frames, read_clip
from automedsam.visualization.montage import write_png

FORMATS = [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha"]
BYTES = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
LATIN_1 = os.fsdecode(b"gr\xf6\xdfe")


def written(segmentation: Segmentation, path: Path) -> Path:
    check_output(path, segmentation.volume)
    write_segmentation(segmentation, path)
    np.testing.assert_array_equal(read_volume(path).array, segmentation.labels)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_suffix_in_capitals(a_segmentation: Segmentation, suffix: str, tmp_path: Path) -> None:
    for name in (f"LESIONS{suffix.upper()}", f"lesions{suffix.title()}"):
        assert written(a_segmentation, tmp_path / name).is_file()


def test_png_in_capitals(a_picture: Volume, tmp_path: Path) -> None:
    labels = (a_picture.array > 100).astype(np.uint8)
    write_segmentation(Segmentation(labels, a_picture, [Segment(1, "Lung", (1, 0, 0), "")]), tmp_path / "MASK.PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "MASK.PNG"), labels[0] * 255)


@pytest.mark.parametrize("suffix", FORMATS)
def test_name_as_long_as_can_be(a_segmentation: Segmentation, suffix: str, tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    written(a_segmentation, tmp_path / ("s." + "n" * (longest - len(suffix) - 2) + suffix))


@pytest.mark.parametrize("suffix", FORMATS)
def test_name_that_is_too_long_is_refused_before_the_run(suffix: str, tmp_path: Path) -> None:
    for name in ("n" * 300 + suffix, "n" * 300 + "/a" + suffix):
        with pytest.raises(AutoMedSAMError, match="shorter name"):
            check_output(tmp_path / name)
    with pytest.raises(AutoMedSAMError, match="shorter name"):
        check_folder(tmp_path / ("n" * 300))


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("suffix", FORMATS)
def test_link_stays_and_its_target_is_written(
    a_segmentation: Segmentation, exists: bool, suffix: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / f"real{suffix}", tmp_path / f"link{suffix}"
    if exists:
        target.write_text("old")
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    written(a_segmentation, link)
    assert link.is_symlink() and target.is_file() and not target.is_symlink()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_link_to_an_input_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "head.nii.gz").touch()
    (tmp_path / "out.nii.gz").symlink_to("head.nii.gz")
    with pytest.raises(AutoMedSAMError, match="input as well"):
        check_writable(tmp_path / "out.nii.gz", [tmp_path / "head.nii.gz"])


def test_link_that_leads_in_a_circle_or_to_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").symlink_to("b.nrrd")
    (tmp_path / "b.nrrd").symlink_to("a.nrrd")
    (tmp_path / "c.nrrd").symlink_to(tmp_path / "missing" / "c.nrrd")
    with pytest.raises(AutoMedSAMError, match="circle"):
        check_output(tmp_path / "a.nrrd")
    with pytest.raises(AutoMedSAMError, match="missing does not exist"):
        check_output(tmp_path / "c.nrrd")


@pytest.mark.parametrize("exists", [True, False])
def test_link_to_a_folder_stays_and_the_folder_is_filled(exists: bool, tmp_path: Path) -> None:
    target = tmp_path / "real"
    if exists:
        target.mkdir()
    (tmp_path / "masks").symlink_to("real")
    with atomic_folder(tmp_path / "masks") as unfinished:
        (unfinished / "0.png").write_text("x")
    assert (tmp_path / "masks").is_symlink() and [path.name for path in target.iterdir()] == ["0.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_pipe_is_neither_input_nor_output(tmp_path: Path) -> None:
    pipe = tmp_path / "head.nii.gz"
    os.mkfifo(pipe)
    with pytest.raises(AutoMedSAMError, match="pipe"):
        read_volume(pipe)
    with pytest.raises(AutoMedSAMError, match="pipe"):
        check_output(pipe)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EACCES, "may write to"),
        (errno.EROFS, "may write to"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EIO, "choose another folder"),
        (errno.ENOMEM, "not enough memory"),
    ],
)
def test_advice_fits_the_reason(number: int, advice: str, tmp_path: Path) -> None:
    sentence = write_error_message(tmp_path / "a.nrrd", OSError(number, os.strerror(number)))
    assert advice in sentence and ("free space" in sentence) == (advice == "free space")


def test_writer_that_names_no_reason_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("sitk::ERROR: something in NrrdIO")
    assert "free space" not in write_error_message(tmp_path / "a.nrrd", error)
    monkeypatch.setattr(whole_file_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    assert "free space" in write_error_message(tmp_path / "a.nrrd", error)


@BYTES
@pytest.mark.parametrize("suffix", FORMATS)
def test_paths_that_are_no_text_are_written_and_read(a_segmentation: Segmentation, suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / LATIN_1
    folder.mkdir()
    for name in (f"plain{suffix}", f"{LATIN_1}{suffix}"):
        written(a_segmentation, folder / name)
    assert len(list(folder.iterdir())) == 2


@BYTES
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".MHD"])
def test_detached_voxels_are_found_beside_a_header_whose_name_is_no_text(
    a_volume: Volume, suffix: str, tmp_path: Path
) -> None:
    sitk.WriteImage(a_volume.to_image(a_volume.array), str(tmp_path / f"head{suffix.lower()}"))
    path = (tmp_path / f"head{suffix.lower()}").rename(tmp_path / f"{LATIN_1}{suffix}")
    np.testing.assert_array_equal(read_volume(path).array, a_volume.array)
    for other in tmp_path.iterdir():
        if other != path:
            other.unlink()
    with pytest.raises(AutoMedSAMError, match="which is not there"):
        read_volume(path)


@BYTES
def test_pictures_and_frames_in_a_folder_whose_name_is_no_text(a_picture: Volume, tmp_path: Path) -> None:
    folder = tmp_path / LATIN_1
    folder.mkdir()
    colours = np.repeat(a_picture.array[0, ..., None], 3, -1)
    for index in range(2):
        write_png(colours, folder / f"{LATIN_1}{index}.PNG")
    assert all(is_image_file(path) for path in folder.iterdir())
    clip = read_clip(open_frames(folder))
    np.testing.assert_array_equal(clip.volume.array, np.repeat(a_picture.array, 2, 0))


@BYTES
def test_video_whose_name_is_no_text(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    from automedsam.video.video_writer import write_video

    path = tmp_path / f"{LATIN_1}.mp4"
    path.touch()
    write_video(iter(np.zeros((3, 32, 48, 3), np.uint8)), Fraction(25), path)
    assert len(read_clip(open_frames(path))) == 3


@BYTES
def test_folder_for_temporary_files_whose_name_is_no_text(a_segmentation: Segmentation, tmp_path: Path) -> None:
    volume = a_segmentation.volume
    sitk.WriteImage(volume.to_image(volume.array), str(tmp_path / "head.nrrd"))
    (tmp_path / "head.nrrd").rename(tmp_path / f"{LATIN_1}.nrrd")
    picture = dataset(voxels(1, 16, 16)[0].astype(np.uint8), CAPTURE, "OT")
    picture.compress(RLELossless)
    picture.save_as(tmp_path / f"{LATIN_1}.dcm")
    (tmp_path / LATIN_1).mkdir()
    # In a process of its own, since SimpleITK would end this one.
    program = (
        "import sys\nfrom pathlib import Path\nfrom automedsam import read_volume\n"
        "for name in sys.argv[1:]: print(read_volume(Path(name)).shape)"
    )
    files = sorted(path for path in tmp_path.iterdir() if path.is_file())
    environment = {**os.environ, "TMPDIR": str(tmp_path / LATIN_1)}
    read = subprocess.run(
        [sys.executable, "-c", program, *files], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert read.returncode == 0, read.stderr
    assert len(read.stdout.splitlines()) == 2


@BYTES
def test_model_in_a_folder_whose_name_is_no_text(glioma: object, tmp_path: Path) -> None:
    (tmp_path / LATIN_1).symlink_to(glioma.folder)
    assert open_session(tmp_path / LATIN_1 / glioma.files(Backend.INT8)["detector"].relative_to(glioma.folder), 1)


def test_path_that_is_text_is_handed_on_as_it_is(tmp_path: Path) -> None:
    with sitk_path(tmp_path / "größe.nrrd") as path:
        assert path == str(tmp_path / "größe.nrrd")
