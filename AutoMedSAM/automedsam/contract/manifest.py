"""The manifest of a bundle, `bundle.json`: read and checked field by field before anything is built from it.

Standard library only, so that every side that reads bundles can use it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from automedsam.contract.backends import Backend
from automedsam.contract.channels import SEGMENTER_CHANNELS, check_channels
from automedsam.contract.checks import (
    Check,
    FieldError,
    Fields,
    fail,
    integer,
    is_boolean,
    is_name,
    is_object,
    is_text,
    list_of,
    map_of,
    nullable,
    number,
    one_of,
    parse_object,
    range_of,
    shown,
)
from automedsam.contract.errors import AutoMedSAMError
from automedsam.contract.planes import PLANES
from automedsam.contract.roles import DICOM_KEYWORDS

MANIFEST_NAME = "bundle.json"
SCHEMA_VERSION = 2
# How INT8 files were added to a bundle after it was installed, and what its hash was before.
INT8_MADE_HERE = "int8_made_here"
# What schema 1 called differently.
_SCHEMA_1_NAMES = {"license": "licence", "tracking": "following"}

COMPONENTS = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")

_MAX_BYTES = 16_000_000
# What file systems allow for a name, and for a path below any folder.
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
        manifest = _in_names_of_today(manifest)
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


def _in_names_of_today(manifest: dict[str, Any]) -> dict[str, Any]:
    """Checks a manifest by its own schema, and gives one of schema 1 the names of schema 2."""
    if type(manifest.get("schema")) is not int or manifest["schema"] != 1:
        check_manifest(manifest)
        return manifest
    _check(manifest, _TOP_1)
    new_names = {old: new for new, old in _SCHEMA_1_NAMES.items()}
    return {new_names.get(name, name): value for name, value in manifest.items()} | {"schema": SCHEMA_VERSION}


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Checks every field that this version uses.

    Raises:
        FieldError: Names the first field that is missing or wrong.
    """
    _check(manifest, _TOP)


def _check(manifest: Mapping[str, Any], fields: dict[str, Check]) -> None:
    Fields(fields, _TOP_OPTIONAL)("", manifest)
    values = [segment["value"] for segment in manifest["segments"]]
    labels = manifest["detector"]["labels"]
    if len(set(values)) < len(values):
        fail("segments", f"two segments have the same value: {values}")
    if len(set(labels)) < len(labels) or not set(labels) <= set(values):
        fail("detector.labels", f"{labels} are not different values of segments {values}")
    check_channels(manifest)
    for relative in named_files(manifest):
        if relative not in manifest["files"]:
            fail("files", f"{shown(relative)[1:-1]} has no hash")


