"""A case in the output folder of a cohort: read again with its boxes, and replaced by a corrected segmentation."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.bundle import Bundle, file_hash
from automedsam.cohort.case import Case
from automedsam.cohort.figures import diameters, dice_with
from automedsam.cohort.lock import locked
from automedsam.cohort.manifest import Manifest
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.statistics import write_statistics
from automedsam.cohort.table import write_table
from automedsam.cohort.thumbnail import thumbnail
from automedsam.cohort.worker import DONE, Record
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.segmentation import Segment, Segmentation, segment_masks
from automedsam.core.volume import Plane, Volume
from automedsam.detection.linking import seed_slice
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam.io.segmentation_reader import read_labels
from automedsam.io.segmentation_writer import write_segmentation
from automedsam.io.volume_reader import read_volume
from automedsam.visualization.montage import write_png


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A segmented case of a cohort.

    Attributes:
        name: Its name in the cohort.
        folder: The output folder.
        settings: The settings of the cohort.
        record: Its record in the manifest.
        result: Its segmentation as it is now, on the image's grid; labels are the model's values.
        tracklets: The objects that the model found, in frames of `result.plane`.
        confidence: Frame, confidence from 0 to 1, and reason, of each segmented slice.
    """

    name: str
    folder: OutputFolder
    settings: CohortSettings
    record: Record
    result: Segmentation
    tracklets: list[Tracklet]
    confidence: list[tuple[int, float, str]]

    def image(self, bundle: Bundle) -> Volume:
        """The image `(K, J, I)`, or `(C, K, J, I)` of a model of several modalities.

        Raises:
            AutoMedSAMError: If a file was moved or is damaged.
        """
        paths = [Path(path) for path in self.record["paths"]]
        for path in paths:
            if not path.exists():
                message = f"{path} does not exist any more: bring it back, or run the cohort again."
                raise AutoMedSAMError(message)
        return read_volume(paths, len(bundle.modalities), modalities=bundle.modalities)


def open_case(path: Path, name: str) -> StoredCase:
    """Reads a case.

    Args:
        path: The output folder of a cohort.
        name: The case.

    Raises:
        AutoMedSAMError: If there is no such case, it has no segmentation, or a file is missing or damaged.
    """
    folder = OutputFolder(path.resolve())
    folder.check_is_one()
    manifest = Manifest(folder)
    if name not in manifest or manifest.settings is None:
        message = f"{path} has no case {name}: open the folder again."
        raise AutoMedSAMError(message)
    record = manifest.record(name)
    if record["state"] != DONE:
        message = f"{name} has no segmentation: {record['message']}"
        raise AutoMedSAMError(message)
    details = _details(folder, name)
    plane = Plane(record["figures"]["plane"])
    result = _segmentation(folder.path / record["output"]["path"], plane)
    return StoredCase(
        name,
        folder,
        manifest.settings,
        record,
        result,
        [_tracklet(boxes) for boxes in details.get("objects", []) if boxes],
        [(int(at), float(share), str(reason)) for at, share, reason in details["confidence"]],
    )


