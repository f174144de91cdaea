"""NIfTI files in and out, each by its own name: no other file of the same stem is ever looked at."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.nifti_grid import header_class, mask_header, read_grid

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

NIFTI_SUFFIXES = (".nii.gz", ".nii")

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = {1: 348, 2: 540}
# A piece may unpack to a thousand times its size.
_CHUNK = 1 << 16
# Deflate packs no better than this (zlib's technical notes).
_MAX_PACKED = 1040
_PAIR = (b"ni1", b"ni2")
_REFUSED = {1: "single bits", 1536: "128-bit floats"}


def read_nifti(path: Path, name: str) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, compressed or not, whatever its suffix.

    Args:
        path: The file.
        name: What to call the volume.

    Returns:
        Voxels `(K, J, I)`, or `(C, K, J, I)` for a fourth axis or colours, of the file's own type, or as floats
        where the header scales them; the grid of `nifti_grid.read_grid`, in mm and LPS.

    Raises:
        AutoMedSAMError: If it is not NIfTI, is damaged or incomplete, or holds what is no volume.
        OSError: If it cannot be read.
    """
    with path.open("rb") as raw:
        unpacked = _Unpacked(raw, path)
        header = _parse(unpacked.peek(max(_HEADER_BYTES.values())), path)
        shape, dtype = _shape(header, path), _dtype(header, path)
        size = math.prod(shape) * dtype.itemsize
        content = _voxel_bytes(unpacked, header, size, path)
    array = content.view(dtype).reshape(shape[::-1])
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    colors = array.dtype.names is not None
    array = _channels_first(_scaled(array, header), path)
    i, j, k = shape[:3]
    grid = read_grid(header, (i, j, k), path.name)
    notes = list(grid.notes)
    if unpacked.trailing:
        notes.append(f"{path.name} has {unpacked.trailing} bytes after its packed end; they are left out.")
    return Volume.on_affine(array, grid.affine, name, notes=tuple(notes), nifti_header=header, colors=colors)


def write_nifti(array: Voxels, volume: Volume, path: Path, *, packed: bool) -> None:
    """Write voxels `(K, J, I)` on a volume's grid as NIfTI-1, and read them again.

    Args:
        array: Of a type that NIfTI knows, such as uint8.
        volume: For its grid; see `nifti_grid.mask_header`.
        path: The file.
        packed: With gzip.

    Raises:
        AutoMedSAMError: If NIfTI cannot carry the grid.
        OSError: If it cannot be written, or what arrived on the disk differs.
    """
    header = mask_header(volume, array.dtype)
    start = header.binaryblock + bytes(header.single_vox_offset - len(header.binaryblock))
    with path.open("wb") as raw:
        # No time and no name in the packed file: the same mask is the same bytes.
        stream: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if packed else raw
        stream.write(start)
        for plane in array:
            stream.write(np.ascontiguousarray(plane).data)
        if packed:
            stream.close()
    with path.open("rb") as raw:
        unpacked = _Unpacked(raw, path)
        same = unpacked.read(len(start)) == start and all(
            unpacked.read(plane.nbytes) == plane.tobytes() for plane in array
        )
    if not same:
        message = "only a part arrived on the disk"
        raise OSError(message)