def manifest_hash(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a bundle's manifest as it was installed; INT8 files that were made since do not change it.

    Results, drawn boxes and cohorts are kept with this hash.

    Raises:
        OSError: If the manifest cannot be read.
    """
    made = manifest.get(INT8_MADE_HERE)
    return str(made["installed_hash"]) if made else hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()


def named_files(manifest: Mapping[str, Any]) -> list[str]:
    """The files that the detector and the segmenter name, each once."""
    segmenter = (path for files in manifest["segmenter"]["files"].values() for path in files.values())
    return list(dict.fromkeys([*manifest["detector"]["files"].values(), *segmenter]))


def _parse(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        message = f"it is larger than {_MAX_BYTES / 1e6:.0f} MB"
        raise FieldError(message)
    return parse_object(content)


def _input_side(where: str, value: Any) -> None:
    integer(32, 4096)(where, value)
    if value % 32:
        fail(where, f"{value} is not a multiple of 32")


def _window(where: str, value: Any) -> None:
    list_of(number(-math.inf), 2, 2)(where, value)
    if not value[0] < value[1]:
        fail(where, f"{value[0]:g} is not below {value[1]:g}")


def _path(where: str, value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        fail(where, f"{shown(value)} is not a file's name")
    is_name(where, value)
    path = PurePosixPath(value)
    too_long = any(len(part.encode()) > _MAX_NAME_BYTES for part in path.parts)
    if too_long or len(value.encode()) > _MAX_PATH_BYTES or path.name in ("", "."):
        fail(where, f"{shown(value)} is not a file's name")
    climbs = ".." in path.parts[1:] or path.is_absolute() or "\\" in value or ":" in value
    if climbs or path.parts == ("..",):
        fail(where, f"{shown(value)} is outside its folder and the folders beside it")


def is_sha256(where: str, value: Any) -> None:
    """A SHA-256 as 64 hexadecimal digits in lower case."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        fail(where, f"{shown(value)} is not a SHA-256 in hexadecimal digits")


_FRACTION = number(0, 1, above=True)
_SEGMENT = Fields(
    {"value": integer(1, 255), "name": is_name, "color": list_of(number(0, 1), 3, 3), "terminology": is_text},
    {"inside": nullable(integer(1, 255)), "segmented_on": nullable(is_name)},
)
_DETECTOR = Fields(
    {
        "input_size": list_of(_input_side, 2, 2),
        "labels": list_of(integer(1, 255), 1, 255),
        "context_mm": number(0, 1e4),
        "score_threshold": _FRACTION,
        "nms_iou": _FRACTION,
        "mirror": one_of(None, "columns", "slices"),
        "files": map_of(_path),
    },
    {"fit": one_of("stretch", "letterbox"), "channels": list_of(is_name, 1, 64)},
)
_LINKING = Fields(
    {},
    {
        "member_share": number(0, 1),
        "iou": number(0, 1),
        "max_gap_mm": number(0, 1e6),
        "min_extent_mm": number(0, 1e6),
        "max_objects": nullable(integer(1, 10**6)),
    },
    closed=True,
)
_TRACKING = Fields(
    {"fill": _FRACTION, "prompt_score": number(0, 1e6), "reach_mm": number(0, 1e6), "margin": number(0, 1e3)},
    closed=True,
)


_RANGE = range_of(number(0, 1e6))
_EXPECTED_INPUT = Fields(
    {},
    {
        "skull": one_of("stripped", "any"),
        "single_image": is_boolean,
        "slice_spacing_mm": _RANGE,
        "pixel_spacing_mm": _RANGE,
        "extent_mm": list_of(_RANGE, 3, 3),
        "histogram": list_of(number(0, 1), 16, 16),
        "max_histogram_distance": number(0, 1),
        "cases": integer(0, 10**9),
    },
    closed=True,
)


def _segmenter_files(where: str, value: Any) -> None:
    map_of(map_of(_path))(where, value)
    for precision, files in value.items():
        wanted: Iterable[str] = ("checkpoint",) if precision == Backend.FP32_TORCH.files_key else COMPONENTS
        for name in wanted:
            if name not in files:
                fail(f"{where}.{precision}", f"{name} is missing")


_SEGMENTER = Fields(
    {"architecture": is_object, "box_as_mask": is_boolean, "files": _segmenter_files},
    {
        "channels": list_of(is_name, SEGMENTER_CHANNELS, SEGMENTER_CHANNELS),
        "memories": nullable(integer(1, 1000)),
        "memory_stride": integer(1, 1000),
        "knows_points": is_boolean,
        # Some outputs of each component of a precision.
        "golden": map_of(map_of(map_of(list_of(number(-math.inf), 0, 1000)))),
    },
)


def _figures(where: str, value: Any) -> None:
    is_object(where, value)
    dice = value.get("dice")
    if isinstance(dice, dict):
        map_of(number(0, 1))(f"{where}.dice", dice)
    elif dice is not None:
        number(0, 1)(f"{where}.dice", dice)


def _measured(where: str, value: Any) -> None:
    _figures(where, value)
    if "int8" in value:
        _figures(f"{where}.int8", value["int8"])


# Patients by part of the split.
_TRAINING = Fields({}, {"split": map_of(list_of(is_name, 0, 10**6))})
# What a modality is also called in names of files, and in values of DICOM attributes by keyword.
_ROLE = Fields(
    {},
    {
        "synonyms": list_of(is_name, 0, 100),
        "dicom": map_of(list_of(is_name, 1, 100), one_of(*DICOM_KEYWORDS)),
    },
    closed=True,
)
_TOP_OPTIONAL: dict[str, Check] = {
    "caution": is_text,
    "expected_input": _EXPECTED_INPUT,
    "measured": _measured,
    "training": _TRAINING,
    "roles": map_of(_ROLE),
    "windows": map_of(nullable(_window)),
    INT8_MADE_HERE: Fields({"installed_hash": is_sha256, "hash": is_sha256}),
}
_TOP: dict[str, Check] = {
    "schema": integer(SCHEMA_VERSION, SCHEMA_VERSION),
    "name": is_name,
    "version": is_name,
    "task": is_text,
    "license": is_text,
    "modalities": list_of(is_name, 1, 16),
    "window": nullable(_window),
    "plane": one_of(*PLANES),
    "segments": list_of(_SEGMENT, 1, 255),
    "detector": _DETECTOR,
    "linking": _LINKING,
    "tracking": _TRACKING,
    "segmenter": _SEGMENTER,
    "files": map_of(Fields({"sha256": is_sha256, "bytes": integer(0, 10**13)}), _path),
}
_TOP_1 = {_SCHEMA_1_NAMES.get(name, name): check for name, check in _TOP.items()} | {"schema": integer(1, 1)}
