"""The pixels that DICOM files store, whatever their coding.

What is not compressed is read here. For the rest GDCM below SimpleITK is left with the decoding alone, since it takes
slope and intercept of one frame for all, and ITK the pixel type of one file for all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.volume import Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.headers import parsing, quiet_pydicom, tags, text, value
from automedsam.io.sitk_output import suppress_sitk_output

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
            with suppress_sitk_output(output=True):
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


def _name(coding: str) -> str:
    from pydicom.uid import UID

    with quiet_pydicom():
        name = UID(coding).name
    return "an unknown transfer syntax" if name == coding else name
