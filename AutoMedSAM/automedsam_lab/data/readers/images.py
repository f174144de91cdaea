"""PNG and JPEG files as pixels, or one sentence that names the file."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from automedsam.core.intensity import to_uint8
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require

STILL_SUFFIXES = (".png", ".jpg", ".jpeg")
# Masks are saved as JPEG in Kvasir, whose loss leaves grey around the 0 and 255.
MASK_THRESHOLD = 127


def read_still(path: Path | BytesIO) -> np.ndarray:
    """A picture in 8 bits.

    Args:
        path: PNG or JPEG, a file or its bytes; grey (16 bits are scaled as the engine scales intensities), colour,
            palette; transparency is left out, as a few files of ChestX-ray14 have it.

    Returns:
        `(h, w)` uint8 where it is grey, be it saved as colour; else `(h, w, 3)`.

    Raises:
        AutoMedSAMError: if it is missing, damaged, cut short or no picture.
    """
    pixels = _decoded(path)
    return as_gray(pixels)


def as_gray(pixels: np.ndarray) -> np.ndarray:
    """One channel of a picture `(h, w, 3)` whose three are alike; any other as it is."""
    # A few pixels tell most pictures in colour from grey ones, without a look at the rest.
    for seen in (pixels[::32, ::32], pixels):
        if seen.ndim == 2 or not bool((seen[..., :1] == seen[..., 1:]).all()):
            return pixels
    return np.ascontiguousarray(pixels[..., 0])


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask file, bright where the object is.

    Args:
        path: PNG or JPEG; of a colour file the brightest channel counts.
        shape: height and width of its image.

    Returns:
        `(h, w)` bool, the pixels above 127; of a file of 0 and 1 alone, those of 1.

    Raises:
        AutoMedSAMError: if it cannot be read, or is not of the image's size.
    """
    mask = _decoded(path)
    if mask.ndim == 3:
        mask = mask.max(axis=2)
    if mask.shape != shape[:2]:
        message = (
            f"The mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels and its image {shape[1]} x {shape[0]}; "
            "use files of one size."
        )
        raise AutoMedSAMError(message)
    return mask > (0 if mask.max() == 1 else MASK_THRESHOLD)


def _decoded(path: Path | BytesIO) -> np.ndarray:
    with require("train", "Reading pictures"):
        from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(path) as opened:
            # Reads to the end, and so finds what is cut short or, in a PNG, of a wrong checksum.
            opened.load()
            if opened.mode.startswith("I") or opened.mode == "F":
                return to_uint8(np.asarray(opened)[np.newaxis])[0]
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB"))
    except FileNotFoundError as error:
        message = f"{path} does not exist; restore it from the archive."
        raise AutoMedSAMError(message) from error
    except UnidentifiedImageError as error:
        message = f"{path} is no picture (damaged, or not what its name says); restore it from the archive."
        raise AutoMedSAMError(message) from error
    # What Pillow's readers let through of a damaged file.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        message = f"{path} is damaged ({error}); restore it from the archive."
        raise AutoMedSAMError(message) from error
