"""PNG and JPEG images, in the orientation in which a viewer shows them."""

from __future__ import annotations

import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.color import is_colored_picture, luminance
from automedsam.core.native_path import sitk_path
from automedsam.core.volume import Volume, Voxels
from automedsam.io.exif import orientation_of, png_chunks, upright
from automedsam.io.file_integrity import check_jpeg_complete
from automedsam.io.sitk_output import suppress_sitk_output

if TYPE_CHECKING:
    import SimpleITK as sitk

JPEG_SUFFIXES = (".jpg", ".jpeg")
IMAGE_SUFFIXES = (".png", *JPEG_SUFFIXES)

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_GRAY_ALPHA = 4


def is_image_file(path: Path) -> bool:
    """Whether a file is named as a single image."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def read_pixels(path: Path) -> Voxels:
    """Read a PNG or JPEG with its colours, turned upright by its EXIF orientation.

    Args:
        path: The file; what it holds decides, not its suffix.

    Returns:
        `(h, w)`, or `(h, w, c)` with red, green, blue and perhaps alpha, of the file's own type.

    Raises:
        AutoMedSAMError: If it is incomplete.
        OSError: If it cannot be opened.
        RuntimeError: If SimpleITK cannot read it.
    """
    array, _ = _read(path)
    return array


def read_slice(path: Path, name: str) -> Volume:
    """Read a PNG or JPEG as a volume of one slice of grey levels; see `read_pixels`."""
    array, (across, down) = _read(path)
    channels = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, -1, 0)[:, np.newaxis]
    notes = (color_note(path.name),) if is_colored_picture(array) else ()
    identity = tuple(float(value) for value in np.eye(3).ravel())
    return Volume(luminance(channels), (across, down, 1.0), (0.0, 0.0, 0.0), identity, name, notes)


def color_note(called: str) -> str:
    """What a user should know of an image in colour."""
    return f"{called} is in colour and the model takes one channel, so its luminance (ITU-R BT.601) is segmented."


def _read(path: Path) -> tuple[Voxels, tuple[float, float]]:
    """Pixels upright, and the spacing between columns and between rows in mm."""
    import SimpleITK as sitk

    content = path.read_bytes()
    jpeg = content.startswith(_JPEG)
    if jpeg:
        check_jpeg_complete(path)
    with suppress_sitk_output(output=jpeg):
        if _is_gray_with_alpha(content):
            image = _read_gray_with_alpha(content)
        else:
            with sitk_path(path) as readable:
                image = sitk.ReadImage(readable, imageIO="JPEGImageIO" if jpeg else "")
    across, down = image.GetSpacing()[:2]
    orientation = orientation_of(content)
    spacing = (down, across) if orientation >= 5 else (across, down)
    return upright(sitk.GetArrayFromImage(image), orientation), spacing


def _is_gray_with_alpha(content: bytes) -> bool:
    return content.startswith(_PNG) and content[12:16] == b"IHDR" and content[25:26] == bytes([_GRAY_ALPHA])


def _read_gray_with_alpha(content: bytes) -> sitk.Image:
    """Read the grey levels of a PNG of colour type 4, which SimpleITK 2.5 does not know.

    PNG filters bytes, not numbers, so grey and alpha of 8 bits are stored as one number of 16 bits would be, and
    those of 16 bits as four colours of 8 bits: with another word in its header, SimpleITK reads the same file.
    """
    import SimpleITK as sitk

    header = bytearray(png_chunks(content)[0][1])
    deep = header[8] == 16
    header[8], header[9] = (8, 6) if deep else (16, 0)
    body = b"".join(data for kind, data in png_chunks(content) if kind == b"IDAT")
    with TemporaryDirectory(prefix="automedsam-") as folder:
        file = Path(folder) / "grey.png"
        file.write_bytes(_PNG + _chunk(b"IHDR", bytes(header)) + _chunk(b"IDAT", body) + _chunk(b"IEND", b""))
        with sitk_path(file) as readable:
            stored = sitk.GetArrayFromImage(sitk.ReadImage(readable))
    if not deep:
        return sitk.GetImageFromArray((stored >> 8).astype(np.uint8))
    return sitk.GetImageFromArray(stored[..., 0].astype(np.uint16) << 8 | stored[..., 1])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