def save_case(path: Path, name: str, labels: Volume, segments: Sequence[Segment]) -> Record:
    """Puts a corrected segmentation in the place of a case's; its figures, thumbnail and `cohort.csv` follow.

    Args:
        path: The output folder of a cohort.
        name: The case.
        labels: Label values `(K, J, I)` on the grid of the case's image.
        segments: What the values mean.

    Returns:
        The new record.

    Raises:
        AutoMedSAMError: If the cohort is still running, the labels lie on another grid, or nothing can be written.
    """
    folder = OutputFolder(path.resolve())
    with locked(folder.path):
        case = open_case(path, name)
        if not case.result.volume.same_grid(labels):
            message = f"The segmentation lies on another grid than the image of {name}: open the case again."
            raise AutoMedSAMError(message)
        bundle = case.settings.bundle()
        known = {segment.value: segment for segment in bundle.segments}
        fixed = replace(
            case.result,
            labels=np.asarray(labels.array, np.uint8),
            segments=[known.get(segment.value, segment) for segment in segments],
            provenance=case.result.provenance | {"corrected": _now()},
        )
        output = folder.path / case.record["output"]["path"]
        write_segmentation(fixed, output)
        if case.settings.has_dicom:
            # A SEG refers to the DICOM files, which only the image knows.
            dicom = replace(fixed, volume=case.image(bundle))
            write_segmentation(dicom, folder.segmentation(Case(name).stem, case.settings.suffix))
        write_png(_thumbnail(folder, case, fixed), folder.thumbnail(Case(name).stem))
        record = _record(case, fixed, output)
        details = _details(folder, name) | {"record": record}
        with atomic_write(folder.details(Case(name).stem)) as unfinished:
            unfinished.write_text(json.dumps(details, indent=1, default=float) + "\n", encoding="utf-8")
        manifest = Manifest(folder)
        manifest.add(record)
        names = [segment.name for segment in bundle.segments]
        write_table(folder.table, manifest.records(), names)
        write_statistics(folder.report, manifest.records(), case.settings, names)
    return record


def _record(case: StoredCase, fixed: Segmentation, output: Path) -> Record:
    voxel = fixed.volume.voxel_volume_ml
    masks = {one.name: mask for one, mask in segment_masks(fixed.labels, fixed.segments)}
    figures = dict(case.record["figures"]) | {
        "volume_ml": {name: round(int(np.count_nonzero(mask)) * voxel, 6) for name, mask in masks.items()},
        "diameter_mm": diameters(fixed),
    }
    reference = _details(case.folder, case.name).get("case", {}).get("reference")
    if reference is not None:
        figures["dice"] = dice_with(fixed, Path(reference))
    kept = {key: value for key, value in case.record.items() if key not in ("event", "time", "crc")}
    return kept | {
        "figures": figures,
        "corrected": {"time": _now(), "reviewer": _user()},
        "output": case.record["output"] | {"bytes": output.stat().st_size, "sha256": file_hash(output)},
    }


def _details(folder: OutputFolder, name: str) -> dict[str, Any]:
    path = folder.details(Case(name).stem)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: run the same 'automedsam cohort' again."
        raise AutoMedSAMError(message) from error
    return dict(found)


def _segmentation(path: Path, plane: Plane) -> Segmentation:
    file = read_labels(path)
    labels = np.zeros(file.grid.shape, np.uint8)
    segments = []
    for index, (segment, _) in enumerate(file.segments):
        value = file.model_values[index] or segment.value
        labels[file.mask(index)] = value
        segments.append(replace(segment, value=value))
    return Segmentation(labels, file.grid, segments, provenance=file.provenance, plane=plane)


def _tracklet(boxes: dict[str, Sequence[float]]) -> Tracklet:
    found = {
        int(at): Box(x0, y0, x1 - x0, y1 - y0, score, int(label))
        for at, (x0, y0, x1, y1, score, label) in sorted(boxes.items(), key=lambda one: int(one[0]))
    }
    return Tracklet(next(iter(found.values())).label, found, seed_slice(found))


def _thumbnail(folder: OutputFolder, case: StoredCase, fixed: Segmentation) -> np.ndarray:
    """With the image's 8-bit copy; on black where none is kept."""
    copy = folder.image(Case(case.name).stem)
    gray = read_volume(copy, check_voxels=False) if copy.is_file() else replace(fixed.volume, array=0 * fixed.labels)
    labels = replace(fixed.volume, array=fixed.labels)
    _, row_mm, column_mm = fixed.volume.frame_spacing(fixed.plane)
    return thumbnail(
        gray.to_frames(fixed.plane)[0], labels.to_frames(fixed.plane)[0], (row_mm, column_mm), fixed.segments
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # An account without a name.
        return ""
