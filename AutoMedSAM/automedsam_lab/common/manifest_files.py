"""Manifests that are read with pydantic: a faulty file ends in one sentence with the path of the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from automedsam.errors import AutoMedSAMError

_Model = TypeVar("_Model", bound="ManifestModel")
_LONGEST_VALUE = 40


class ManifestModel(BaseModel):
    """A JSON object of a manifest. Fields that this version does not know are left to later versions."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True, populate_by_name=True)


def read_json_object(path: Path, *, missing: str, repair: str) -> dict[str, Any]:
    """Reads a JSON file that holds an object; see `read_manifest` for the arguments.

    Raises:
        AutoMedSAMError: The file is missing, cannot be read, is not JSON, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"There is no {path}; {missing}."
        raise AutoMedSAMError(message) from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check its permissions."
        raise AutoMedSAMError(message) from error
    except ValueError as error:
        message = f"{path} is not JSON ({error}); {repair}."
        raise AutoMedSAMError(message) from error
    if not isinstance(content, dict):
        message = f"{path} holds no JSON object; {repair}."
        raise AutoMedSAMError(message)
    return content


def read_manifest(path: Path, model: type[_Model], *, schema: int, missing: str, repair: str) -> _Model:
    """Reads a manifest.

    Args:
        path: The JSON file.
        model: What it must hold.
        schema: The version of the layout that is read.
        missing: What to do if there is no such file, as the end of a sentence.
        repair: What to do if it is faulty, as the end of a sentence.

    Raises:
        AutoMedSAMError: The file is missing, is not JSON, is of another version, or a field is missing or faulty.
    """
    content = read_json_object(path, missing=missing, repair=repair)
    if "schema" in content and content["schema"] != schema:
        message = f"{path} has schema {content['schema']!r}, and this version reads {schema}; {repair}."
        raise AutoMedSAMError(message)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        message = f"{path}: {_first_fault(error)}; {repair}."
        raise AutoMedSAMError(message) from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    field, reason = _field_path(fault["loc"]), fault["msg"].rstrip(".")
    more = f" ({error.error_count()} faults in all)" if error.error_count() > 1 else ""
    if fault["type"] == "missing":
        return f"the field {field} is missing{more}"
    value = json.dumps(fault["input"], default=str)
    shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
    return f"the field {field} is {shown}: {reason[:1].lower()}{reason[1:]}{more}"


def _field_path(location: tuple[Any, ...]) -> str:
    """A location as `cases[3].patient`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f"{'.' if path else ''}{step}"
    return path or "(the whole file)"
