"""Cases from a CSV file: a row for each case, a column for each modality."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from automedsam.cohort.case import Case
from automedsam.contract.modality_names import modalities_in
from automedsam.errors import AutoMedSAMError

_CASE, _IMAGE, _REFERENCE = "case", "image", "reference"


def cases_of_csv(path: Path, modalities: Sequence[str]) -> list[Case]:
    """Reads cases from a CSV file.

    Columns: "case", one for each modality of the model, named as the model names it (or "image" for a model of one),
    and perhaps "reference". Relative paths start at the file's folder. Fields are separated by commas, semicolons or
    tabs.

    Raises:
        AutoMedSAMError: If it cannot be read, lacks a column, names a case twice or has no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text: save it as CSV in UTF-8."
        raise AutoMedSAMError(message) from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check its permissions."
        raise AutoMedSAMError(message) from error
    lines = text.splitlines()
    if not lines:
        message = f'{path} is empty: its first line must name the columns, "case" and {_wanted(modalities)}.'
        raise AutoMedSAMError(message)
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        message = f"{path} is not a CSV file that can be read ({error}): save it again from a spreadsheet."
        raise AutoMedSAMError(message) from error
    header = [name.strip() for name in rows[0]]
    columns = _columns(path, header, modalities)
    seen: dict[str, int] = {}
    cases = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(field.strip() for field in row):
            continue
        cases.append(_case(path, number, dict(zip(header, row, strict=False)), columns, seen))
    if not cases:
        message = f"{path} names no case: add a row for each below the line of columns."
        raise AutoMedSAMError(message)
    return cases


def _wanted(modalities: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in modalities)


def _columns(path: Path, header: Sequence[str], modalities: Sequence[str]) -> dict[str, str]:
    """The column of each modality, and "case" and "reference" where there is one."""
    lower = {name.lower(): name for name in header}
    if len(lower) < len(header):
        message = f"{path} names a column twice ({', '.join(header)}): rename one."
        raise AutoMedSAMError(message)
    found = {name: lower[name] for name in (_CASE, _REFERENCE) if name in lower}
    for wanted in modalities:
        column = lower.get(wanted.lower()) or _alike(wanted, header, found)
        if column is None and len(modalities) == 1:
            column = lower.get(_IMAGE)
        if column is not None:
            found[wanted] = column
    missing = [name for name in (_CASE, *modalities) if name not in found]
    if missing:
        message = (
            f'{path} has no column "{missing[0]}" (its columns are {", ".join(header)}): the model needs "case" and '
            f"{_wanted(modalities)}."
        )
        raise AutoMedSAMError(message)
    return found


def _alike(wanted: str, header: Sequence[str], taken: dict[str, str]) -> str | None:
    roles = modalities_in(wanted)
    fitting = [name for name in header if name not in taken.values() and roles and modalities_in(name) == roles]
    return fitting[0] if len(fitting) == 1 else None


def _case(path: Path, number: int, row: dict[str, str], columns: dict[str, str], seen: dict[str, int]) -> Case:
    values = {name: row.get(column, "").strip() for name, column in columns.items()}
    name = values.pop(_CASE)
    if not name:
        message = f'Line {number} of {path} has no case: fill in the column "{columns[_CASE]}".'
        raise AutoMedSAMError(message)
    if name in seen:
        message = f"{path} names the case {name} twice (lines {seen[name]} and {number}): give each row its own name."
        raise AutoMedSAMError(message)
    seen[name] = number
    reference = values.pop(_REFERENCE, "")
    empty = [modality for modality, value in values.items() if not value]
    problem = f"{name} has no {empty[0]} image in line {number} of {path.name}: fill it in." if empty else ""
    paths = tuple((path.parent / value).absolute() for value in values.values() if value)
    return Case(name, paths, (path.parent / reference).absolute() if reference else None, problem)
