"""Parts of a result's provenance: the versions that computed it, and the objects that it was made from."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from automedsam import __version__
from automedsam.contract.backends import Backend
from automedsam.contract.manifest import INT8_MADE_HERE
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.prompts import EditedMask, Point
from automedsam.sam2.propagation import CropBox


def versions(backend: Backend) -> dict[str, str]:
    """The versions of this package and of those that compute."""
    packages = ["numpy", "onnxruntime", *(["torch"] if backend is Backend.FP32_TORCH else [])]
    found = {"automedsam": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def made_here(manifest: Mapping[str, Any], backend: Backend) -> dict[str, str]:
    """The SHA-256 of INT8 files that were made on this computer, which the model's own hash does not cover."""
    made = manifest.get(INT8_MADE_HERE)
    return {"int8_hash": made["hash"]} if made and backend is Backend.INT8 else {}


def prompts_of(tracklets: Sequence[Tracklet], crops: Mapping[str, CropBox]) -> dict[str, Any]:
    """Objects as JSON can hold them, with boxes and slices in frames of the run's plane; `read_prompts` reads them."""
    objects = [
        {
            "label": one.label,
            "seed": one.seed,
            "boxes": [[at, box.x, box.y, box.width, box.height, box.score] for at, box in one.boxes.items()],
            **_marks_of(one),
        }
        for one in tracklets
    ]
    return {"objects": objects, "crops": {key: list(crop) for key, crop in crops.items()}}


def _marks_of(tracklet: Tracklet) -> dict[str, Any]:
    """Points, masks, empty slices and limits, those that there are; masks as height, width and bits in base64."""
    marks: dict[str, Any] = {}
    if tracklet.points:
        marks["points"] = [[at, [[p.x, p.y, p.positive] for p in clicks]] for at, clicks in tracklet.points.items()]
    if tracklet.masks:
        marks["masks"] = [
            [at, *mask.pixels.shape, base64.b64encode(np.packbits(mask.pixels).tobytes()).decode()]
            for at, mask in tracklet.masks.items()
        ]
    if tracklet.empty:
        marks["empty"] = sorted(tracklet.empty)
    if tracklet.limits:
        marks["limits"] = list(tracklet.limits)
    return marks


def _point(x: float, y: float, positive: bool) -> Point:
    return Point(float(x), float(y), bool(positive))


def _mask(height: int, width: int, bits: str) -> EditedMask:
    packed = np.frombuffer(base64.b64decode(bits, validate=True), np.uint8)
    return EditedMask(np.unpackbits(packed, count=int(height) * int(width)).reshape(int(height), int(width)))


def read_prompts(stored: Mapping[str, Any]) -> tuple[list[Tracklet], dict[str, CropBox]]:
    """The objects and crops that `prompts_of` wrote.

    Raises:
        KeyError, TypeError, ValueError: If they are damaged.
    """
    tracklets = []
    for one in stored["objects"]:
        label = int(one["label"])
        boxes = {
            int(index): Box(float(x), float(y), float(width), float(height), float(score), label)
            for index, x, y, width, height, score in one["boxes"]
        }
        marks: dict[str, Any] = {}
        if "points" in one:
            marks["points"] = {int(at): tuple(_point(*click) for click in clicks) for at, clicks in one["points"]}
        if "masks" in one:
            marks["masks"] = {int(at): _mask(*stored_mask) for at, *stored_mask in one["masks"]}
        if "empty" in one:
            marks["empty"] = frozenset(int(at) for at in one["empty"])
        if "limits" in one:
            first, last = one["limits"]
            marks["limits"] = int(first), int(last)
        tracklets.append(Tracklet(label, boxes, int(one["seed"]), **marks))
    crops = {str(key): CropBox(*(int(edge) for edge in region)) for key, region in stored.get("crops", {}).items()}
    return tracklets, crops
