"""Where a segmentation comes from, written into it: the model, the settings, the boxes, and what was written."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from AutoMedSAMLib.run import Message, RunRequest

PROVENANCE = "AutoMedSAM.Provenance"
BOXES = "AutoMedSAM.Boxes"
WRITTEN = "AutoMedSAM.Written"


def provenance_of(request: RunRequest, started: Message) -> dict[str, Any]:
    """What was run on what, as the engine said when it began."""
    return {
        "model": started["model"]["name"],
        "model_version": started["model"]["version"],
        "model_hash": started["model"]["hash"],
        "engine_version": started["engine"],
        "backend": request.backend,
        "device": started["device"],
        "threshold": started["threshold"],
        "plane": started["plane"],
        "slices": started["slices"],
        "volumes": [volume.GetName() for volume in request.volumes],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def encode(content: object) -> str:
    """JSON, percent-encoded: no character that a scene or segmentation file gives a meaning of its own."""
    return quote(json.dumps(content, separators=(",", ":")), safe="")


def decode(text: str | None) -> Any:
    """What `encode` was given; None for what it did not write."""
    try:
        return json.loads(unquote(text or ""))
    except ValueError:
        return None


def read_provenance(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """Where the last run's segments in this node come from; empty if there was none."""
    return decode(segmentation.GetAttribute(PROVENANCE)) or {}


def read_boxes(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """The last run's `boxes`, `tracklets` and `views`, as the engine told them; empty if there was none."""
    return decode(segmentation.GetAttribute(BOXES)) or {}


def set_tag(segment: slicer.vtkSegment, name: str, content: object) -> None:
    """Writes into a segment's tag, which `.seg.nrrd` files keep."""
    segment.SetTag(name, encode(content))


def tag_of(segment: slicer.vtkSegment, name: str) -> Any:
    """What `set_tag` wrote; None if nothing."""
    text = vtk.reference("")
    return decode(str(text)) if segment.GetTag(name, text) else None


def checksum(mask: NDArray[np.bool_]) -> int:
    """CRC-32 of a mask, by which a later change is noticed; 0 for an empty one."""
    return zlib.crc32(np.packbits(mask)) if mask.any() else 0
