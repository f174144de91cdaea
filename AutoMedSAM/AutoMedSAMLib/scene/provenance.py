"""Where a segmentation comes from, written into it: the model, the settings, the boxes, and what was written."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from AutoMedSAMLib.model.run import Message, RunRequest

PROVENANCE = "AutoMedSAM.Provenance"
BOXES = "AutoMedSAM.Boxes"
WRITTEN = "AutoMedSAM.Written"
_BOXES_FORMAT = 2


def provenance_of(request: RunRequest, started: Message, frame: dict[str, Any] | None = None) -> dict[str, Any]:
    """What was run on what, from the engine's "started" event.

    Args:
        request: what was asked for.
        started: the engine's "started" event.
        frame: which frame of a sequence was segmented; see `AutoMedSAMLib.scene.sequences.frame_of`.
    """
    return ({"frame": frame} if frame else {}) | {
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
        "run": uuid4().hex,
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
    """What a run left about its boxes; empty if there was no run.

    Returns:
        `boxes`: the accepted ones; `tracklets`: the objects that they make up; `rejected`: boxes of an earlier run
        that the user rejected; `crops`: the engine's crop of each object. Boxes and tracklets are as in the
        engine's messages.
    """
    found = decode(segmentation.GetAttribute(BOXES)) or {}
    if found.get("format") == _BOXES_FORMAT:
        for name in ("boxes", "rejected"):
            found[name] = [_read_box(*fields) for fields in found[name]]
    if "views" in found:
        # Scenes saved with version 0.1.
        found["crops"] = found.pop("views")
    return found


def encode_boxes(boxes: list[Message], tracklets: list[Message], rejected: list[Message], crops: Message) -> str:
    """What `read_boxes` reads, kept short: it is saved with every scene."""
    content = {
        "format": _BOXES_FORMAT,
        "boxes": [_box_fields(box) for box in boxes],
        "tracklets": [{**one, "score": round(one["score"], 3)} if "score" in one else one for one in tracklets],
        "rejected": [_box_fields(box) for box in rejected],
        "crops": crops,
    }
    return encode(content)


def _box_fields(box: Message) -> list[Any]:
    # A hundredth of a voxel, a thousandth of the score: finer than anyone can see.
    bounds = [round(float(edge), 2) for edge in box["bounds"]]
    return [box["id"], box["slice"], bounds, round(box["score"], 3), box["label"], int(box["drawn"])]


def _read_box(number: int, at: int, bounds: list[float], score: float, label: int, drawn: int) -> Message:
    return {"id": number, "slice": at, "bounds": bounds, "score": score, "label": label, "drawn": bool(drawn)}


def set_tag(segment: slicer.vtkSegment, name: str, content: object) -> None:
    """Writes into a segment's tag, which `.seg.nrrd` files keep."""
    segment.SetTag(name, encode(content))


def tag_of(segment: slicer.vtkSegment, name: str) -> Any:
    """What `set_tag` wrote; None if nothing."""
    text = vtk.reference("")
    return decode(str(text)) if segment.GetTag(name, text) else None


def checksum(mask: NDArray[np.bool_]) -> int:
    """CRC-32 of a mask, by which a later change is noticed; 0 for an empty one."""
    return zlib.crc32(np.packbits(mask).tobytes()) if mask.any() else 0
