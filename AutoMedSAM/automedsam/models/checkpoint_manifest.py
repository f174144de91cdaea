"""The `bundle.json` of a published checkpoint that runs as it is, in FP32 on PyTorch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from automedsam.bundle import Bundle, file_hash
from automedsam.contract.catalog import CatalogModel
from automedsam.contract.manifest import SCHEMA_VERSION
from automedsam.core.terminology import MASTER_LIST, REGION_LIST
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.published_networks import PublishedNetwork

SCORE_THRESHOLD, NMS_IOU = 0.4, 0.5
# MedSAM2 sees whole slices and is prompted once an object: nearly nothing of the slice is cut away.
TRACKING = {"fill": 0.1, "prompt_score": 0.5, "reach_mm": 5.0, "margin": 0.25}
LINKING = {"max_gap_mm": 5.0, "min_extent_mm": 3.0}
COLORS = ((0.95, 0.77, 0.06), (0.90, 0.47, 0.33), (0.33, 0.67, 0.90), (0.45, 0.75, 0.35), (0.70, 0.50, 0.85))
# Slicer's own for what is not known more exactly.
TISSUE = f"{MASTER_LIST}~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~{REGION_LIST}~^^~^^"
LESION = f"{MASTER_LIST}~SCT^49755003^Morphologically Altered Structure~SCT^52988006^Lesion~^^~{REGION_LIST}~^^~^^"

_DETECTOR_INPUT = [640, 640]


def checkpoint_manifest(model: CatalogModel, network: PublishedNetwork, checkpoint: Path) -> dict[str, Any]:
    """The manifest of a bundle without a detector, whose segmenter is a published checkpoint.

    Args:
        model: What is known of it.
        network: Its network.
        checkpoint: The file, in the bundle's folder.

    Raises:
        OSError: If the file cannot be read.
    """
    segments = [
        {
            "value": value,
            "name": label,
            "color": list(COLORS[(value - 1) % len(COLORS)]),
            "terminology": LESION if "lesion" in label.lower() else TISSUE,
        }
        for value, label in enumerate(model.labels, 1)
    ]
    digest = file_hash(checkpoint)
    return {
        "schema": SCHEMA_VERSION,
        "name": model.name,
        "version": model.version,
        "task": model.about,
        "license": model.terms,
        "modalities": list(model.modalities),
        "window": None if model.window is None else list(model.window),
        "plane": model.plane,
        "segments": segments,
        "detector": {
            "input_size": _DETECTOR_INPUT,
            "labels": [segment["value"] for segment in segments],
            "context_mm": 0.0,
            "score_threshold": SCORE_THRESHOLD,
            "nms_iou": NMS_IOU,
            "mirror": None,
            "files": {},
        },
        "linking": LINKING,
        "tracking": TRACKING,
        "segmenter": {
            "architecture": network.architecture.to_manifest(),
            "box_as_mask": False,
            "files": {"torch": {"checkpoint": checkpoint.name}},
        },
        "files": {checkpoint.name: {"sha256": digest, "bytes": checkpoint.stat().st_size}},
        "published": {"file": model.file.name, "page": model.page, "network": network.name, "sha256": digest},
        "training": {"data": f"not known here, see {model.page}" if model.page else "not known here"},
        "measured": {},
    }


def add_detector(manifest: dict[str, Any], folder: Path, source: Bundle) -> dict[str, Any]:
    """A manifest with the detector of another bundle, and with what belongs to it: labels, input, linking, tracking.

    Args:
        manifest: A manifest without a detector.
        folder: Its bundle's folder, to which the detector's files are copied.
        source: The bundle whose detector is used.

    Raises:
        AutoMedSAMError: If the other bundle has no detector here.
        OSError: If a file cannot be copied.
    """
    files, hashes = {}, {}
    for precision, relative in source.manifest["detector"]["files"].items():
        path, name = source.folder / relative, f"detector.{precision}.onnx"
        if not path.is_file():
            continue
        shutil.copyfile(path, folder / name)
        digest = file_hash(folder / name)
        if digest != source.manifest["files"][relative]["sha256"]:
            message = f"The file {path} of bundle {source.name} is damaged or changed: install the bundle again."
            raise AutoMedSAMError(message)
        files[precision] = name
        hashes[name] = {"sha256": digest, "bytes": path.stat().st_size}
    if not files:
        message = f"The bundle {source.name} has no detector: choose another one for --detector."
        raise AutoMedSAMError(message)
    taken = ("modalities", "window", "plane", "segments", "linking", "tracking", "expected_input")
    return {
        **manifest,
        **{key: source.manifest[key] for key in taken if key in source.manifest},
        "task": source.task,
        "license": f"{manifest['license']} Detector of {source.name} {source.version}: {source.license}",
        "detector": {**source.manifest["detector"], "files": files},
        "files": {**manifest["files"], **hashes},
    }
