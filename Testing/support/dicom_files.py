"""DICOM files of every kind, made for the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, MR, PET = STORAGE + "2", STORAGE + "4", STORAGE + "128"
ENHANCED_CT, ENHANCED_MR, ENHANCED_PET = STORAGE + "2.1", STORAGE + "4.1", STORAGE + "130"
CAPTURE, MANY_CAPTURES = STORAGE + "7", STORAGE + "7.2"
RADIOGRAPH, DIGITAL_RADIOGRAPH, MAMMOGRAM = STORAGE + "1", STORAGE + "1.1", STORAGE + "1.2"
TOMOSYNTHESIS = STORAGE + "13.1.3"
ROTATIONAL_ANGIOGRAPHY, ANGIOGRAPHY = STORAGE + "13.1.1", STORAGE + "12.1"
ULTRASOUND, ULTRASOUND_CINE, ULTRASOUND_VOLUME = STORAGE + "6.1", STORAGE + "3.1", STORAGE + "6.2"
NUCLEAR = STORAGE + "20"
SEGMENTATION, DOSE, CONTOURS, SLIDE = STORAGE + "66.4", STORAGE + "481.2", STORAGE + "481.3", STORAGE + "77.1.6"

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STEP = 2.5
ORIGIN = (-30.0, -40.0, 12.5)


def voxels(count: int = 6, rows: int = 7, columns: int = 8, seed: int = 1) -> np.ndarray:
    """Noise in which no two slices are alike."""
    return np.random.default_rng(seed).integers(0, 1000, (count, rows, columns)).astype(np.int16)


def places(count: int = 6, step: Sequence[float] = (0.0, 0.0, STEP)) -> np.ndarray:
    return np.array(ORIGIN) + np.arange(count)[:, None] * np.array(step)


def dataset(pixels: np.ndarray, kind: str = MR, modality: str = "MR", **attributes: Any) -> FileDataset:
    """An image without a position; `pixels` is `(h, w)` or `(h, w, 3)`, or several of them with NumberOfFrames."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = kind, meta.MediaStorageSOPInstanceUID, modality
    made.PatientName, made.PatientID, made.StudyInstanceUID = "Nobody", "0", "2.25.9"
    made.SeriesInstanceUID, made.SeriesDescription, made.FrameOfReferenceUID = "2.25.1", "head", "2.25.7"
    made.SeriesNumber, made.InstanceNumber = 1, 1
    colour = pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        made.PlanarConfiguration = 0
    bits = 8 * pixels.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def save(made: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path


def slices(
    folder: Path,
    array: np.ndarray,
    positions: np.ndarray | None = None,
    orientation: Sequence[float] = AXIAL,
    name: str = "s",
    **attributes: Any,
) -> Path:
    """A file for each slice; an attribute may be a function of the slice's number."""
    placed = places(len(array)) if positions is None else positions
    for index, picture in enumerate(array):
        own = {key: value(index) if isinstance(value, Callable) else value for key, value in attributes.items()}
        made = dataset(
            picture,
            **{
                "ImagePositionPatient": [round(float(value), 6) for value in placed[index]],
                "ImageOrientationPatient": [round(float(value), 8) for value in orientation],
                "PixelSpacing": [0.75, 0.5],
                "InstanceNumber": index + 1,
                **own,
            },
        )
        # Names against the order of the slices: position decides, not the name.
        save(made, folder / f"{name}{99 - index:03d}.dcm")
    return folder


def enhanced(
    path: Path,
    array: np.ndarray,
    positions: np.ndarray | None = None,
    orientation: Sequence[float] = AXIAL,
    per_frame: Callable[[Dataset, int], None] = lambda groups, index: None,
    kind: str = ENHANCED_MR,
    **attributes: Any,
) -> Path:
    """One file of several frames, each with a place of its own; `per_frame` adds to the frames' groups."""
    made = dataset(array, kind, NumberOfFrames=len(array), **attributes)
    shared = Dataset()
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=list(orientation))]
    shared.PixelMeasuresSequence = [item(PixelSpacing=[0.75, 0.5], SliceThickness=3.0)]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for index, place in enumerate(places(len(array)) if positions is None else positions):
        groups = Dataset()
        groups.PlanePositionSequence = [item(ImagePositionPatient=[float(value) for value in place])]
        per_frame(groups, index)
        made.PerFrameFunctionalGroupsSequence.append(groups)
    return save(made, path)


def item(**attributes: Any) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
