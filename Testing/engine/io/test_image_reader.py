"""PNG and JPEG images are read as a viewer shows them, and masks and overlays lie on what is seen."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from automedsam.errors import AutoMedSAMError
from automedsam.io.exif import orientation_of, upright
from automedsam.io.volume_reader import read_image, read_volume
from automedsam.video.clip import open_frames, read_clip

Command = Callable[..., tuple[int, str, str]]

PNG = b"\x89PNG\r\n\x1a\n"
# What is stored so that each orientation shows the same picture (EXIF 2.32, figure of tag 0x0112).
STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1),
    8: lambda seen: np.rot90(seen, -1),
}


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF block of two entries, the second the orientation."""
    entries = struct.pack(f"{order}HHII", 0x0100, 3, 1, 0) + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 2) + entries + bytes(4)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_exif(path: Path, block: bytes) -> Path:
    """Puts an EXIF block into a PNG or JPEG file."""
    content = path.read_bytes()
    if content.startswith(PNG):
        header = 8 + 25
        content = content[:header] + chunk(b"eXIf", block) + content[header:]
    else:
        segment = b"Exif\0\0" + block
        content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    path.write_bytes(content)
    return path


def smooth(*shape: int) -> np.ndarray:
    """A picture that JPEG keeps, and no two corners of which are alike."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    gray = (40 + 3 * y + x).astype(np.uint8)
    return gray if len(shape) == 2 else np.stack([gray, 255 - gray, gray // 2], -1)


def save(array: np.ndarray, path: Path) -> Path:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=array.ndim == 3)
    sitk.WriteImage(image, str(path), imageIO="", compressionLevel=98)
    return path


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_image_is_rotated_by_its_exif_orientation(
    orientation: int, suffix: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    seen = smooth(*shape)
    path = with_exif(save(STORED[orientation](seen), tmp_path / f"image{suffix}"), exif(orientation, ">"))
    picture = read_image(path)
    assert picture.shape == seen.shape
    assert np.abs(picture.astype(int) - seen).max() <= (0 if suffix == ".png" else 12)
    assert read_volume(path).shape == (1, 20, 30)


def test_mask_and_overlay_have_the_size_that_is_seen(command: Command, tmp_path: Path) -> None:
    path = with_exif(save(STORED[6](smooth(60, 90)), tmp_path / "image.jpg"), exif(6))
    code, _, error = command("segment", path, "-o", tmp_path / "mask.png", "--overlay", tmp_path / "over.png")
    assert code == 0, error
    assert sitk.ReadImage(str(tmp_path / "mask.png")).GetSize() == (90, 60)
    overlay = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "over.png")))
    assert (np.abs(overlay[..., 0].astype(int) - smooth(60, 90)) <= 12).mean() > 0.5


def test_frames_of_a_folder_are_turned_as_well(tmp_path: Path) -> None:
    for index in range(2):
        with_exif(save(STORED[8](smooth(20, 30)), tmp_path / f"{index}.png"), exif(8))
    np.testing.assert_array_equal(read_clip(open_frames(tmp_path)).volume.array[1], smooth(20, 30))


@pytest.mark.parametrize(
    "block", [b"", b"II", b"xx" + bytes(20), exif(0), exif(9), exif(6)[:14], b"II*\0\xff\xff\xff\xff"]
)
def test_exif_that_makes_no_sense_changes_nothing(block: bytes, tmp_path: Path) -> None:
    path = with_exif(save(smooth(20, 30), tmp_path / "image.png"), block)
    np.testing.assert_array_equal(read_image(path), smooth(20, 30))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\0\0", b"\xff\xd8" + b"\xff" * 50, PNG, PNG + bytes(7)]
)
def test_files_that_break_off_have_no_orientation(content: bytes) -> None:
    assert orientation_of(content) == 1


def test_turned_pixels_are_an_array_of_their_own() -> None:
    assert upright(smooth(4, 5), 6).flags.c_contiguous


def gray_with_alpha(path: Path, pixels: np.ndarray) -> Path:
    """A PNG of colour type 4 from `(h, w, 2)`, one row for each of PNG's filters None, Sub and Up."""
    height, width, _ = pixels.shape
    rows = pixels.astype(f">u{pixels.itemsize}").view(np.uint8).reshape(height, -1).astype(int)
    step = 2 * pixels.itemsize
    packed = b""
    for index, row in enumerate(rows):
        kind = index % 3
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        above = rows[index - 1] if index else np.zeros_like(row)
        packed += bytes([kind]) + ((row - [0 * row, left, above][kind]) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, 4, 0, 0, 0)
    path.write_bytes(PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_alpha_is_read_as_its_grey(dtype: type, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (9, 7, 2)).astype(dtype)
    path = gray_with_alpha(tmp_path / "image.png", pixels)
    picture = read_image(path)
    assert picture.dtype == dtype
    np.testing.assert_array_equal(picture, pixels[..., 0])
    np.testing.assert_array_equal(read_volume(with_exif(path, exif(3))).array[0], pixels[::-1, ::-1, 0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_grey_with_alpha_where_the_folder_for_temporary_files_is_no_text(tmp_path: Path) -> None:
    path = gray_with_alpha(tmp_path / "image.png", np.arange(126, dtype=np.uint8).reshape(9, 7, 2))
    folder = tmp_path / os.fsdecode(b"gr\xf6\xdfe")
    folder.mkdir()
    # In a process of its own, since SimpleITK would end this one.
    program = "import sys; from pathlib import Path; from automedsam import read_volume; read_volume(Path(sys.argv[1]))"
    environment = {**os.environ, "TMPDIR": str(folder)}
    read = subprocess.run([sys.executable, "-c", program, path], env=environment, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr


def test_grey_with_alpha_that_broke_off(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (90, 70, 2)).astype(np.uint8)
    path = gray_with_alpha(tmp_path / "image.png", pixels)
    whole = path.read_bytes()
    for kept in (20, 30, 40, 3000):
        path.write_bytes(whole[:kept])
        with pytest.raises(AutoMedSAMError, match="damaged"):
            read_image(path)


def test_content_decides_what_a_file_is(tmp_path: Path) -> None:
    save(smooth(20, 30), tmp_path / "a.jpg").rename(tmp_path / "jpeg.png")
    save(smooth(20, 30), tmp_path / "b.png").rename(tmp_path / "png.jpg")
    for name in ("jpeg.png", "png.jpg"):
        assert np.abs(read_image(tmp_path / name).astype(int) - smooth(20, 30)).max() <= 12
    (tmp_path / "jpeg.png").write_bytes((tmp_path / "jpeg.png").read_bytes()[:-50])
    with pytest.raises(AutoMedSAMError, match="incomplete"):
        read_image(tmp_path / "jpeg.png")


def test_color_becomes_gray_with_a_warning(tmp_path: Path) -> None:
    colour = read_volume(save(smooth(20, 30, 3), tmp_path / "colour.png"))
    assert len(colour.notes) == 1 and "colour.png is in colour" in colour.notes[0]
    gray = read_volume(save(np.repeat(smooth(20, 30)[..., None], 3, -1), tmp_path / "grey.png"))
    assert not gray.notes
    (tmp_path / "frames").mkdir()
    for index in range(2):
        save(smooth(20, 30, 3), tmp_path / "frames" / f"{index}.png")
    assert "frames is in colour" in read_clip(open_frames(tmp_path / "frames")).volume.notes[0]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_volume_in_colour_is_taken_as_grey_for_a_model_of_one_channel(suffix: str, tmp_path: Path) -> None:
    colours = [sitk.GetImageFromArray(np.full((4, 5, 6), value, np.uint8)) for value in (10, 20, 30)]
    colours[0][0, 0, 0] = 200
    sitk.WriteImage(sitk.Compose(colours), str(tmp_path / f"head{suffix}"))
    volume = read_volume(tmp_path / f"head{suffix}", expected_channels=1)
    assert volume.array.shape == (4, 5, 6) and volume.array[1, 1, 1] == round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)
    assert "colour" in volume.notes[0]
    assert read_volume(tmp_path / f"head{suffix}", expected_channels=3, check_voxels=False).channels == 3


def test_two_channels_are_no_colours(tmp_path: Path) -> None:
    parts = [sitk.GetImageFromArray(np.arange(120, dtype=np.uint8).reshape(4, 5, 6) + k) for k in range(2)]
    sitk.WriteImage(sitk.Compose(parts), str(tmp_path / "head.nrrd"))
    with pytest.raises(AutoMedSAMError, match="2 channels"):
        read_volume(tmp_path / "head.nrrd", expected_channels=1)
