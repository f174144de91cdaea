"""What is wrong with a file, for the formats whose readers pass over it.

A NIfTI or JPEG file that broke off in a download is read by ITK 5.4 without an error, the rest as zeros, and
NaN or infinite voxels of NIfTI are turned into zeros as well (`nifti_read_buffer` of nifticlib).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from automedsam.errors import AutoMedSAMError

_GZIP_MAGIC = b"\x1f\x8b"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_FLOATS = {16: "f4", 64: "f8"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Header:
    """The fields of a NIfTI header that say which bytes are voxels."""

    order: str
    offset: int
    voxel_bytes: int
    datatype: int


def check_nifti_is_whole(path: Path) -> int:
    """Read a NIfTI file once through and hold its bytes against its own header.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        How many voxels are NaN or infinite in the file.

    Raises:
        AutoMedSAMError: If it is not NIfTI, is damaged, or is shorter than its header says.
        OSError: If it cannot be read.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            header = _read_header(stream)
            found, not_finite = _read_voxels(stream, header) if header else (0, 0)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{path} is damaged or incomplete; copy or download it again."
        raise AutoMedSAMError(message) from error
    if header is None:
        message = f"{path} is not a NIfTI file in spite of its name; choose the image or export it again."
        raise AutoMedSAMError(message)
    if found < header.voxel_bytes:
        message = f"{path} is incomplete ({found} of {header.voxel_bytes} bytes); copy or download it again."
        raise AutoMedSAMError(message)
    return not_finite


def check_jpeg_is_whole(path: Path) -> None:
    """Look for a JPEG file's end marker, which a file that broke off lacks.

    Args:
        path: A `.jpg` or `.jpeg` file.

    Raises:
        AutoMedSAMError: If it begins as JPEG does but does not end so.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    if content.startswith(_JPEG_START) and _JPEG_END not in content[-4096:]:
        message = f"{path} is incomplete; copy or download it again."
        raise AutoMedSAMError(message)


def _read_header(stream: BinaryIO | gzip.GzipFile) -> _Header | None:
    """A NIfTI-1 or NIfTI-2 header, its fields where nifti1.h and nifti2.h put them; None without one."""
    header = stream.read(540)
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = struct.unpack_from(f"{order}f", header, 108)[0]
        elif len(header) >= 540 and struct.unpack_from(f"{order}i", header)[0] == 540:
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            datatype, bits = struct.unpack_from(f"{order}2h", header, 12)
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
        else:
            continue
        if not 0 <= offset < 2**40:
            continue
        voxels = math.prod(dimensions[1 : 1 + dimensions[0]])
        return _Header(order, int(offset), voxels * bits // 8, datatype)
    return None


def _read_voxels(stream: BinaryIO | gzip.GzipFile, header: _Header) -> tuple[int, int]:
    """The bytes that follow the header, and the voxels among them that are NaN or infinite."""
    stream.seek(header.offset)
    found = not_finite = 0
    kind = _FLOATS.get(header.datatype)
    while chunk := stream.read(_CHUNK):
        if kind is not None:
            mine = chunk[: max(header.voxel_bytes - found, 0)]
            values = np.frombuffer(mine, f"{header.order}{kind}", count=len(mine) // int(kind[1:]))
            not_finite += values.size - int(np.count_nonzero(np.isfinite(values)))
        found += len(chunk)
    return found, not_finite
