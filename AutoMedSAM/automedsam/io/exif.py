"""The orientation in which a picture is to be shown, from its EXIF data (EXIF 2.32, tag 0x0112)."""

from __future__ import annotations

import struct

import numpy as np

from automedsam.core.volume import Voxels

_ORIENTATION, _SHORT = 0x0112, 3
_AS_STORED = 1
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_EXIF_MARK = b"Exif\0\0"
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
# Markers without a length: TEM, and the restarts.
_BARE = (0x01, *range(0xD0, 0xD8))


def orientation_of(content: bytes) -> int:
    """Find the orientation in the bytes of a JPEG or PNG file.

    Returns:
        1 (as it is stored) to 8; 1 where the file has none, or an impossible one.
    """
    if content.startswith(_JPEG):
        found = _exif_of_jpeg(content)
    elif content.startswith(_PNG):
        found = _exif_of_png(content)
    else:
        found = b""
    try:
        orientation = _orientation_in(found)
    except struct.error:
        return _AS_STORED
    return orientation if 1 <= orientation <= 8 else _AS_STORED


def upright(array: Voxels, orientation: int) -> Voxels:
    """Turn and mirror stored pixels `(h, w)` or `(h, w, c)` as a viewer does.

    Args:
        array: As it is stored.
        orientation: 1 to 8; from 5 on, rows become columns.
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _exif_of_jpeg(content: bytes) -> bytes:
    place = len(_JPEG)
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF or marker in _BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (_SCAN, _END):
            break
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place + 4 : place + 2 + length]
        if marker == _APP1 and segment.startswith(_EXIF_MARK):
            return segment[len(_EXIF_MARK) :]
        place += 2 + length
    return b""


def _exif_of_png(content: bytes) -> bytes:
    for kind, data in png_chunks(content):
        if kind == b"eXIf":
            return data
    return b""


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The kind and data of each chunk of a PNG file, as far as it goes."""
    chunks, place = [], len(_PNG)
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    return chunks


def _orientation_in(exif: bytes) -> int:
    """The entry in the first directory of a TIFF block; 1 without one."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return _AS_STORED
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for index in range(count):
        entry = start + 2 + 12 * index
        tag, kind = struct.unpack_from(f"{order}2H", exif, entry)
        if tag == _ORIENTATION and kind == _SHORT:
            (value,) = struct.unpack_from(f"{order}H", exif, entry + 8)
            return int(value)
    return _AS_STORED
