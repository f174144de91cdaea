"""Who is in which part: drawn with a fixed seed, or read from a file that must not put a patient in two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS, draw_split
from automedsam_lab.data.splits import SPLITS, current_name

FRACTIONS = (0.7, 0.2, 0.1)
# Cases of a built-in task whose reference no expert drew: for training only.
_SILVER = "train_silver"
# Splits that the lab holds under a name.
WRITTEN = (HIPPOCAMPUS, GLIOMA, "chest-xray")
_FEWEST = 3
# Of an archive that holds out a test and leaves the rest to its user: shared out as 70 to 20.
TRAIN_OR_VAL = "train_val"
# An archive's own lists, ChestX-ray14's `train_val_list.txt` and `test_list.txt` and Kvasir-SEG's `train.txt` and
# `val.txt` among them: a name a line.
_LISTS = {
    f"{called}{ending}.txt": part
    for called, part in (("train", "train"), ("val", "val"), ("test", "test"), (TRAIN_OR_VAL, TRAIN_OR_VAL))
    for ending in ("", "_list")
}
_IMAGE_SUFFIX = re.compile(r"\.(?:png|jpe?g|nii|nii\.gz|mha|npz|dcm|mp4|avi)$", re.IGNORECASE)


def draw_splits(patients: Sequence[str], seed: int) -> dict[str, str]:
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
    return {patient: part for part, members in drawn.items() for patient in members}


def read_parts(split: str) -> dict[str, str]:
    """The part of each patient or case as a file says.

    Args:
        split: a JSON file `{"train": [...], "val": [...], "test": [...]}`, those under `parts` as well; a folder of
            text files such as `train.txt`; or the name of a split of the lab's own.

    Returns:
        "train", "val", "test" or `TRAIN_OR_VAL` by name.

    Raises:
        AutoMedSAMError: if the file or the folder is none such, or has a name in two parts.
    """
    stored = _stored(split)
    parts: dict[str, str] = {}
    twice = []
    for called, members in stored.items():
        part = "train" if called == _SILVER else current_name(called)
        if part not in (*SPLITS, TRAIN_OR_VAL) or not isinstance(members, list):
            message = f"The split {split} has a part {called!r}; write lists of patients under {', '.join(SPLITS)}."
            raise AutoMedSAMError(message)
        for member in map(str, members):
            if parts.setdefault(member, part) != part:
                twice.append(member)
    if twice:
        raise AutoMedSAMError(in_two_parts(split, twice))
    return parts


def assign_patients(
    patients: Sequence[tuple[str, Sequence[str]]], written: Mapping[str, str], split: str, seed: int
) -> Iterator[tuple[str, str | None]]:
    """The part of each patient by a written split, which may name the patient or any of the entries.

    Args:
        patients: each once, with the names of the entries.
        written: what `read_parts` returned.
        split: what the split is called.
        seed: to share out those whom the split leaves to train or val.

    Yields:
        Each patient's part, None where the split names neither patient nor entry.

    Raises:
        AutoMedSAMError: if it puts a patient's entries in two parts.
    """
    named = {
        patient: {written[known] for known in (patient, *entries) if known in written} for patient, entries in patients
    }
    twice = [patient for patient, parts in named.items() if len(parts) > 1]
    if twice:
        raise AutoMedSAMError(in_two_parts(split, twice))
    left = [patient for patient, parts in named.items() if TRAIN_OR_VAL in parts]
    val = max(1, round(len(left) * FRACTIONS[1] / (FRACTIONS[0] + FRACTIONS[1]))) if len(left) > 1 else 0
    drawn = draw_split(left, (val / max(1, len(left)), 0.0), seed)
    in_val = set(drawn["val"])
    for patient, parts in named.items():
        part = next(iter(parts), None)
        yield patient, ("val" if patient in in_val else "train") if part == TRAIN_OR_VAL else part


def in_two_parts(split: str, patients: Sequence[str]) -> str:
    """What to say of patients whom a split puts in two parts."""
    more = f" and {len(patients) - 5} more" if len(patients) > 5 else ""
    return (
        f"The split {split} puts {', '.join(sorted(patients)[:5])}{more} in two parts, so that what is tested was "
        "trained on; leave each patient in one."
    )


def _stored(split: str) -> Mapping[str, Any]:
    if split in WRITTEN:
        text = resources.files("automedsam_lab").joinpath("splits", f"{split}.json").read_text("utf-8")
    elif Path(split).is_dir():
        return _listed(Path(split))
    else:
        try:
            text = Path(split).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"The split {split} cannot be read ({error}); name a JSON file or one of {', '.join(WRITTEN)}."
            raise AutoMedSAMError(message) from error
    try:
        stored = json.loads(text)
    except ValueError as error:
        message = f"The split {split} is not JSON ({error}); write lists of patients under {', '.join(SPLITS)}."
        raise AutoMedSAMError(message) from error
    stored = stored.get("parts", stored) if isinstance(stored, dict) else None
    if not isinstance(stored, dict):
        message = f"The split {split} is no JSON object; write lists of patients under {', '.join(SPLITS)}."
        raise AutoMedSAMError(message)
    return stored


def _listed(folder: Path) -> dict[str, list[str]]:
    """The names in a folder's lists, without the endings of files."""
    found: dict[str, list[str]] = {}
    for name, part in _LISTS.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            message = f"The list {path} cannot be read ({error}); write a name a line."
            raise AutoMedSAMError(message) from error
        found.setdefault(part, []).extend(_IMAGE_SUFFIX.sub("", line) for line in lines)
    if not found:
        message = f"The split {folder} is a folder without lists; name one that holds train.txt, val.txt or test.txt."
        raise AutoMedSAMError(message)
    return found
