"""Label files of any program: label maps, and Slicer's segmentations with their names, layers and provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from automedsam.core.native_path import sitk_path
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.seg_nrrd import PROVENANCE_FIELD
from automedsam.io.sitk_output import suppress_sitk_output
from automedsam.io.text_header import NRRD_SUFFIXES
from automedsam.io.volume_reader import read_volume, reading

_MAX_LABELS = 1000
_SLICER_TAG = "AutoMedSAM.Provenance:"
_OFFSET = "Segmentation_ReferenceImageExtentOffset"


@dataclass(frozen=True, eq=False)
class LabelFile:
    """What a label file holds.

    Attributes:
        layers: `(L, K, J, I)`, unsigned integers; segments in different layers may overlap.
        grid: Where the voxels lie; its own voxels are the first layer.
        segments: The segments, and the layer of each.
        provenance: How AutoMedSAM made it; empty if it did not, or the format does not keep it.
        model_values: For each segment the label value of the model that wrote it; 0 for other segments.
    """

    layers: Voxels
    grid: Volume
    segments: tuple[tuple[Segment, int], ...]
    provenance: dict[str, Any]
    model_values: tuple[int, ...] = ()

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The voxels `(K, J, I)` of a segment, by its place in `segments`."""
        segment, layer = self.segments[index]
        found: NDArray[np.bool_] = self.layers[layer] == segment.value
        return found


def read_labels(path: Path) -> LabelFile:
    """Read a label file.

    Args:
        path: A `.seg.nrrd` file of Slicer or AutoMedSAM, or a label map in NIfTI, NRRD or MetaImage.

    Raises:
        AutoMedSAMError: If it cannot be read or holds an image and no labels.
    """
    volume = read_volume(path, check_voxels=False)
    fields = _fields(path) if path.name.lower().endswith(NRRD_SUFFIXES) else {}
    layers = _whole_numbers(path, volume.array if volume.array.ndim == 4 else volume.array[np.newaxis])
    if "Segment0_LabelValue" in fields or "Segment0_ID" in fields:
        layers, volume = _uncropped(layers, volume, fields.get(_OFFSET, ""))
        segments = tuple(_segments(fields))
        if any(layer >= len(layers) for _, layer in segments):
            message = f"{path} is damaged: its header names a layer that it does not hold; save it again."
            raise AutoMedSAMError(message)
    elif len(layers) > 1:
        message = f"{path} has {len(layers)} channels and is no label map; give a 3-D label map or a .seg.nrrd file."
        raise AutoMedSAMError(message)
    else:
        values = [int(value) for value in np.unique(layers) if value]
        if len(values) > _MAX_LABELS:
            message = f"{path} has {len(values)} different values and looks like an image: give a label map."
            raise AutoMedSAMError(message)
        segments = tuple((Segment(value, f"Label {value}", (1.0, 0.0, 0.0), ""), 0) for value in values)
    provenance = _provenance(path, fields)
    model_values = tuple(segment.value for segment, _ in segments)
    if not provenance:
        provenance, model_values = _provenance_of_slicer(fields, len(segments))
    return LabelFile(layers, replace(volume, array=layers[0]), segments, provenance, model_values)


def _whole_numbers(path: Path, array: Voxels) -> Voxels:
    if array.dtype.kind in "ub":
        return array.astype(np.uint8) if array.dtype.kind == "b" else array
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 2**31 or (array != np.rint(array)).any():
        message = f"{path} has negative or fractional values and looks like an image: give a label map."
        raise AutoMedSAMError(message)
    return array.astype(np.uint16 if high < 2**16 else np.uint32)


def _fields(path: Path) -> dict[str, str]:
    import SimpleITK as sitk

    with reading(path), suppress_sitk_output(), sitk_path(path, siblings=True) as readable:
        reader = sitk.ImageFileReader()
        reader.SetFileName(readable)
        reader.SetImageIO("NrrdImageIO")
        reader.ReadImageInformation()
        return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def _segments(fields: dict[str, str]) -> list[tuple[Segment, int]]:
    found = []
    for index in range(_MAX_LABELS):
        if f"Segment{index}_ID" not in fields and f"Segment{index}_LabelValue" not in fields:
            break
        try:
            value, layer = int(fields[f"Segment{index}_LabelValue"]), int(fields.get(f"Segment{index}_Layer", "0"))
            red, green, blue = (float(part) for part in fields.get(f"Segment{index}_Color", "1 0 0").split())
        except (KeyError, ValueError) as error:
            message = f"The header of segment {index} is damaged: save the segmentation again."
            raise AutoMedSAMError(message) from error
        name = fields.get(f"Segment{index}_Name", f"Label {value}")
        tags = fields.get(f"Segment{index}_Tags", "")
        terms = next((tag for tag in tags.split("|") if tag.startswith("TerminologyEntry:")), "")
        found.append((Segment(value, name, (red, green, blue), terms.removeprefix("TerminologyEntry:")), layer))
    return found


def _uncropped(layers: Voxels, volume: Volume, offset: str) -> tuple[Voxels, Volume]:
    """Slicer leaves out empty margins: they are added again below, so that slices count as in the image."""
    try:
        i, j, k = (int(part) for part in offset.split())
    except ValueError:
        return layers, volume
    if min(i, j, k) < 0 or not any((i, j, k)) or max(i, j, k) > 10_000:
        return layers, volume
    origin = volume.world((-k, -j, -i))
    padded = np.pad(layers, ((0, 0), (k, 0), (j, 0), (i, 0)))
    return padded, replace(volume, array=padded[0], origin=origin)


def _provenance_of_slicer(fields: dict[str, str], count: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What the module in Slicer wrote into the tags of its segments; the last run counts."""
    found: list[dict[str, Any]] = []
    for index in range(count):
        tags = fields.get(f"Segment{index}_Tags", "").split("|")
        text = next((tag for tag in tags if tag.startswith(_SLICER_TAG)), "").removeprefix(_SLICER_TAG)
        try:
            content = json.loads(unquote(text))
        except ValueError:
            content = None
        found.append(content if isinstance(content, dict) and isinstance(content.get("replay"), dict) else {})
    last = max(found, key=lambda one: str(one.get("date", "")), default={})
    values = tuple(
        int(one["label"]) if one and one.get("run") == last.get("run") and isinstance(one.get("label"), int) else 0
        for one in found
    )
    return dict(last.get("replay", {})), values


def _provenance(path: Path, fields: dict[str, str]) -> dict[str, Any]:
    text = fields.get(PROVENANCE_FIELD)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        message = f"{path} is damaged: its provenance cannot be read; save the result of the run again."
        raise AutoMedSAMError(message)
    return found
