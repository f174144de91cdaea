"""The pixels of DICOM files: what is stored, and the values that each frame's own slope and intercept make of it.

The libraries below SimpleITK take slope and intercept of one frame for all (GDCM), or the pixel type of one file for
all (ITK), so they are left with the decoding alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from automedsam.dicom_frames import Frame
from automedsam.dicom_headers import Header, item, parsing, quiet_pydicom, tags, text, value
from automedsam.errors import AutoMedSAMError
from automedsam.quiet import quiet_simpleitk
from automedsam.volume import Voxels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_NATIVE = (_IMPLICIT, "1.2.840.10008.1.2.1", _BIG_ENDIAN, "1.2.840.10008.1.2.1.99")
# JPEG, JPEG-LS, JPEG 2000 and run lengths: what GDCM decodes.
_RUN_LENGTHS = "1.2.840.10008.1.2.5"
_DECODED = {
    _RUN_LENGTHS,
    *(f"1.2.840.10008.1.2.4.{coding}" for coding in (50, 51, 57, 70, 80, 81, 90, 91)),
}
_ATTRIBUTES = """
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated
    BitsStored HighBit PixelRepresentation RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
    BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
    SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData
    PixelData FloatPixelData DoubleFloatPixelData
"""
_BITS = (1, 8, 16, 32, 64)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def stored_frames(path: Path) -> Voxels:
    """Decode all frames of a file.

    Args:
        path: A DICOM image.

    Returns:
        What is stored, `(N, rows, columns)`, or `(N, rows, columns, 3)` with red, green and blue.

    Raises:
        AutoMedSAMError: If pixels are missing or damaged, or coded in a way that cannot be decoded here.
        OSError: If the file cannot be read.
    """
    from pydicom import dcmread

    with parsing(path):
        dataset = dcmread(path, force=True, specific_tags=tags(_ATTRIBUTES))
        coding = str(getattr(dataset.file_meta, "TransferSyntaxUID", _IMPLICIT))
        name = next((name for name in _PIXELS if name in dataset), None)
    if name is None:
        message = f"{path} holds no pixels; choose another file, or export it again."
        raise AutoMedSAMError(message)
    with parsing(path):
        if coding in _NATIVE and (plain := _plain(path, dataset, name, coding)) is not None:
            return plain
        if coding == _RUN_LENGTHS and dataset.SamplesPerPixel > 1 and dataset.BitsAllocated > 8:
            # GDCM 3.2 takes the bytes of such pixels in a wrong order.
            array: Voxels = dataset.pixel_array
            return array if array.ndim == 4 else array[np.newaxis]
    return _decoded(path, dataset, coding)


def values_of(frames: Sequence[Frame], *, seen: bool = False) -> Voxels:
    """Read frames as the values that they stand for: pixel x slope + intercept of their own.

    Args:
        frames: Of one size; each file is decoded once.
        seen: Turn pictures whose lowest values are shown white (MONOCHROME1), so that they look as on a screen.

    Returns:
        `(N, rows, columns)`: integers where slope and intercept are integers and the same for all, else floats. Colour
        becomes luminance.

    Raises:
        AutoMedSAMError: If pixels are missing or damaged, or coded in a way that cannot be decoded here.
        OSError: If a file cannot be read.
    """
    header = frames[0].header
    odd = next((frame.header for frame in frames if frame.header.bits[0] not in _BITS), None)
    if odd is not None:
        message = f"{odd.path} stores {odd.bits[0]} bits a pixel, which cannot be decoded here; export it with 16."
        raise AutoMedSAMError(message)
    array = np.empty((len(frames), header.rows, header.columns), _type_of(frames))
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.header.path, []).append(place)
    for path, wanted in places.items():
        stored = stored_frames(path)
        for place in wanted:
            frame = frames[place]
            if frame.index >= len(stored) or stored.shape[1:3] != array.shape[1:]:
                message = f"{path} is damaged: it holds other frames than its header says; copy or export it again."
                raise AutoMedSAMError(message)
            array[place] = _values(stored[frame.index], frame, seen=seen)
    return array


def as_seen(stored: Voxels, header: Header) -> Voxels:
    """Turn a picture `(h, w)` whose lowest values are shown white (MONOCHROME1), so that it looks as on a screen."""
    if not header.inverted or header.floating or stored.ndim != 2:
        return stored
    low, high = _limits(header)
    return (low + high - stored.astype(np.int64)).astype(stored.dtype)


def _values(stored: Voxels, frame: Frame, *, seen: bool) -> Voxels:
    from automedsam.reading import picture_luminance

    header = frame.header
    if stored.ndim == 3:
        return picture_luminance(stored.astype(np.float64) if stored.itemsize > 2 else stored)
    if header.table:
        stored = _by_table(stored, header.path)
    elif seen:
        stored = as_seen(stored, header)
    slope, intercept = frame.rescale
    if (slope, intercept) == (1.0, 0.0) or header.table:
        return stored
    return stored.astype(np.float64) * slope + intercept


def _type_of(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest type that holds all values."""
    if frames[0].header.colour:
        bits = max(frame.header.bits[0] for frame in frames)
        return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.float64)
    if any(frame.header.table for frame in frames):
        return np.dtype(np.uint16)
    wide = any(frame.header.bits[0] > 16 for frame in frames)
    rescales = {frame.rescale for frame in frames}
    whole = len(rescales) == 1 and all(number.is_integer() for number in frames[0].rescale)
    if any(frame.header.floating for frame in frames) or not whole:
        return np.dtype(np.float64 if wide and not _all_single(frames) else np.float32)
    slope, intercept = (int(number) for number in frames[0].rescale)
    ends = [bound * slope + intercept for frame in frames for bound in _limits(frame.header)]
    plain = (slope, intercept) == (1, 0)
    if plain and len({(frame.header.bits[0], frame.header.signed) for frame in frames}) == 1:
        return np.dtype(f"{'i' if frames[0].header.signed else 'u'}{frames[0].header.bits[0] // 8 or 1}")
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
    for kind in kinds:
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float64)


