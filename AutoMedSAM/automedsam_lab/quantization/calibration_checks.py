"""Whether a file is what a bundle's models look at, as far as a file can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from automedsam.core.volume import Volume
from automedsam.io.image_reader import IMAGE_SUFFIXES

ANY_MODALITY = "any"
CT_SEQUENCES = frozenset({"CT"})
OTHER_DEVICES = {"US": "US", "ULTRASOUND": "US", "CR": "CR", "DX": "DX", "XRAY": "DX", "X-RAY": "DX", "PET": "PT"}
_MODALITY_TAG = "0008|0060"
_MAX_LABELS = 32
_SAMPLE = 10_000
_AIR_HU = -500
_COLOR_LEVELS = 12
_COLOR_SHARE = 0.01
_WINDOW_SHARE = 0.01


def is_label_map(volume: Volume) -> bool:
    """Whether a volume has so few values, small whole numbers from 0, that it can only be labels.

    A single image is never taken for one: drawn pictures may have few grey levels.
    """
    if volume.shape[0] == 1 or volume.array.min() < 0 or volume.array.max() > 255:
        return False
    voxels = volume.array.ravel()
    # Few voxels tell that most images are none; only what passes is sorted as a whole.
    for values in (np.unique(voxels[:: 1 + voxels.size // _SAMPLE]), np.unique(voxels)):
        if len(values) > _MAX_LABELS or (values != np.rint(values)).any():
            return False
    return True


def input_warnings(source: Path, volume: Volume, modality: str, window: tuple[float, float] | None) -> list[str]:
    """What speaks against a volume being of a modality; pixels alone seldom tell, so most mismatches stay unseen.

    Args:
        source: the file or DICOM folder.
        volume: what was read from it.
        modality: what it should be, in the bundle's words.
        window: the grey levels that the model distinguishes.

    Returns:
        Clauses to put behind the file's name.
    """
    warnings = []
    named = _dicom_modality(source) if source.is_dir() else None
    wanted = _device(modality)
    if named and wanted and named != wanted:
        warnings.append(f"the series is of modality {named}, the model is for {modality}.")
    if source.name.lower().endswith(IMAGE_SUFFIXES):
        if _is_color(source):
            warnings.append("the image is in colour, the model looks at its luminance alone.")
        return warnings
    low, high = float(volume.array.min()), float(volume.array.max())
    if wanted == "MR" and low < _AIR_HU:
        warnings.append(f"has values below {_AIR_HU}, as CT has, but the model is for {modality}.")
    if window is not None:
        inside = float(((volume.array > window[0]) & (volume.array < window[1])).mean())
        if inside < _WINDOW_SHARE:
            warnings.append(f"hardly a voxel lies within the window {window[0]:g} to {window[1]:g}.")
    if wanted == "CT" and low >= 0:
        warnings.append("has no value below 0, so it is not in Hounsfield units.")
    elif wanted == "CT" and high <= 255:
        warnings.append("has no value above 255, so it seems to be windowed already.")
    return warnings


def _device(modality: str) -> str | None:
    """DICOM's modality for a bundle's word; the names of sequences (T1, FLAIR, ADC) are those of MR."""
    name = modality.upper()
    if name == ANY_MODALITY.upper():
        return None
    if name in CT_SEQUENCES:
        return "CT"
    return OTHER_DEVICES.get(name, "MR")


def _dicom_modality(folder: Path) -> str | None:
    import SimpleITK as sitk

    from automedsam.io.dicom.reader import is_dicom_file
    from automedsam.io.sitk_output import suppress_sitk_output

    first = next((path for path in sorted(folder.iterdir()) if path.is_file() and is_dicom_file(path)), None)
    if first is None:
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(first))
    with suppress_sitk_output():
        reader.ReadImageInformation()
    return str(reader.GetMetaData(_MODALITY_TAG)).strip() if reader.HasMetaDataKey(_MODALITY_TAG) else None


def _is_color(path: Path) -> bool:
    """Whether red, green and blue differ visibly; grey images are often saved as RGB."""
    import SimpleITK as sitk

    from automedsam.io.sitk_output import suppress_sitk_output

    with suppress_sitk_output():
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if array.ndim < 3 or array.shape[-1] not in (3, 4):
        return False
    spread = np.ptp(array[..., :3].astype(np.int32), axis=-1)
    return bool((spread > _COLOR_LEVELS).mean() > _COLOR_SHARE)
