"""Stored pixels are read as they are, whatever their coding, and pictures look as on a screen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import (
    ANGIOGRAPHY,
    CAPTURE,
    CT,
    DIGITAL_RADIOGRAPH,
    MAMMOGRAM,
    RADIOGRAPH,
    ULTRASOUND,
    ULTRASOUND_CINE,
    dataset,
    item,
    save,
    slices,
    voxels,
)
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.video.clip import open_frames, read_clip

Command = Callable[..., tuple[int, str, str]]
# Of pydicom's own files: one picture in several codings. Those in one row hold the same pixels.
ALIKE = {
    "MR_small.dcm": (
        "MR_small_RLE.dcm MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm MR_small_jp2klossless.dcm "
        "MR_small_jpeg_ls_lossless.dcm MR_small_padded.dcm"
    ),
    "SC_rgb_rle.dcm": "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd.dcm": "SC_rgb_small_odd_big_endian.dcm",
}


def shipped(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"this pydicom ships no {name}"
    return Path(found)


def values(path: Path, folder: Path) -> np.ndarray:
    """The pixels of one slice of a volume: a copy one position further makes it two."""
    import pydicom

    folder.mkdir()
    for index in (0, 1):
        made = pydicom.dcmread(path)
        made.Modality, made.SOPInstanceUID = made.get("Modality", "OT"), f"2.25.{index + 1}"
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 5.0 * index], [1, 0, 0, 0, 1, 0]
        made.PixelSpacing = [1, 1]
        made.save_as(folder / f"{index}.dcm")
    array = read_volume(folder).array
    np.testing.assert_array_equal(array[0], array[1])
    return array[0]


@pytest.mark.parametrize(("name", "other"), [(name, other) for name, more in ALIKE.items() for other in more.split()])
def test_coding_does_not_change_the_pixels(name: str, other: str, tmp_path: Path) -> None:
    one, two = values(shipped(name), tmp_path / "a"), values(shipped(other), tmp_path / "b")
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_rle.dcm"])
def test_depth_of_colour_does_not_change_the_picture(name: str) -> None:
    def scaled(path: Path) -> np.ndarray:
        array = read_volume(path).array[0].astype(float)
        return array / array.max()

    np.testing.assert_allclose(scaled(shipped(name)), scaled(shipped("SC_rgb_rle.dcm")), atol=0.01)


@pytest.mark.parametrize("coding", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32])
def test_native_codings_keep_the_pixels(coding: str, kind: type, tmp_path: Path) -> None:
    array = (voxels() % 251).astype(kind)
    for index, picture in enumerate(array):
        made = dataset(picture, ImagePositionPatient=[0, 0, index], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        made.PixelSpacing, made.file_meta.TransferSyntaxUID = [1, 1], coding
        save(made, tmp_path / f"{index}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array.dtype == kind
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_beside_the_pixels_do_not_count(signed: bool, tmp_path: Path) -> None:
    true = voxels() - (500 if signed else 0)
    # An overlay as older scanners left it in the bits above the twelve in use.
    stored = (true & 0x0FFF) | (np.arange(true.size).reshape(true.shape) % 2 << 13)
    slices(tmp_path, stored.astype(np.int16 if signed else np.uint16), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_volume(tmp_path).array, true)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm"])
def test_compressed_picture_that_broke_off_is_refused(name: str, tmp_path: Path) -> None:
    content = shipped(name).read_bytes()
    path = tmp_path / "half.dcm"
    path.write_bytes(content[: len(content) - len(content) // 4])
    with pytest.raises(AutoMedSAMError, match=r"half\.dcm"):
        read_volume(path)


def test_every_file_that_pydicom_ships_is_read_or_refused_in_one_sentence() -> None:
    seen = {}
    for path in sorted(shipped("MR_small.dcm").parent.glob("*.dcm")):
        try:
            seen[path.name] = str(read_volume(path, check_voxels=False).shape)
        except AutoMedSAMError as error:
            seen[path.name] = str(error)
    assert len(seen) > 40
    assert all(what.startswith("(1, ") or what.endswith(".") for what in seen.values()), seen


@pytest.mark.parametrize(
    ("kind", "modality"),
    [(RADIOGRAPH, "CR"), (DIGITAL_RADIOGRAPH, "DX"), (MAMMOGRAM, "MG"), (CAPTURE, "OT"), (ULTRASOUND, "US")],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_single_picture_is_an_image_as_it_is_seen(kind: str, modality: str, inverted: bool, tmp_path: Path) -> None:
    true = voxels(1, 20, 30)[0].astype(np.uint16)
    stored = 4095 - true if inverted else true
    made = dataset(stored, kind, modality, BitsStored=12, HighBit=11, ImagerPixelSpacing=[0.2, 0.1])
    made.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    path = save(made, tmp_path / "in" / "xray.dcm")
    for source in (path, path.parent):
        volume = read_volume(source, expected_channels=1)
        np.testing.assert_array_equal(volume.array, [true])
        assert volume.spacing == (0.1, 0.2, 1.0)


def test_views_of_one_series_are_pictures_of_their_own(tmp_path: Path) -> None:
    for index, picture in enumerate(voxels(2, 20, 30).astype(np.uint16)):
        save(dataset(picture, MAMMOGRAM, "MG", InstanceNumber=index), tmp_path / f"view{index}.dcm")
    with pytest.raises(AutoMedSAMError, match=r"holds 2 DICOM images: 1 is head \(1 image of 30 x 20, MG, view0.dcm\)"):
        read_volume(tmp_path)
    for index, picture in enumerate(voxels(2, 20, 30)):
        np.testing.assert_array_equal(read_volume(tmp_path, series=index + 1).array[0], picture)
        np.testing.assert_array_equal(read_volume(tmp_path / f"view{index}.dcm").array[0], picture)


def test_slice_of_a_volume_is_no_picture(tmp_path: Path) -> None:
    slices(tmp_path, voxels(1), kind=CT, modality="CT")
    with pytest.raises(AutoMedSAMError, match="only 1 slice"):
        read_volume(tmp_path)


def test_colour_becomes_luminance_with_a_sentence(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    volume = read_volume(save(dataset(colours, ULTRASOUND, "US"), tmp_path / "doppler.dcm"), expected_channels=1)
    np.testing.assert_array_equal(volume.array[0], np.rint(colours @ [0.299, 0.587, 0.114]))
    (note,) = volume.notes
    assert "stored in colour" in note and "luminance" in note


def test_table_of_values_is_looked_up(tmp_path: Path) -> None:
    stored = np.arange(600, dtype=np.uint16).reshape(20, 30)
    table = np.arange(256, dtype=np.uint16) ** 2
    made = dataset(stored, RADIOGRAPH, "CR")
    made.ModalityLUTSequence = [item(LUTDescriptor=[256, 100, 16], ModalityLUTType="US", LUTData=table.tolist())]
    made.ModalityLUTSequence[0]["LUTData"].VR = "US"
    array = read_volume(save(made, tmp_path / "film.dcm")).array[0]
    np.testing.assert_array_equal(array, table[np.clip(stored.astype(int) - 100, 0, 255)])


@pytest.mark.parametrize(
    ("kind", "modality"), [(ULTRASOUND_CINE, "US"), (ANGIOGRAPHY, "XA"), (CAPTURE + ".2", "ES"), (CAPTURE + ".2", "OT")]
)
def test_frames_in_time_are_a_video(kind: str, modality: str, tmp_path: Path) -> None:
    array = voxels(5, 20, 30).astype(np.uint8)
    timed = {"FrameTime": "40"} if modality == "OT" else {"CineRate": 25}
    path = save(dataset(array, kind, modality, NumberOfFrames=5, **timed), tmp_path / "film.dcm")
    source = open_frames(path)
    assert source is not None and source.count == 5 and source.rate == Fraction(25)
    np.testing.assert_array_equal(read_clip(source).volume.array, array)
    with pytest.raises(AutoMedSAMError, match="is a video"):
        read_volume(path)
    with pytest.raises(AutoMedSAMError, match=r"1 DICOM video \(film\.dcm\)"):
        read_volume(tmp_path)


def test_command_writes_the_mask_and_the_overlay_of_a_radiograph(command: Command, tmp_path: Path) -> None:
    picture = voxels(1, 60, 80)[0].astype(np.uint16)
    path = save(dataset(picture, DIGITAL_RADIOGRAPH, "DX"), tmp_path / "in" / "xray.dcm")
    for source in (path, path.parent):
        mask, overlay = tmp_path / "mask.png", tmp_path / "overlay.png"
        code, _, error = command("segment", source, "-o", mask, "--overlay", overlay)
        assert code == 0, error
        assert sitk.ReadImage(str(mask)).GetSize() == sitk.ReadImage(str(overlay)).GetSize() == (80, 60)


def test_command_draws_no_overlay_of_a_series(command: Command, tmp_path: Path) -> None:
    slices(tmp_path / "in", voxels(6, 30, 30))
    code, _, error = command("segment", tmp_path / "in", "-o", tmp_path / "a.nrrd", "--overlay", tmp_path / "b.png")
    assert code == 2 and "--overlay draws on single images" in error
