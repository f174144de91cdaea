"""Who is in which part: drawn with a fixed seed, or read from a file that must not put a patient in two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.datasets import TASKS, draw_split

PARTS = ("train", "val", "test")
FRACTIONS = (0.7, 0.2, 0.1)
# What the lab's own splits call them; what no expert labelled trains and is never reported.
_ALSO_CALLED = {"validation": "val", "train_silver": "train"}
_FEWEST = 3


def draw_parts(patients: Sequence[str], seed: int) -> dict[str, str]:
    """The part of each patient, 70, 20 and 10 % of them.

    Args:
        patients: each once, in any order.
        seed: fixed, so that a second call draws the same.

    Returns:
        "train", "val" or "test" by patient. Of three patients or more each part has one; of fewer, all train.
    """
    total = len(patients)
    least = 1 if total >= _FEWEST else 0
    val, test = (max(least, round(total * share)) if least else 0 for share in FRACTIONS[1:])
    drawn = draw_split(patients, (val / max(1, total), test / max(1, total)), seed)
    return {patient: _ALSO_CALLED.get(part, part) for part, members in drawn.items() for patient in members}


def read_parts(split: str) -> dict[str, str]:
    """The part of each patient or case as a file says.

    Args:
        split: a JSON file `{"train": [...], "val": [...], "test": [...]}`, those under `parts` as well; or the name of
            a split of the lab's own.

    Returns:
        "train", "val" or "test" by name.

    Raises:
        AutoMedSAMError: if the file is none such, or has a name in two parts.
    """
    stored = _stored(split)
    parts: dict[str, str] = {}
    twice = []
    for called, members in stored.items():
        part = _ALSO_CALLED.get(called, called)
        if part not in PARTS or not isinstance(members, list):
            message = f"The split {split} has a part {called!r}; write lists of patients under {', '.join(PARTS)}."
            raise AutoMedSAMError(message)
        for member in map(str, members):
            if parts.setdefault(member, part) != part:
                twice.append(member)
    if twice:
        raise AutoMedSAMError(in_two_parts(split, twice))
    return parts


def in_two_parts(split: str, patients: Sequence[str]) -> str:
    """What to say of patients whom a split puts in two parts."""
    more = f" and {len(patients) - 5} more" if len(patients) > 5 else ""
    return (
        f"The split {split} puts {', '.join(sorted(patients)[:5])}{more} in two parts, so that what is tested was "
        "trained on; leave each patient in one."
    )


def _stored(split: str) -> Mapping[str, Any]:
    if split in TASKS:
        text = resources.files("automedsam_lab").joinpath("splits", f"{split}.json").read_text("utf-8")
    else:
        try:
            text = Path(split).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"The split {split} cannot be read ({error}); name a JSON file or one of {', '.join(TASKS)}."
            raise AutoMedSAMError(message) from error
    try:
        stored = json.loads(text)
    except ValueError as error:
        message = f"The split {split} is not JSON ({error}); write lists of patients under {', '.join(PARTS)}."
        raise AutoMedSAMError(message) from error
    stored = stored.get("parts", stored) if isinstance(stored, dict) else None
    if not isinstance(stored, dict):
        message = f"The split {split} is no JSON object; write lists of patients under {', '.join(PARTS)}."
        raise AutoMedSAMError(message)
    return stored
