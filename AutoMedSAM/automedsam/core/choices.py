"""Options with a fixed set of values, given as an enumeration's member or by its value."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from automedsam.errors import AutoMedSAMError

_E = TypeVar("_E", bound=Enum)


def choice(kind: type[_E], value: _E | str) -> _E:
    """A member of an enumeration.

    Args:
        kind: The enumeration, such as `Plane`.
        value: A member, or the value of one, such as "axial".

    Raises:
        AutoMedSAMError: There is no such member.
    """
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in kind)
        message = f"There is no {kind.__name__.lower()} {value!r:.200}: choose one of {known}."
        raise AutoMedSAMError(message) from error
