"""Kinds of DICOM objects: images of which a model can make something, and the others by their names."""

from __future__ import annotations

from collections.abc import Iterable

from automedsam.io.dicom.headers import Header

DIRECTORY = "1.2.840.10008.1.3.10"
ULTRASOUND_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
PET = "PT"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# By UID below `_STORAGE` (PS3.4 B.5, PS3.6 A). A name that ends in a dot stands for all below it.
_NO_IMAGES = {
    "4.2": "a set of MR spectra",
    "9.": "a recorded waveform",
    "11.": "a presentation state (how an image is shown)",
    "66": "a file of raw data",
    "66.1": "a registration",
    "66.2": "a set of fiducials",
    "66.3": "a deformation",
    "66.4": "a segmentation (SEG)",
    "66.5": "a surface segmentation",
    "66.6": "a set of fibre tracts",
    "66.7": "a segmentation (label map)",
    "66.8": "a height map",
    "67": "a mapping of values",
    "68.": "a surface scan",
    "77.1.3": "a microscope slide",
    "77.1.6": "a whole-slide microscopy image",
    "77.1.5.3": "a map of stereometry",
    "78.": "a table of eye measurements",
    "88.": "a report",
    "104.": "an encapsulated document",
    "481.2": "an RT dose",
    "481.3": "an RT structure set (contours)",
    "481.5": "an RT plan",
    "481.8": "an RT plan",
}
_NO_IMAGES_BY_MODALITY = {
    "SEG": "a segmentation (SEG)",
    "RTDOSE": "an RT dose",
    "RTSTRUCT": "an RT structure set (contours)",
    "RTPLAN": "an RT plan",
    "SM": "a microscope slide",
    "SR": "a report",
    "KO": "a selection of key images",
    "PR": "a presentation state (how an image is shown)",
}
# Of those that hold images, the ones that hold a slice of a volume, or several.
_IMAGES = ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "7", "20", "128", "128.1", "130")
# A single slice of these is a part of a volume; of any other, a picture.
_CROSS_SECTIONAL = ("CT", "MR", "PT", "OPT", "OCT", "IVOCT", "ST")
# Ultrasound, intravascular ultrasound, angiography, fluoroscopy, endoscopy, photography, slit lamps, gait.
_CINE_MODALITIES = ("US", "IVUS", "XA", "RF", "ES", "XC", "GM", "OPM")


def no_image(header: Header) -> str | None:
    """What a DICOM object is that no model looks at; None for an image."""
    below = header.sop_class.removeprefix(_STORAGE)
    if below != header.sop_class:
        for key, name in _NO_IMAGES.items():
            if below == key or (key.endswith(".") and below.startswith(key)):
                return name
    if header.modality in _NO_IMAGES_BY_MODALITY:
        return _NO_IMAGES_BY_MODALITY[header.modality]
    if header.rows < 1 or header.columns < 1:
        return f"an object without an image{f' ({header.modality})' if header.modality else ''}"
    return None


def is_cut_off(header: Header) -> bool:
    """Whether a header ends before the size of the image that its class promises."""
    return (header.rows < 1 or header.columns < 1) and header.sop_class.removeprefix(_STORAGE) in _IMAGES


def is_moving(header: Header) -> bool:
    """Whether frames without a place of their own are moments in time, by what took them."""
    nuclear = header.modality == "NM" and "DYNAMIC" in header.image_type
    return nuclear or (header.modality in _CINE_MODALITIES and header.sop_class != ULTRASOUND_VOLUME)


def is_cross_sectional(header: Header) -> bool:
    """Whether a single frame is a slice of a volume, by what took it; pictures of a screen (class 7) are not."""
    return header.modality in _CROSS_SECTIONAL and not header.sop_class.startswith(f"{_STORAGE}7")


def takes_pet(modalities: Iterable[str] | None) -> bool:
    """Whether a model is for PET, by its channels; None stands for any model."""
    return modalities is None or any("PET" in name or name in (PET, "ANY") for name in map(str.upper, modalities))
