"""A bundle that is being made: typed values, which become the `bundle.json` once its files are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from automedsam.bundle import SCHEMA_VERSION, file_hash
from automedsam.core.segmentation import Segment
from automedsam.core.volume import Plane
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.propagation import SegmenterSettings


@dataclass(frozen=True)
class SegmenterDraft:
    """The segmenter of a bundle.

    Attributes:
        architecture: Its network.
        settings: How it is run.
        files: File names in the bundle's folder, by precision and network.
        golden: Recorded outputs of the files, by precision.
    """

    architecture: Sam2Architecture
    settings: SegmenterSettings
    files: Mapping[str, Mapping[str, str]]
    golden: Mapping[str, Any]

    def to_manifest(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        return {
            "architecture": self.architecture.to_manifest(),
            "box_as_mask": self.settings.box_as_mask,
            "memories": self.settings.memories,
            "memory_stride": self.settings.memory_stride,
            "files": self.files,
            "golden": self.golden,
        }


@dataclass(frozen=True)
class BundleDraft:
    """A description of a bundle, without its files.

    Attributes:
        name: The short name that a user types.
        version: The bundle's own version.
        task: What it finds, in a few words.
        terms: The terms of the weights.
        modality: The modality that a volume must have, or "any".
        window: Intensities that become 0 and 255; None uses percentiles of each volume.
        plane: The plane of the slices where a volume does not determine it.
        segments: The labels that it writes, in the order of the detector's classes.
        detector: The detector's settings, as in the manifest; without its files.
        linking: See `automedsam.detection.linking.LinkSettings`.
        tracking: See `automedsam.tracking.settings.TrackingSettings`.
        training_data: What is known of the training data.
    """

    name: str
    version: str
    task: str
    terms: str
    modality: str
    window: tuple[float, float] | None
    plane: Plane
    segments: tuple[Segment, ...]
    detector: Mapping[str, Any]
    linking: Mapping[str, Any]
    tracking: Mapping[str, Any]
    training_data: str


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle, and how they were made.

    Attributes:
        segmenter: The segmenter.
        conversion: Sources, calibration, quantization and versions, as in the manifest.
        detector: File names of the detector by precision; empty without a detector.
    """

    segmenter: SegmenterDraft
    conversion: Mapping[str, Any]
    detector: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All file names, without duplicates."""
        segmenter = [name for files in self.segmenter.files.values() for name in files.values()]
        return list(dict.fromkeys([*self.detector.values(), *segmenter]))


def manifest_of(draft: BundleDraft, files: BundleFiles, folder: Path) -> dict[str, Any]:
    """The manifest of a bundle whose files are in `folder`.

    Raises:
        OSError: A file cannot be read.
    """
    return {
        "schema": SCHEMA_VERSION,
        "name": draft.name,
        "version": draft.version,
        "task": draft.task,
        "license": draft.terms,
        "modalities": [draft.modality],
        "window": draft.window and list(draft.window),
        "plane": draft.plane.value,
        "segments": [asdict(segment) for segment in draft.segments],
        "detector": {**draft.detector, "files": files.detector},
        "linking": draft.linking,
        "tracking": draft.tracking,
        "segmenter": files.segmenter.to_manifest(),
        "files": {
            name: {"sha256": file_hash(folder / name), "bytes": (folder / name).stat().st_size}
            for name in files.names()
        },
        "conversion": files.conversion,
        "training": {"data": draft.training_data},
        "measured": {},
    }
