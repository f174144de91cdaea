"""The three splits of a dataset, each by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from automedsam.errors import AutoMedSAMError

SPLITS = ("train", "val", "test")
# Not a split of its own: every case that neither trains nor selects a model.
UNSEEN = "unseen"
# The name of the second split until version 0.2, which is still accepted.
_OLD_NAMES = {"validation": "val"}

_Item = TypeVar("_Item")


def current_name(name: str) -> str:
    """The name of a split that may be given by its old name; other words stay as they are."""
    return _OLD_NAMES.get(name, name)


def split_name(name: str, known: Sequence[str] = (*SPLITS, UNSEEN)) -> str:
    """The name of a split as a user gave it.

    Args:
        name: "train", "val" (or "validation"), "test" or "unseen".
        known: The names that are allowed.

    Raises:
        AutoMedSAMError: There is no such split.
    """
    found = current_name(name)
    if found not in known:
        message = f"There is no split {name!r}; choose one of {', '.join(known)}."
        raise AutoMedSAMError(message)
    return found


def evenly_spaced(items: Sequence[_Item], limit: int | None) -> list[_Item]:
    """At most `limit` of the items, evenly spaced; all if it is None."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]
