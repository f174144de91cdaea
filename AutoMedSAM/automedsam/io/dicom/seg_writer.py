"""DICOM SEG: a segmentation of a DICOM series as an object of the same study, written by highdicom (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.headers import parsing, quiet_pydicom, text, value

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DICOM_SUFFIX = ".dcm"
SEG_TYPES = ("binary", "labelmap")
_MANUFACTURER = "AutoMedSAM"
_MAX_NAME = 64
# What older software leaves out although it must be there, if only empty (type 2).
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
# What Slicer takes for a segment without terminology.
_TISSUE = ("85756007", "SCT", "Tissue")


def check_dicom_seg(path: Path, volume: Volume | None = None) -> None:
    """Find out before a run whether a DICOM SEG can be written.

    Args:
        path: The file to write.
        volume: The volume to be segmented, if it is known already.

    Raises:
        AutoMedSAMError: If highdicom is missing, or the volume was not read from DICOM files that a SEG can refer to.
    """
    if find_spec("highdicom") is None:
        message = f"{path} is a DICOM SEG, which needs highdicom: pip install 'automedsam[dicom]', or highdicom itself."
        raise AutoMedSAMError(message)
    if volume is None:
        return
    if not volume.source_frames:
        message = (
            f"{path} is a DICOM SEG, which refers to the DICOM images that it segments, and the input is not a DICOM "
            "volume: give a DICOM folder, or name the output .seg.nrrd or .nii.gz."
        )
        raise AutoMedSAMError(message)
    _sources(volume)


def write_dicom_seg(segmentation: Segmentation, path: Path, seg_type: str = "binary") -> None:
    """Write a segmentation as DICOM SEG.

    Each object becomes a segment with a tracking UID of its own, if the objects are known (`Segmentation.objects`);
    else each segment that has voxels does. Codes are those of the segments' terminology.

    Args:
        segmentation: Of a volume that was read from DICOM.
        path: The file, which is overwritten.
        seg_type: "binary", or "labelmap" for a Label Map Segmentation (DICOM 2024d), which fewer programs read.

    Raises:
        AutoMedSAMError: If nothing was segmented, or the sources cannot be referred to.
        OSError: If the file cannot be written.
    """
    numbers, parts = _numbered(segmentation)
    if not parts:
        message = f"Nothing was segmented, and a DICOM SEG cannot be empty: {path} is not written."
        raise AutoMedSAMError(message)
    sources, order = _sources(segmentation.volume)
    count = len(sources) if len(sources) > 1 else int(value(sources[0], "NumberOfFrames") or 1)
    frames = np.zeros((count, *numbers.shape[1:]), numbers.dtype)
    frames[order] = numbers
    provenance = segmentation.provenance
    model, version = str(provenance.get("model", "unknown")), str(provenance.get("model_version", "unknown"))
    try:
        made = _made(sources, frames, seg_type, _descriptions(parts, provenance, model, version), provenance)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"A DICOM SEG cannot refer to these images ({error}): write .seg.nrrd instead."
        raise AutoMedSAMError(" ".join(message.split())) from error
    with quiet_pydicom():
        made.save_as(path)


def _made(
    sources: list[Dataset], frames: Voxels, seg_type: str, descriptions: list[Any], provenance: dict[str, Any]
) -> Any:
    import highdicom as hd

    model, version = str(provenance.get("model", "unknown")), str(provenance.get("model_version", "unknown"))
    with quiet_pydicom():
        return hd.seg.Segmentation(
            source_images=sources,
            pixel_array=frames,
            segmentation_type=seg_type.upper(),
            segment_descriptions=descriptions,
            series_instance_uid=hd.UID(),
            series_number=_series_number(sources[0]),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=_MANUFACTURER,
            manufacturer_model_name=_short(f"{_MANUFACTURER} {model} {version}"),
            software_versions=_software(provenance),
            device_serial_number=str(provenance.get("model_hash", "unknown"))[:16],
            content_label="SEGMENTATION",
            content_description="Research software: not for clinical use",
            content_creator_name=_MANUFACTURER,
            series_description=_short(f"{model} segmentation ({_MANUFACTURER})"),
        )


def _numbered(segmentation: Segmentation) -> tuple[Voxels, list[tuple[Segment, str]]]:
    """Voxels by number of their DICOM segment from 1, and for each the segment and the name of its object."""
    named = {segment.value: segment for segment in segmentation.segments}
    labels, objects = segmentation.labels, segmentation.objects
    source: Voxels = labels if objects is None else objects
    if objects is not None and np.array_equal(objects > 0, labels > 0):
        keys = [int(number) for number in np.unique(objects) if number]
        firsts = {key: int(labels[objects == key][0]) for key in keys}
        of_label = list(firsts.values())
        parts = [
            (named[label], named[label].name + (f" {key}" if of_label.count(label) > 1 else ""))
            for key, label in firsts.items()
        ]
    else:
        keys = [int(number) for number in np.unique(labels) if number in named]
        source, parts = labels, [(named[key], named[key].name) for key in keys]
    table = np.zeros(int(source.max(initial=0)) + 1, np.uint8 if len(keys) < 256 else np.uint16)
    table[keys] = np.arange(1, len(keys) + 1)
    return table[source], parts


def _descriptions(
    parts: Sequence[tuple[Segment, str]], provenance: dict[str, Any], model: str, version: str
) -> list[Any]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(
        name=_short(f"{_MANUFACTURER} {model}"),
        family=codes.DCM.ArtificialIntelligence,
        version=_short(version),
        source=_short(f"{_MANUFACTURER} {_software(provenance)}"),
        parameters={key: str(provenance[key]) for key in ("threshold", "backend", "plane") if key in provenance},
    )
    by_hand = "prompts" in provenance
    found = []
    for number, (segment, name) in enumerate(parts, 1):
        category, kind, regions = _codes(segment.terminology)
        found.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=_short(name),
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type="SEMIAUTOMATIC" if by_hand else "AUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=hd.UID(),
                tracking_id=_short(name),
                anatomic_regions=regions,
                display_color=hd.color.CIELabColor.from_rgb(*(round(255 * part) for part in segment.color)),
            )
        )
    return found


def _codes(terminology: str) -> tuple[Any, Any, list[Any] | None]:
    """Category, type and region of Slicer's serialized terminology; "Tissue" where there is none."""
    from pydicom.sr.coding import Code

    def code(part: str) -> Any:
        scheme, number, meaning = [*part.split("^"), "", "", ""][:3]
        return Code(number, scheme, _short(meaning) or number) if scheme and number else None

    fields = [*terminology.split("~"), *[""] * 7]
    category, kind, region = code(fields[1]), code(fields[2]), code(fields[5])
    if category is None or kind is None:
        category = kind = Code(*_TISSUE)
    return category, kind, None if region is None else [region]


