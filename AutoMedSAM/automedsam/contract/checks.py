"""Checks of JSON values, field by field: what a manifest or a request must be, in words that name the field.

A check is called with the field's path, such as `detector.labels[0]`, and its value. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from unicodedata import category

Check = Callable[[str, Any], None]

_MAX_NUMBER = 1e300


class FieldError(ValueError):
    """A field that is missing or wrong, or text that is no JSON object; the message names it."""


def parse_object(content: bytes) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        content: UTF-8 text, with or without a byte order mark.

    Raises:
        FieldError: If it is not one, or is nested too deeply for a parser, or has numbers that JSON does not have.
    """
    try:
        parsed = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        message = "it is not UTF-8 text"
        raise FieldError(message) from error
    except json.JSONDecodeError as error:
        message = f"it is not JSON: {error}"
        raise FieldError(message) from error
    except RecursionError as error:
        message = "it is nested too deeply"
        raise FieldError(message) from error
    except FieldError:
        raise
    except ValueError as error:
        # Python reads no integer of more than 4300 digits.
        message = "it contains a number of too many digits"
        raise FieldError(message) from error
    if not isinstance(parsed, dict):
        message = "it is not a JSON object"
        raise FieldError(message)
    return parsed


def _refuse_constant(constant: str) -> NoReturn:
    message = f"it contains {constant}, which is not a number"
    raise FieldError(message)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        message = f"it contains {digits:.60}, which is too large"
        raise FieldError(message)
    return value


def fail(where: str, reason: str) -> NoReturn:
    """Raises the error for a field."""
    message = f"{where}: {reason}" if where else reason
    raise FieldError(message)


def shown(value: Any) -> str:
    """A value for a sentence, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_text(where: str, value: Any) -> None:
    """Text that can be shown; line breaks and tabs are allowed."""
    if not isinstance(value, str):
        fail(where, f"{shown(value)} is not text")
    # Half of a surrogate pair cannot be written to a terminal or a file; control characters may command a terminal.
    if any(category(letter) in ("Cc", "Cs") for letter in value if letter not in "\n\t"):
        fail(where, f"{shown(value)} has characters that cannot be shown")


def is_name(where: str, value: Any) -> None:
    """Text on one line that is not empty."""
    is_text(where, value)
    if not value.strip():
        fail(where, "it is empty")
    if any(category(letter) in ("Cc", "Zl", "Zp") for letter in value):
        fail(where, f"{shown(value)} is not on one line")


def is_boolean(where: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        fail(where, f"{shown(value)} is not true or false")


def is_object(where: str, value: Any) -> None:
    """A JSON object."""
    if not isinstance(value, dict):
        fail(where, f"{shown(value)} is not an object")


def number(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from `low` (or `above` it) to `high`."""

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            fail(where, f"{shown(value)} is not a number")
        # Compared, never converted: an integer of many digits has no float.
        if not abs(value) <= _MAX_NUMBER:
            fail(where, f"{shown(value)} is too large")
        if not (low < value if above else low <= value) or value > high:
            least = f"{'above' if above else 'at least'} {low:g}"
            fail(where, f"{shown(value)} is not {least}" + (f" and at most {high:g}" if high < math.inf else ""))

    return check


def integer(low: int, high: int) -> Check:
    """A whole number from `low` to `high`."""
    in_range = number(low, high)

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            fail(where, f"{shown(value)} is not a whole number")
        in_range(where, value)

    return check


def one_of(*choices: str | None) -> Check:
    """One of some texts, or None."""

    def check(where: str, value: Any) -> None:
        if not (value is None or isinstance(value, str)) or value not in choices:
            fail(where, f"{shown(value)} is none of {', '.join(str(choice) for choice in choices)}")

    return check


def nullable(of: Check) -> Check:
    """None, or what another check allows."""
    return lambda where, value: None if value is None else of(where, value)


def list_of(of: Check, low: int, high: int) -> Check:
    """A list of `low` to `high` values."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            count = f"{low}" if low == high else f"{low} to {high}"
            fail(where, f"{shown(value)} is not a list of {count}")
        for index, one in enumerate(value):
            of(f"{where}[{index}]", one)

    return check


def map_of(of: Check, keys: Check = is_text) -> Check:
    """An object of any fields, whose names and values are checked."""

    def check(where: str, value: Any) -> None:
        is_object(where, value)
        for key, one in value.items():
            keys(where, key)
            of(f"{where}.{key}", one)

    return check


def range_of(of: Check) -> Check:
    """Lowest and highest value."""

    def check(where: str, value: Any) -> None:
        list_of(of, 2, 2)(where, value)
        if value[0] > value[1]:
            fail(where, f"{value[0]:g} is above {value[1]:g}")

    return check


class Fields:
    """Checks an object field by field.

    Args:
        required: Check by name.
        optional: Check by name of fields that may be left out.
        closed: Whether other fields are an error.
    """

    def __init__(
        self, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *, closed: bool = False
    ) -> None:
        self._required, self._optional, self._closed = required, optional or {}, closed

    def __call__(self, where: str, value: Any) -> None:
        is_object(where, value)
        for name in self._required:
            if name not in value:
                fail(where, f"{name} is missing")
        checks = {**self._required, **self._optional}
        for name, one in value.items():
            if name in checks:
                checks[name](f"{where}.{name}" if where else name, one)
            elif self._closed:
                fail(where, f"this version does not know {shown(name)}: update AutoMedSAM")
