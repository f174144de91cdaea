"""What the requests of `protocol` must be, field by field, so that a wrong one is refused before any work."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from automedsam.contract.backends import Backend
from automedsam.contract.checks import (
    Check,
    FieldError,
    Fields,
    fail,
    integer,
    is_boolean,
    is_object,
    list_of,
    map_of,
    nullable,
    number,
    one_of,
    parse_object,
    range_of,
    shown,
)
from automedsam.contract.planes import PLANES

__all__ = ["MAX_LINE_BYTES", "FieldError", "check_request", "parse_request"]

MAX_LINE_BYTES = 64_000_000
"""The longest line of a request; 100 000 boxes take a quarter of it."""

_MAX_SIDE = 100_000
_BACKENDS = tuple(backend.value for backend in Backend)


def parse_request(line: bytes) -> dict[str, Any]:
    """Parses a line of the engine's standard input.

    Raises:
        FieldError: If it is too long, or is not a JSON object.
    """
    if len(line) > MAX_LINE_BYTES:
        message = f"it is longer than {MAX_LINE_BYTES / 1e6:.0f} MB"
        raise FieldError(message)
    return parse_object(line)


def check_request(request: Mapping[str, Any]) -> None:
    """Checks the fields of a request that this version uses.

    Raises:
        FieldError: Names the first field that is missing or wrong.
    """
    _ID("", request)
    op = request.get("op")
    if not isinstance(op, str) or op not in _REQUESTS:
        fail("op", f"there is no request {shown(op)}")
    _REQUESTS[op]("", request)


def _string(where: str, value: Any) -> None:
    # Whatever a node is called; half of a surrogate pair stands for a byte of a file name that is not UTF-8.
    if not isinstance(value, str):
        fail(where, f"{shown(value)} is not text")


def _path(where: str, value: Any) -> None:
    _string(where, value)
    try:
        possible = value and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        fail(where, f"{shown(value)} is not a path")


def _file(where: str, value: Any) -> None:
    _path(where, value)
    if os.path.basename(value) in ("", ".", ".."):
        fail(where, f"{shown(value)} is not a file's path")


_ANY = number(-math.inf)
_LABEL = integer(1, 255)
_INDEX = integer(-_MAX_SIDE, _MAX_SIDE)
_NUMBER_OF_BOX = integer(-(2**53), 2**53)
_GRID: dict[str, Check] = {
    "spacing": list_of(_ANY, 3, 3),
    "origin": list_of(_ANY, 3, 3),
    "direction": list_of(_ANY, 9, 9),
}
_VOLUME = Fields(
    _GRID,
    {"path": _file, "name": _string, "shape": list_of(integer(1, _MAX_SIDE), 3, 3)},
)
_LABELS = Fields({"path": _file, **_GRID}, {"name": _string})
_SEGMENTS = list_of(
    Fields({"value": _LABEL, "name": _string}, {"color": list_of(number(0, 1), 3, 3), "terminology": _string}), 1, 255
)
_DETECTED = Fields(
    {"id": _NUMBER_OF_BOX, "slice": _INDEX, "bounds": list_of(_ANY, 6, 6)},
    {"score": nullable(number(0, 1)), "label": _LABEL, "drawn": is_boolean},
)


def _box(where: str, value: Any) -> None:
    _DETECTED(where, value)
    if not value.get("drawn") and value.get("score") is None:
        fail(where, "score is missing")


_BOXES = list_of(_box, 0, 10**6)
_OBJECT = Fields(
    {"label": _LABEL, "boxes": list_of(_NUMBER_OF_BOX, 0, 10**6)},
    {
        "seed": nullable(_INDEX),
        "points": list_of(Fields({"position": list_of(_ANY, 3, 3), "positive": is_boolean}), 0, 10_000),
        "masks": list_of(Fields({"slice": _INDEX, "path": _file}), 0, 10_000),
        "empty": list_of(_INDEX, 0, 10**5),
        "limits": nullable(range_of(_INDEX)),
    },
)


def _tracklet(where: str, value: Any) -> None:
    _OBJECT(where, value)
    if not (value["boxes"] or value.get("points") or value.get("masks")):
        fail(where, "it has no box, no point and no mask")


_TRACKLETS = list_of(_tracklet, 0, 10**6)
_NAMES = list_of(map_of(_string, _string), 0, 1000)
_WHERE: dict[str, Check] = {
    "threshold": nullable(_ANY),
    "plane": nullable(one_of(*PLANES)),
    "slices": nullable(list_of(_INDEX, 2, 2)),
}
_MODEL: dict[str, Check] = {"volume": _VOLUME, "model": _path}
_RUN: dict[str, Check] = {**_MODEL, "labels": _file}
_OF_RUN: dict[str, Check] = {**_WHERE, "backend": one_of(*_BACKENDS), "device": _string, "names": _NAMES}
_CASE: dict[str, Check] = {"folder": _path, "case": _string}
_CROPS = map_of(list_of(integer(-(10**6), 10**6), 4, 4), _string)
_ID = Fields({"id": integer(-(2**53), 2**53)})
_REQUESTS: dict[str, Check] = {
    "segment": Fields(_RUN, _OF_RUN),
    "propagate": Fields(_RUN, {**_OF_RUN, "boxes": _BOXES, "tracklets": _TRACKLETS, "crops": _CROPS}),
    "preview": Fields(
        {**_MODEL, "boxes": _BOXES, "tracklets": list_of(_tracklet, 1, 1), "slice": _INDEX, "mask": _file},
        {**_OF_RUN, "crops": _CROPS},
    ),
    "link": Fields({**_MODEL, "boxes": _BOXES}, _WHERE),
    "check": Fields(_MODEL, {"names": _NAMES}),
    "compare": Fields({**_MODEL, "difference": _file}, {**_WHERE, "device": _string, "names": _NAMES}),
    "load": Fields({"model": _path}, {"backend": one_of(*_BACKENDS), "device": _string}),
    "devices": Fields({}, {"backend": one_of(*_BACKENDS)}),
    "phantom": Fields({"path": _file}),
    "models": Fields({}),
    "download": Fields({"name": _string}, {"detector": nullable(_path)}),
    "import": Fields({"path": _file}, {"name": nullable(_string), "detector": nullable(_path)}),
    "remove": Fields({"name": _string}),
    "evaluate": Fields(
        {"labels": _LABELS, "segments": _SEGMENTS, "reference": _LABELS, "reference_segments": _SEGMENTS}
    ),
    "export": Fields(
        {"labels": _LABELS, "segments": _SEGMENTS, "files": list_of(_file, 1, 10**6), "output": _file},
        {"seg_type": one_of("binary", "labelmap"), "provenance": is_object},
    ),
    "cohort": Fields(
        {"input": _path, "folder": _path, "model": _path},
        {"backend": one_of(*_BACKENDS), "threshold": nullable(_ANY), "plane": nullable(one_of(*PLANES))},
    ),
    "worklist": Fields({"folder": _path}),
    "case": Fields({**_CASE, "into": _path}),
    "reopen": Fields({**_RUN, **_CASE}, _OF_RUN),
    "decide": Fields({**_CASE, "decision": one_of("accept", "fix", "reject", "")}, {"note": _string}),
    "save_case": Fields({**_CASE, "labels": _LABELS, "segments": _SEGMENTS}, {"note": _string}),
}
