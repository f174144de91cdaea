"""The `bundle.json` of a converted model: the user's options, the published file's metadata, and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from automedsam.bundle import SCHEMA_VERSION, file_hash
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Plane
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam.models.checkpoint_manifest import COLORS, LESION, LINKING, NMS_IOU, SCORE_THRESHOLD, TISSUE, TRACKING
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.bundling.detector_source import DetectorMetadata, DetectorSource
from automedsam_lab.checkpoints.model_zoo import CT_WINDOW, PublishedFile
from automedsam_lab.quantization.calibration_checks import ANY_MODALITY

UNKNOWN_TERMS = "Terms unknown: ask whoever trained the weights."
YOLO_NAS_TERMS = (
    "The detector's are those of its training; weights that started from Deci's may not be used commercially or "
    "passed on (LICENSE.YOLONAS.md)."
)


@dataclass(frozen=True)
class BundleMetadata:
    """What the user may set; None takes the value of the detector's bundle or of the published file.

    Attributes:
        name: the short name that a person types.
        version: the bundle's own version.
        task: what it finds, in a few words.
        labels: what it finds, one for each of the detector's classes.
        modality: what a volume must be ("CT", "FLAIR"); "any" if unknown.
        window: grey levels that become 0 and 255; for CT abdominal soft tissue (-160 to 240) if unknown.
        plane: the plane of the slices where a volume does not tell.
        licence: the terms of the weights.
        threshold: the detector's confidence, 0 to 1, from which an object is accepted.
    """

    name: str | None = None
    version: str = "0.1.0"
    task: str | None = None
    labels: tuple[str, ...] = ()
    modality: str | None = None
    window: tuple[float, float] | None = None
    plane: Plane | None = None
    licence: str | None = None
    threshold: float | None = None


def base_manifest(
    options: BundleMetadata,
    published: PublishedFile | None,
    detector: DetectorSource | None,
    out: Path,
    terms: str | None = None,
) -> dict[str, Any]:
    """Everything of a manifest but its files and figures; `terms` are those in the checkpoint's metadata.

    Raises:
        AutoMedSAMError: if the name, the window or the threshold is none, or the labels are not as many as the
            detector's classes.
    """
    base = detector.bundle.manifest if detector and detector.bundle else {}
    taught = detector.taught if detector else DetectorMetadata()
    known = published.modality if published else ANY_MODALITY
    modality = options.modality or _only(base.get("modalities")) or taught.modality or known
    plane = options.plane or taught.plane
    segments = _segments(options, published, detector, base)
    return {
        "schema": SCHEMA_VERSION,
        "name": _name(options.name or out.name),
        "version": options.version,
        "task": options.task or base.get("task") or " and ".join(segment["name"] for segment in segments),
        "license": options.licence or _licence(terms, published, detector),
        "modalities": [modality],
        "window": _window(options, published, base, taught, modality),
        "plane": plane.value if plane else base.get("plane", Plane.AXIAL.value),
        "segments": segments,
        "detector": _detector(options, detector, base, segments),
        "linking": base.get("linking", LINKING),
        "tracking": base.get("tracking", TRACKING),
    }


def segmenter_of_manifest(
    architecture: Sam2Architecture,
    settings: SegmenterSettings,
    files: Mapping[str, Mapping[str, str]],
    golden: Mapping[str, Any],
) -> dict[str, Any]:
    """The segmenter's part: its network, how it is run, its files, and what they answer, by precision."""
    return {
        "architecture": architecture.to_manifest(),
        "box_as_mask": settings.box_as_mask,
        "memories": settings.memories,
        "memory_stride": settings.memory_stride,
        "files": files,
        "golden": golden,
    }


def files_of_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Hash and size of every file that a manifest names."""
    named = [*manifest["detector"]["files"].values()]
    named += [path for files in manifest["segmenter"]["files"].values() for path in files.values()]
    return {
        path: {"sha256": file_hash(folder / path), "bytes": (folder / path).stat().st_size}
        for path in dict.fromkeys(named)
    }


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        message = f"'{name}' cannot be a bundle's name: use letters, digits, dots, hyphens and underscores."
        raise AutoMedSAMError(message)
    return name


def _only(values: list[str] | None) -> str | None:
    return values[0] if values and len(values) == 1 else None


def _segments(
    options: BundleMetadata, published: PublishedFile | None, detector: DetectorSource | None, base: Mapping[str, Any]
) -> list[dict[str, Any]]:
    classes = detector.classes if detector else 1
    if not options.labels and base:
        return list(base["segments"])
    taught = detector.taught.segments if detector else {}
    labels = options.labels or tuple(taught.values()) or _default_labels(published, classes)
    if len(labels) != classes:
        message = (
            f"The detector knows {classes} {'class' if classes == 1 else 'classes'}, but {len(labels)} "
            f"{'label was' if len(labels) == 1 else 'labels were'} given ({', '.join(labels)}): "
            "give --label once for each class, in the detector's order."
        )
        raise AutoMedSAMError(message)
    values = list(taught) or range(1, classes + 1)
    return [
        asdict(Segment(value, label, COLORS[index % len(COLORS)], TISSUE if taught else LESION))
        for index, (value, label) in enumerate(zip(values, labels, strict=True))
    ]


def _default_labels(published: PublishedFile | None, classes: int) -> tuple[str, ...]:
    if classes == 1:
        return (published.label if published else "Lesion",)
    return tuple(f"Class {index + 1}" for index in range(classes))


def _licence(stated: str | None, published: PublishedFile | None, detector: DetectorSource | None) -> str:
    terms = stated or (published.licence if published else UNKNOWN_TERMS)
    if detector is None:
        return terms
    if detector.taught.licence:
        return f"{terms} The detector inherits those of its data: {detector.taught.licence}"
    return f"{terms} {detector.bundle.licence if detector.bundle else YOLO_NAS_TERMS}"


def _window(
    options: BundleMetadata,
    published: PublishedFile | None,
    base: Mapping[str, Any],
    taught: DetectorMetadata,
    modality: str,
) -> list[float] | None:
    if options.window is not None:
        low, high = options.window
        if not low < high:
            message = f"The window {low:g} to {high:g} is empty; give the lower value first."
            raise AutoMedSAMError(message)
        return [low, high]
    if base:
        window: list[float] | None = base["window"]
        return window
    if taught.window is not None:
        return list(taught.window)
    if published and published.window and modality == published.modality:
        return list(published.window)
    return list(CT_WINDOW) if modality.upper() == "CT" else None


def _detector(
    options: BundleMetadata, detector: DetectorSource | None, base: Mapping[str, Any], segments: list[dict[str, Any]]
) -> dict[str, Any]:
    if options.threshold is not None and not 0 < options.threshold <= 1:
        message = f"The threshold {options.threshold} is not a score: give a number above 0 and at most 1."
        raise AutoMedSAMError(message)
    settings = {
        "input_size": list(detector.input_size) if detector else [640, 640],
        "context_mm": detector.context_mm if detector else 0.0,
        "score_threshold": SCORE_THRESHOLD,
        "nms_iou": NMS_IOU,
        "mirror": None,
        "fit": (detector.fit if detector else ResizeMode.STRETCH).value,
        **base.get("detector", {}),
        "labels": [segment["value"] for segment in segments],
        "files": {},
    }
    return settings if options.threshold is None else {**settings, "score_threshold": options.threshold}
