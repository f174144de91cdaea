"""The description of a converted bundle: the user's options, the published file's metadata, and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automedsam.bundle import Bundle
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Plane
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam.models.checkpoint_manifest import COLORS, LESION, LINKING, NMS_IOU, SCORE_THRESHOLD, TISSUE, TRACKING
from automedsam_lab.bundling.detector_source import DetectorMetadata, DetectorSource
from automedsam_lab.bundling.draft import BundleDraft
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
        license: the terms of the weights.
        threshold: the detector's confidence, 0 to 1, from which an object is accepted.
    """

    name: str | None = None
    version: str = "0.1.0"
    task: str | None = None
    labels: tuple[str, ...] = ()
    modality: str | None = None
    window: tuple[float, float] | None = None
    plane: Plane | None = None
    license: str | None = None
    threshold: float | None = None


def draft_bundle(
    options: BundleMetadata,
    published: PublishedFile | None,
    detector: DetectorSource | None,
    out: Path,
    terms: str | None = None,
) -> BundleDraft:
    """The description of a bundle: the user's options first, then the detector's and the published file's metadata.

    Args:
        options: What the user has set.
        published: The published file that the checkpoint is, if it is one.
        detector: The detector, if there is one.
        out: The bundle's folder, which gives it its name where the user has given none.
        terms: Terms in the checkpoint's metadata.

    Raises:
        AutoMedSAMError: The name, the window or the threshold is not valid, or the number of labels is not that of
            the detector's classes.
    """
    bundle = detector.bundle if detector else None
    training = detector.training if detector else DetectorMetadata()
    known = published.modality if published else ANY_MODALITY
    modality = options.modality or _only(bundle) or training.modality or known
    segments = _segments(options, published, detector)
    return BundleDraft(
        name=_name(options.name or out.name),
        version=options.version,
        task=options.task or (bundle and bundle.task) or " and ".join(segment.name for segment in segments),
        terms=options.license or _license(terms, published, detector),
        modality=modality,
        window=_window(options, published, bundle, training, modality),
        plane=options.plane or training.plane or (bundle.plane if bundle else Plane.AXIAL),
        segments=segments,
        detector=_detector(options, detector, segments),
        linking=bundle.manifest["linking"] if bundle else LINKING,
        tracking=bundle.manifest["tracking"] if bundle else TRACKING,
        training_data=f"not known here, see {published.page}" if published else "not known here",
    )


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        message = f"'{name}' cannot be a bundle's name: use letters, digits, dots, hyphens and underscores."
        raise AutoMedSAMError(message)
    return name


def _only(bundle: Bundle | None) -> str | None:
    """The modality of a bundle that has a single one."""
    return bundle.modalities[0] if bundle and len(bundle.modalities) == 1 else None


def _segments(
    options: BundleMetadata, published: PublishedFile | None, detector: DetectorSource | None
) -> tuple[Segment, ...]:
    classes = detector.classes if detector else 1
    if not options.labels and detector and detector.bundle:
        return detector.bundle.segments
    training = detector.training.segments if detector else {}
    labels = options.labels or tuple(training.values()) or _default_labels(published, classes)
    if len(labels) != classes:
        message = (
            f"The detector knows {classes} {'class' if classes == 1 else 'classes'}, but {len(labels)} "
            f"{'label was' if len(labels) == 1 else 'labels were'} given ({', '.join(labels)}): "
            "give --label once for each class, in the detector's order."
        )
        raise AutoMedSAMError(message)
    values = list(training) or range(1, classes + 1)
    return tuple(
        Segment(value, label, COLORS[index % len(COLORS)], TISSUE if training else LESION)
        for index, (value, label) in enumerate(zip(values, labels, strict=True))
    )


def _default_labels(published: PublishedFile | None, classes: int) -> tuple[str, ...]:
    if classes == 1:
        return (published.label if published else "Lesion",)
    return tuple(f"Class {index + 1}" for index in range(classes))


def _license(stated: str | None, published: PublishedFile | None, detector: DetectorSource | None) -> str:
    terms = stated or (published.license if published else UNKNOWN_TERMS)
    if detector is None:
        return terms
    if detector.training.license:
        return f"{terms} The detector inherits those of its data: {detector.training.license}"
    return f"{terms} {detector.bundle.license if detector.bundle else YOLO_NAS_TERMS}"


def _window(
    options: BundleMetadata,
    published: PublishedFile | None,
    bundle: Bundle | None,
    training: DetectorMetadata,
    modality: str,
) -> tuple[float, float] | None:
    if options.window is not None:
        low, high = options.window
        if not low < high:
            message = f"The window {low:g} to {high:g} is empty; give the lower value first."
            raise AutoMedSAMError(message)
        return low, high
    if bundle is not None:
        return bundle.window
    if training.window is not None:
        return training.window
    if published and published.window and modality == published.modality:
        return published.window
    return CT_WINDOW if modality.upper() == "CT" else None


def _detector(options: BundleMetadata, detector: DetectorSource | None, segments: Sequence[Segment]) -> dict[str, Any]:
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
        **(detector.bundle.manifest["detector"] if detector and detector.bundle else {}),
        "labels": [segment.value for segment in segments],
    }
    return settings if options.threshold is None else {**settings, "score_threshold": options.threshold}
