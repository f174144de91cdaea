"""The figures of a cohort as a spreadsheet, `cohort.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from automedsam.cohort.journal import Record
from automedsam.io.atomic import atomic_write

_MEASURES = (("volume_ml", "volume of {} (ml)"), ("diameter_mm", "diameter of {} (mm)"), ("dice", "Dice of {}"))
_FIGURES = ("objects", "slices", "confidence", "lowest_confidence", "doubt")


def write_table(path: Path, records: Iterable[Record], segments: Sequence[str]) -> None:
    """Writes a line for each case.

    Args:
        path: The file.
        records: The last record of each case.
        segments: The names of the model's segments.

    Raises:
        AutoMedSAMError: If it cannot be written.
    """
    columns = [title.format(name) for _, title in _MEASURES for name in segments]
    header = [
        "case", "state", "message", *columns, *(name.replace("_", " ") for name in _FIGURES),
        "doubtful slices", "warnings", "seconds", "segmentation",
    ]  # fmt: skip
    with atomic_write(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for record in records:
            writer.writerow(_row(record, segments))


def _row(record: Record, segments: Sequence[str]) -> list[Any]:
    figures = record.get("figures", {})
    measures = [figures.get(key, {}).get(name) for key, _ in _MEASURES for name in segments]
    return [
        _text(record["case"]),
        record["state"],
        _text(record["message"]),
        *measures,
        *(figures.get(name) for name in _FIGURES),
        " ".join(map(str, figures.get("doubtful_slices", []))),
        _text(" ".join(record.get("warnings", []))),
        record.get("seconds"),
        record.get("output", {}).get("path", ""),
    ]


def _text(value: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