def _sources(volume: Volume) -> tuple[list[Dataset], list[int]]:
    """The headers of the images, and for each slice the place of its frame among those that highdicom counts."""
    from pydicom import dcmread

    paths = list(dict.fromkeys(path for path, _ in volume.source_frames))
    several = len(volume.source_frames) > len(paths)
    found: list[Dataset] = []
    for path in paths:
        with parsing(path):
            header = dcmread(path, stop_before_pixels=True, force=True)
        framed = "PerFrameFunctionalGroupsSequence" in header
        if len(paths) > 1 and (several or int(value(header, "NumberOfFrames") or 1) > 1 or framed):
            message = (
                f"{path} is one of several multi-frame files of a volume, to which a DICOM SEG cannot refer here: "
            )
            raise AutoMedSAMError(message + "write .seg.nrrd instead.")
        lacking = [key for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
                                   "FrameOfReferenceUID", "Rows", "Columns") if not text(header, key)]  # fmt: skip
        if len(paths) == 1 and not framed:
            lacking.append("PerFrameFunctionalGroupsSequence")
        if lacking:
            message = (
                f"{path} lacks {lacking[0]}, without which a DICOM SEG cannot refer to it: write .seg.nrrd instead."
            )
            raise AutoMedSAMError(message)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "" if keyword != "StudyDate" and keyword != "StudyTime" else None)
        if "SliceThickness" not in header and len(paths) > 1:
            # Of each slice as highdicom copies it; the distance of the slices is the best that is known.
            header.SliceThickness = volume.spacing[2]
        found.append(header)
    order = [index for _, index in volume.source_frames] if len(paths) == 1 else list(range(len(paths)))
    return found, order


def _series_number(source: Dataset) -> int:
    # Behind those of the scanner.
    return 1000 + min(8999, max(0, int(value(source, "SeriesNumber") or 0)))


def _software(provenance: dict[str, Any]) -> str:
    return _short(str(provenance.get("automedsam", "unknown")))


def _short(name: str) -> str:
    """Text as DICOM's long strings are: one line of 64 letters, without a backslash."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).replace("\\", "/").split())
    return line[:_MAX_NAME].strip()
