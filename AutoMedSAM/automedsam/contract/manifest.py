"""The manifest of a bundle, `bundle.json`: read and checked field by field before anything is built from it.

Standard library only, so that every side that reads bundles can use it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from automedsam.contract.errors import AutoMedSAMError
from automedsam.contract.planes import PLANES

MANIFEST_NAME = "bundle.json"
SCHEMA_VERSION = 1

COMPONENTS = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")

_MAX_BYTES = 16_000_000
# What file systems allow for a name, and for a path below any folder.
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Check = Callable[[str, Any], None]


class ManifestError(ValueError):
    """A field that is missing or wrong; the message names it."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks a bundle's manifest.

    Args:
        folder: The bundle's folder.

    Returns:
        The JSON of the manifest. Every field that this version uses is there and of its type and range.

    Raises:
        AutoMedSAMError: One sentence that names the folder, the field, and what is wrong with it.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = _parse(path)
        schema = manifest.get("schema")
        if schema != SCHEMA_VERSION and isinstance(schema, int) and schema > SCHEMA_VERSION:
            message = (
                f"The bundle in {folder} is of schema {schema}, this version reads {SCHEMA_VERSION}: update AutoMedSAM."
            )
            raise AutoMedSAMError(message)
        check_manifest(manifest)
    except OSError as error:
        message = (
            f"The bundle in {folder} has no readable {MANIFEST_NAME} ({error.strerror}): choose a bundle's folder."
        )
        raise AutoMedSAMError(message) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        message = f"The bundle in {folder} has a faulty {MANIFEST_NAME} ({reason}): install it again."
        raise AutoMedSAMError(message) from error
    return manifest


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Checks every field that this version uses.

    Raises:
        ManifestError: Names the first field that is missing or wrong.
    """
    _Fields(_TOP, {"expected_input": _EXPECTED_INPUT, "measured": _measured, "training": _TRAINING})("", manifest)
    values = [segment["value"] for segment in manifest["segments"]]
    labels = manifest["detector"]["labels"]
    if len(set(values)) < len(values):
        _fail("segments", f"two segments have the same value: {values}")
    if len(set(labels)) < len(labels) or not set(labels) <= set(values):
        _fail("detector.labels", f"{labels} are not different values of segments {values}")
    for relative in named_files(manifest):
        if relative not in manifest["files"]:
            _fail("files", f"{_shown(relative)[1:-1]} has no hash")


def named_files(manifest: Mapping[str, Any]) -> list[str]:
    """The files that the detector and the segmenter name, each once."""
    segmenter = (path for files in manifest["segmenter"]["files"].values() for path in files.values())
    return list(dict.fromkeys([*manifest["detector"]["files"].values(), *segmenter]))


def _parse(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        message = f"it is larger than {_MAX_BYTES / 1e6:.0f} MB"
        raise ManifestError(message)
    try:
        manifest = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        message = "it is not UTF-8 text"
        raise ManifestError(message) from error
    except json.JSONDecodeError as error:
        message = f"it is not JSON: {error}"
        raise ManifestError(message) from error
    if not isinstance(manifest, dict):
        message = "it is not a JSON object"
        raise ManifestError(message)
    return manifest


def _refuse_constant(name: str) -> NoReturn:
    message = f"it contains {name}, which is not a number"
    raise ManifestError(message)


def _fail(where: str, reason: str) -> NoReturn:
    message = f"{where}: {reason}" if where else reason
    raise ManifestError(message)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(where: str, value: Any) -> None:
    if not isinstance(value, str):
        _fail(where, f"{_shown(value)} is not text")
    # Half of a surrogate pair cannot be written to a terminal or a file; control characters may command a terminal.
    if not all(letter.isprintable() or letter in "\n\t" for letter in value):
        _fail(where, f"{_shown(value)} has characters that cannot be shown")


def _name(where: str, value: Any) -> None:
    _text(where, value)
    if not value.strip():
        _fail(where, "it is empty")
    if not value.isprintable():
        _fail(where, f"{_shown(value)} is not on one line")


def _boolean(where: str, value: Any) -> None:
    if not isinstance(value, bool):
        _fail(where, f"{_shown(value)} is not true or false")


def _object(where: str, value: Any) -> None:
    if not isinstance(value, dict):
        _fail(where, f"{_shown(value)} is not an object")


def _number(low: float, high: float = math.inf, *, above: bool = False) -> _Check:
    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _fail(where, f"{_shown(value)} is not a number")
        # Compared, never converted: an integer of many digits has no float.
        if not abs(value) <= 1e300:
            _fail(where, f"{_shown(value)} is too large")
        if not (low < value if above else low <= value) or value > high:
            least = f"{'above' if above else 'at least'} {low:g}"
            _fail(where, f"{_shown(value)} is not {least}" + (f" and at most {high:g}" if high < math.inf else ""))

    return check


def _integer(low: int, high: int) -> _Check:
    in_range = _number(low, high)

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            _fail(where, f"{_shown(value)} is not a whole number")
        in_range(where, value)

    return check


def _input_side(where: str, value: Any) -> None:
    _integer(32, 4096)(where, value)
    if value % 32:
        _fail(where, f"{value} is not a multiple of 32")


def _one_of(*choices: str | None) -> _Check:
    def check(where: str, value: Any) -> None:
        if not (value is None or isinstance(value, str)) or value not in choices:
            _fail(where, f"{_shown(value)} is none of {', '.join(str(choice) for choice in choices)}")

    return check


def _nullable(of: _Check) -> _Check:
    return lambda where, value: None if value is None else of(where, value)


def _list(of: _Check, low: int, high: int) -> _Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            count = f"{low}" if low == high else f"{low} to {high}"
            _fail(where, f"{_shown(value)} is not a list of {count}")
        for index, one in enumerate(value):
            of(f"{where}[{index}]", one)

    return check


def _map(of: _Check, keys: _Check = _text) -> _Check:
    def check(where: str, value: Any) -> None:
        _object(where, value)
        for key, one in value.items():
            keys(where, key)
            of(f"{where}.{key}", one)

    return check


def _window(where: str, value: Any) -> None:
    _list(_number(-math.inf), 2, 2)(where, value)
    if not value[0] < value[1]:
        _fail(where, f"{value[0]:g} is not below {value[1]:g}")


def _range_of(of: _Check) -> _Check:
    def check(where: str, value: Any) -> None:
        _list(of, 2, 2)(where, value)
        if value[0] > value[1]:
            _fail(where, f"{value[0]:g} is above {value[1]:g}")

    return check


def _path(where: str, value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        _fail(where, f"{_shown(value)} is not a file's name")
    _name(where, value)
    path = PurePosixPath(value)
    too_long = any(len(part.encode()) > _MAX_NAME_BYTES for part in path.parts)
    if too_long or len(value.encode()) > _MAX_PATH_BYTES or path.name in ("", "."):
        _fail(where, f"{_shown(value)} is not a file's name")
    climbs = ".." in path.parts[1:] or path.is_absolute() or "\\" in value or ":" in value
    if climbs or path.parts == ("..",):
        _fail(where, f"{_shown(value)} is outside its folder and the folders beside it")


def _hash(where: str, value: Any) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        _fail(where, f"{_shown(value)} is not a SHA-256 in hexadecimal digits")


class _Fields:
    """Checks an object field by field.

    Args:
        required: Check by name.
        optional: Check by name of fields that may be left out.
        closed: Whether other fields are an error.
    """

    def __init__(
        self, required: Mapping[str, _Check], optional: Mapping[str, _Check] | None = None, *, closed: bool = False
    ) -> None:
        self._required, self._optional, self._closed = required, optional or {}, closed

    def __call__(self, where: str, value: Any) -> None:
        _object(where, value)
        for name in self._required:
            if name not in value:
                _fail(where, f"{name} is missing")
        checks = {**self._required, **self._optional}
        for name, one in value.items():
            if name in checks:
                checks[name](f"{where}.{name}" if where else name, one)
            elif self._closed:
                _fail(where, f"this version does not know {_shown(name)}: update AutoMedSAM")


_POSITIVE = _number(0, above=True)
_FRACTION = _number(0, 1, above=True)
_SEGMENT = _Fields(
    {"value": _integer(1, 255), "name": _name, "color": _list(_number(0, 1), 3, 3), "terminology": _text}
)
_DETECTOR = _Fields(
    {
        "input_size": _list(_input_side, 2, 2),
        "labels": _list(_integer(1, 255), 1, 255),
        "context_mm": _number(0, 1e4),
        "score_threshold": _FRACTION,
        "nms_iou": _FRACTION,
        "mirror": _one_of(None, "columns", "slices"),
        "files": _map(_path),
    },
    {"fit": _one_of("stretch", "letterbox")},
)
_LINKING = _Fields(
    {},
    {
        "member_share": _number(0, 1),
        "iou": _number(0, 1),
        "max_gap_mm": _number(0, 1e6),
        "min_extent_mm": _number(0, 1e6),
        "max_objects": _nullable(_integer(1, 10**6)),
    },
    closed=True,
)
_TRACKING = _Fields(
    {"fill": _FRACTION, "prompt_score": _number(0, 1e6), "reach_mm": _number(0, 1e6), "margin": _number(0, 1e3)},
    closed=True,
)


_RANGE = _range_of(_number(0, 1e6))
_EXPECTED_INPUT = _Fields(
    {},
    {
        "skull": _one_of("stripped", "any"),
        "slice_spacing_mm": _RANGE,
        "pixel_spacing_mm": _RANGE,
        "extent_mm": _list(_RANGE, 3, 3),
        "histogram": _list(_number(0, 1), 16, 16),
        "max_histogram_distance": _number(0, 1),
        "cases": _integer(0, 10**9),
    },
    closed=True,
)


def _segmenter_files(where: str, value: Any) -> None:
    _map(_map(_path))(where, value)
    for precision, files in value.items():
        wanted: Iterable[str] = ("checkpoint",) if precision == "torch" else COMPONENTS
        for name in wanted:
            if name not in files:
                _fail(f"{where}.{precision}", f"{name} is missing")


_SEGMENTER = _Fields(
    {"architecture": _object, "box_as_mask": _boolean, "files": _segmenter_files},
    {
        "memories": _nullable(_integer(1, 1000)),
        "memory_stride": _integer(1, 1000),
        # Some outputs of each component of a precision.
        "golden": _map(_map(_map(_list(_number(-math.inf), 0, 1000)))),
    },
)


def _figures(where: str, value: Any) -> None:
    _object(where, value)
    dice = value.get("dice")
    if isinstance(dice, dict):
        _map(_number(0, 1))(f"{where}.dice", dice)
    elif dice is not None:
        _number(0, 1)(f"{where}.dice", dice)


def _measured(where: str, value: Any) -> None:
    _figures(where, value)
    if "int8" in value:
        _figures(f"{where}.int8", value["int8"])


# Patients by part of the split.
_TRAINING = _Fields({}, {"split": _map(_list(_name, 0, 10**6))})
_TOP: dict[str, _Check] = {
    "schema": _integer(SCHEMA_VERSION, SCHEMA_VERSION),
    "name": _name,
    "version": _name,
    "task": _text,
    "licence": _text,
    "modalities": _list(_name, 1, 16),
    "window": _nullable(_window),
    "plane": _one_of(*PLANES),
    "segments": _list(_SEGMENT, 1, 255),
    "detector": _DETECTOR,
    "linking": _LINKING,
    "following": _TRACKING,
    "segmenter": _SEGMENTER,
    "files": _map(_Fields({"sha256": _hash, "bytes": _integer(0, 10**13)}), _path),
}
