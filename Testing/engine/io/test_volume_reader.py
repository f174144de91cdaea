"""Every kind of file becomes the same volume, with the file's own grid and voxel type."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.core.volume import Plane, Volume
from automedsam.io.volume_reader import read_volume

WriteSeries = Callable[..., None]


def save(volume: Volume, path: Path) -> Path:
    sitk.WriteImage(volume.to_image(volume.array), str(path))
    return path


def assert_same(read: Volume, written: Volume) -> None:
    np.testing.assert_array_equal(read.array, written.array)
    np.testing.assert_allclose(read.spacing, written.spacing, rtol=1e-6)
    np.testing.assert_allclose(read.origin, written.origin, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(read.direction, written.direction, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".NII.GZ"])
def test_each_format_gives_the_same_volume(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    path = save(a_volume, tmp_path / f"head{suffix.lower()}")
    path = path.rename(tmp_path / f"head{suffix}")
    volume = read_volume(path)
    assert_same(volume, a_volume)
    assert volume.name == "head"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_voxel_type_is_kept(a_volume: Volume, dtype: type, tmp_path: Path) -> None:
    typed = replace(a_volume, array=(a_volume.array % 200).astype(dtype))
    assert read_volume(save(typed, tmp_path / "head.nii.gz")).array.dtype == dtype


@pytest.mark.parametrize("name", ["größe 頭部", "Ångström's head", "голова"])
def test_any_letters_may_stand_in_a_path(a_volume: Volume, name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    volume = read_volume(save(a_volume, folder / f"{name}.nii.gz"))
    assert_same(volume, a_volume)
    assert volume.name == name


def test_several_files_are_channels_in_their_order(a_volume: Volume, tmp_path: Path) -> None:
    inverse = replace(a_volume, array=-a_volume.array)
    paths = [save(a_volume, tmp_path / "t1.nii.gz"), save(inverse, tmp_path / "flair.nrrd")]
    volume = read_volume(paths, expected_channels=2)
    assert volume.channels == 2
    assert volume.name == "t1"
    np.testing.assert_array_equal(volume.array, np.stack([a_volume.array, -a_volume.array]))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_four_dimensional_file_holds_channels(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    channels = [a_volume.to_image(a_volume.array + offset) for offset in (0, 1, 2)]
    path = tmp_path / f"all{suffix}"
    sitk.WriteImage(sitk.JoinSeries(channels), str(path))
    volume = read_volume(path, expected_channels=3)
    assert_same(volume, replace(a_volume, array=np.stack([a_volume.array + offset for offset in (0, 1, 2)])))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_vector_voxels_are_channels(a_volume: Volume, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"all{suffix}"
    sitk.WriteImage(sitk.Compose([a_volume.to_image(a_volume.array + offset) for offset in (0, 1)]), str(path))
    assert_same(read_volume(path), replace(a_volume, array=np.stack([a_volume.array, a_volume.array + 1])))


def test_four_dimensional_file_of_one_channel_is_a_plain_volume(a_volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "one.nii.gz"
    sitk.WriteImage(sitk.JoinSeries([a_volume.to_image(a_volume.array)]), str(path))
    assert_same(read_volume(path, expected_channels=1), a_volume)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture_is_one_slice_as_it_is_seen(a_picture: Volume, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"xray{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(a_picture.array[0]), str(path))
    volume = read_volume(path, expected_channels=1)
    assert volume.shape == (1, 12, 17)
    np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    np.testing.assert_array_equal(volume.to_frames(volume.default_plane())[0], volume.array)


def test_colour_becomes_luminance_and_alpha_is_left_out(tmp_path: Path) -> None:
    colours = np.zeros((2, 2, 4), dtype=np.uint8)
    colours[0, 0] = (255, 0, 0, 255)
    colours[0, 1] = (0, 255, 0, 255)
    colours[1, 0] = (0, 0, 255, 0)
    colours[1, 1] = (255, 255, 255, 9)
    path = tmp_path / "colour.png"
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(path))
    np.testing.assert_array_equal(read_volume(path).array, [[[76, 150], [29, 255]]])


def test_sixteen_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    path = tmp_path / "deep.png"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    np.testing.assert_array_equal(read_volume(path).array[0], array)


def test_dicom_folder_is_read_in_order_of_position(
    a_volume: Volume, write_dicom_series: WriteSeries, tmp_path: Path
) -> None:
    write_dicom_series(a_volume, tmp_path / "series")
    (tmp_path / "series" / "notes.txt").write_text("not an image")
    volume = read_volume(tmp_path / "series")
    assert_same(volume, a_volume)
    assert volume.name == "series 1"


def test_one_file_of_a_series_stands_for_it(a_volume: Volume, write_dicom_series: WriteSeries, tmp_path: Path) -> None:
    write_dicom_series(a_volume, tmp_path)
    other = replace(a_volume, array=a_volume.array[:4] + 1)
    write_dicom_series(other, tmp_path, number=2)
    assert_same(read_volume(tmp_path / "1_97.dcm"), a_volume)
    assert_same(read_volume(tmp_path / "2_97.dcm"), other)


def test_label_map_without_labels_is_read_when_asked(a_volume: Volume, tmp_path: Path) -> None:
    empty = replace(a_volume, array=np.zeros_like(a_volume.array))
    assert not read_volume(save(empty, tmp_path / "labels.nii.gz"), check_voxels=False).array.any()


def test_real_dicom_series_is_read_whole_and_in_place(shared_data: Path) -> None:
    volume = read_volume(shared_data / "tcia_gbm_dicom" / "Study1_FLAIRreg", expected_channels=1)
    assert volume.shape == (22, 512, 512)
    np.testing.assert_allclose(volume.spacing, (0.4297, 0.4297, 6.5), atol=1e-4)
    assert volume.default_plane() is Plane.AXIAL
    for file in sorted((shared_data / "tcia_gbm_dicom" / "Study1_FLAIRreg").glob("*.dcm")):
        one = sitk.ReadImage(str(file))
        position = [float(value) for value in one.GetMetaData("0020|0032").split("\\")]
        index = round((position[2] - volume.origin[2]) / (volume.world((1, 0, 0))[2] - volume.origin[2]))
        np.testing.assert_allclose(volume.world((index, 0, 0)), position, atol=0.01)
        np.testing.assert_array_equal(volume.array[index], sitk.GetArrayFromImage(one)[0])
    # Tilted back by 15 degrees, yet axial: the top of the head comes last, the nose first.
    frames = volume.to_frames(Plane.AXIAL)[0]
    np.testing.assert_array_equal(frames, volume.array)


def test_real_brats_case_is_four_channels_on_one_grid(shared_data: Path) -> None:
    folder = shared_data / "brats2023" / "BraTS-GLI-00001-000"
    paths = [folder / f"BraTS-GLI-00001-000-{modality}.nii.gz" for modality in ("t1n", "t1c", "t2w", "t2f")]
    volume = read_volume(paths, expected_channels=4)
    assert volume.array.shape == (4, 155, 240, 240)
    assert volume.voxel_volume_ml == pytest.approx(0.001)
    np.testing.assert_array_equal(volume.array[3], sitk.GetArrayFromImage(sitk.ReadImage(str(paths[3]))))


def test_every_real_image_is_read(shared_data: Path) -> None:
    kinds = (
        "**/*.nii.gz",
        "cxr_lung_masks/*",
        "kvasir_seg/images/*",
        "sam_med2d_demo/images/*",
        "nih_cxr14/*.png",
    )
    paths = [path for kind in kinds for path in sorted(shared_data.glob(kind))[:6]]
    assert len(paths) > 10
    for path in paths:
        assert read_volume(path).channels == 1


def test_nothing_is_printed_while_reading(a_volume: Volume, a_picture: Volume, tmp_path: Path) -> None:
    good = save(a_volume, tmp_path / "good.nii.gz")
    bad = save(a_volume, tmp_path / "bad.mha")
    bad.write_bytes(bad.read_bytes()[:-100])
    odd = tmp_path / "odd.jpg"
    sitk.WriteImage(sitk.GetImageFromArray(a_picture.array[0]), str(odd))
    odd.write_bytes(odd.read_bytes().replace(b"\xff\xda", b"extra\xff\xda"))
    program = (
        "import sys, pathlib\n"
        "from automedsam.errors import AutoMedSAMError\n"
        "from automedsam.io.volume_reader import read_volume\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        read_volume(pathlib.Path(name))\n"
        "    except AutoMedSAMError:\n"
        "        pass\n"
        "print('heard', file=sys.stderr)\n"
    )
    arguments = [sys.executable, "-c", program, str(good), str(bad), str(odd), str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=True)
    assert (run.stdout, run.stderr) == ("", "heard\n")