def _all_single(frames: Sequence[Frame]) -> bool:
    return all(frame.header.floating and frame.header.bits[0] == 32 for frame in frames)


def _limits(header: Header) -> tuple[int, int]:
    """The lowest and highest pixel that the bits in use can store."""
    bits = header.bits[1]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)


def _plain(path: Path, dataset: Dataset, name: str, coding: str) -> Voxels | None:
    """Pixels that are not compressed; None where another must decode them (palettes, packed bits, half the colour)."""
    samples, bits = int(value(dataset, "SamplesPerPixel") or 1), int(value(dataset, "BitsAllocated") or 16)
    photometric = text(dataset, "PhotometricInterpretation")
    simple = photometric in ("MONOCHROME1", "MONOCHROME2", "RGB", "") and bits in (8, 16, 32, 64)
    if not simple or samples not in (1, 3):
        return None
    element = dataset[name]
    content = element.value
    signed = value(dataset, "PixelRepresentation") == 1
    kind = _FLOATS.get(name, f"{'i' if signed else 'u'}{bits // 8}")
    big = coding == _BIG_ENDIAN
    if big and bits == 8 and element.VR == "OW":
        content = np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype("<u2").tobytes()
    count = int(value(dataset, "NumberOfFrames") or 1)
    shape = (max(1, count), int(dataset.Rows), int(dataset.Columns))
    wanted = int(np.prod(shape)) * samples * np.dtype(kind).itemsize
    if len(content) < wanted:
        message = f"{path} is incomplete ({len(content)} of {wanted} bytes of pixels); copy or export it again."
        raise AutoMedSAMError(message)
    array = np.frombuffer(content, np.dtype(kind).newbyteorder(">" if big else "<"), wanted // np.dtype(kind).itemsize)
    array = array.astype(kind, copy=False)
    if samples == 3 and value(dataset, "PlanarConfiguration") == 1:
        return np.moveaxis(array.reshape(shape[0], 3, *shape[1:]), 1, -1)
    array = array.reshape(*shape, 3) if samples == 3 else array.reshape(shape)
    return array if name in _FLOATS or samples == 3 else _in_use(array, dataset, bits, signed=signed)


def _in_use(array: Voxels, dataset: Dataset, bits: int, *, signed: bool) -> Voxels:
    """The bits of each pixel that hold its value; others may hold an overlay, or nothing that means anything."""
    stored = int(value(dataset, "BitsStored") or bits)
    high = value(dataset, "HighBit")
    below = 0 if high is None else int(high) + 1 - stored
    if not 0 < stored < bits or not 0 <= below <= bits - stored:
        return array
    above = bits - stored - below
    # Shifts of signed integers carry the sign along.
    return (array << above) >> (above + below) if signed else (array >> below) & ((1 << stored) - 1)


def _decoded(path: Path, dataset: Dataset, coding: str) -> Voxels:
    """Pixels as GDCM decodes them, of a copy without anything that makes it change their values."""
    import SimpleITK as sitk

    # Big endian is left to _plain: a palette or packed bits in it would have to be turned before they are copied.
    if coding == _BIG_ENDIAN or coding not in (*_DECODED, *_NATIVE):
        name = _name(coding)
        todo = "export it as an mp4 file" if "MPEG" in name or "HEVC" in name else "export it uncompressed"
        message = f"{path} is coded as {name}, which cannot be decoded here; {todo}."
        raise AutoMedSAMError(message)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        with parsing(path):
            _write_pixels(dataset, coding, copy)
        try:
            with quiet_simpleitk(output=True):
                image = sitk.ReadImage(str(copy))
        except RuntimeError as error:
            message = f"The pixels of {path} cannot be decoded ({_name(coding)}): damaged; copy or export it again."
            raise AutoMedSAMError(message) from error
    array: Voxels = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return array if array.ndim == 4 else array[np.newaxis]
    return array if array.ndim == 3 else array[np.newaxis]


def _write_pixels(dataset: Dataset, coding: str, path: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    # What pydicom holds of a deflated file is no longer deflated.
    written = UID(coding) if coding in _DECODED else ExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    meta.TransferSyntaxUID = written
    copy = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    copy.SOPClassUID, copy.SOPInstanceUID, copy.Modality = meta.MediaStorageSOPClassUID, UID("2.25.1"), "OT"
    for keyword in _ATTRIBUTES.split():
        if keyword in dataset:
            copy.add(dataset[keyword])
    copy.save_as(path)


def _by_table(stored: Voxels, path: Path) -> Voxels:
    """Values that a table gives (Modality LUT, PS3.3 C.11.1); outside of it its ends hold."""
    from automedsam.dicom_headers import read_dataset

    with parsing(path):
        table = item(read_dataset(path), "ModalityLUTSequence")
        assert table is not None
        length, first = (int(number) for number in table.LUTDescriptor[:2])
        content = table.LUTData
        if isinstance(content, bytes):
            content = np.frombuffer(content, "<u2" if len(content) >= 2 * (length or 1 << 16) else "u1")
        entries = np.asarray(content, np.uint16)[: length or 1 << 16]
        return entries[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)]


def _name(coding: str) -> str:
    from pydicom.uid import UID

    with quiet_pydicom():
        name = UID(coding).name
    return "an unknown transfer syntax" if name == coding else name