@dataclass
class _Unpacked:
    """The bytes of a file in order, unpacked if they are packed, with their checksum.

    Attributes:
        raw: The opened file.
        path: For messages.
        trailing: Bytes after the packed end that are no gzip, once they were met.
    """

    raw: BinaryIO
    path: Path
    trailing: int = 0
    packed: bool = field(init=False)
    _held: bytes = field(init=False, default=b"")
    _pieces: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.packed = self.raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        self.raw.seek(0)
        self._pieces = self._unpack() if self.packed else iter(lambda: self.raw.read(_CHUNK), b"")

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer only at the end; they stay to be read."""
        while len(self._held) < count and (piece := next(self._pieces, b"")):
            self._held += piece
        return self._held[:count]

    def read(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        found = self.peek(count)
        self._held = self._held[count:]
        return found

    def pieces(self) -> Iterator[bytes]:
        """All that is left."""
        held, self._held = self._held, b""
        yield held
        yield from self._pieces

    def _unpack(self) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(wbits=31)
        while packed := self.raw.read(_CHUNK):
            try:
                yield unpacker.decompress(packed)
                while unpacker.eof:
                    rest = unpacker.unused_data + self.raw.read(_CHUNK)
                    if not rest.startswith(_GZIP_MAGIC):
                        rest += self.raw.read()
                        # Some tapes fill the last block with zeros.
                        self.trailing = len(rest) if rest.strip(b"\0") else 0
                        return
                    # Several packed files in a row are one, as bgzip writes them.
                    unpacker = zlib.decompressobj(wbits=31)
                    yield unpacker.decompress(rest)
            except zlib.error as error:
                raise AutoMedSAMError(_damaged(self.path)) from error
        raise AutoMedSAMError(_damaged(self.path))


def _parse(start: bytes, path: Path) -> Nifti1Header:
    for version, size in _HEADER_BYTES.items():
        for order in "<>":
            if len(start) >= size and int.from_bytes(start[:4], "little" if order == "<" else "big") == size:
                header = header_class(version)(start[:size], endianness=order, check=False)
                if bytes(header["magic"])[:3] in _PAIR:
                    message = f"{path} is only the header of a .hdr/.img pair; save the image as one .nii file."
                    raise AutoMedSAMError(message)
                if bytes(header["magic"])[:3] == b"n+%d" % version:
                    return header
    message = f"{path} is not a NIfTI file in spite of its name; choose the image or export it again."
    raise AutoMedSAMError(message)


def _shape(header: Nifti1Header, path: Path) -> tuple[int, ...]:
    """Voxels along I, J, K and what follows; axes that are left out count 1."""
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : 1 + count]]
    if not 1 <= count <= 7 or min(sizes) < 1:
        message = f"{path} has impossible sizes in its header (dim {header['dim'].tolist()}); export it again."
        raise AutoMedSAMError(message)
    return tuple(sizes + [1] * (3 - count))


def _dtype(header: Nifti1Header, path: Path) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    code = int(header["datatype"])
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        # Codes with a name but no numpy type raise the one, all others the other.
        dtype = np.dtype("V")
    if dtype.kind not in "iuf" and dtype.names is None:
        kind = "complex numbers" if dtype.kind == "c" or code == 2048 else _REFUSED.get(code, f"unknown type {code}")
        message = f"{path} holds voxels of {kind}; export real intensities as integers or 32-bit floats."
        raise AutoMedSAMError(message)
    return dtype


def _voxel_bytes(unpacked: _Unpacked, header: Nifti1Header, size: int, path: Path) -> np.ndarray:
    """The voxels as bytes, in an array of their own; the rest of the file is read as well, for its checksum."""
    offset = float(header["vox_offset"])
    start = max(int(offset), header.sizeof_hdr) if np.isfinite(offset) and offset < 2**40 else header.sizeof_hdr
    most = path.stat().st_size * (_MAX_PACKED if unpacked.packed else 1)
    content = np.empty(size if size <= most else 0, np.uint8)
    skip, found = start, 0
    for piece in unpacked.pieces():
        skipped = min(skip, len(piece))
        skip -= skipped
        part = np.frombuffer(piece, np.uint8)[skipped:][: max(0, content.size - found)]
        content[found : found + part.size] = part
        found += len(piece) - skipped
    if found < size:
        message = f"{path} is incomplete ({found} of {size} bytes); copy or download it again."
        raise AutoMedSAMError(message)
    return content


def _scaled(array: Voxels, header: Nifti1Header) -> Voxels:
    """Stored numbers as true ones: slope x stored + inter, where the header has a slope (nifti1.h, scl_slope)."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    inter = inter if np.isfinite(inter) else 0.0
    if array.dtype.kind == "V" or not np.isfinite(slope) or slope == 0 or (slope, inter) == (1.0, 0.0):
        return array
    # In single precision, as ITK does: eight bytes for each of many voxels would hold no more of a measured intensity.
    scaled = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    np.multiply(scaled, slope, out=scaled)
    np.add(scaled, inter, out=scaled)
    return scaled


def _channels_first(array: Voxels, path: Path) -> Voxels:
    """From `(..., K, J, I)` to `(K, J, I)` or `(C, K, J, I)`."""
    if array.dtype.names:
        colours = array.view(np.uint8).reshape(*array.shape, len(array.dtype.names))
        array = np.moveaxis(colours, -1, 0)
    extra, space = array.shape[:-3], array.shape[-3:]
    channels = [size for size in extra if size > 1]
    if len(channels) > 1:
        message = (
            f"{path} holds {'-'.join(str(size) for size in array.shape[::-1])} voxels, more than 4 axes; "
            "export 3-D, or 4-D with one channel for each modality."
        )
        raise AutoMedSAMError(message)
    return array.reshape(*channels, *space)


def _damaged(path: Path) -> str:
    return f"{path} is damaged or incomplete; copy or download it again."
