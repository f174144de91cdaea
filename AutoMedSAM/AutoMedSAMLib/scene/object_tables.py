"""The measures of a result as a table node and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

# The names of the columns are those of `automedsam measure`.
_COLUMNS = (
    ("segment", "segment"),
    ("object", "number"),
    ("volume_ml", "ml"),
    ("first_slice", "first"),
    ("last_slice", "last"),
    ("slices", "slice_count"),
    ("diameter_slice", "diameter_slice"),
    ("largest_diameter_mm", "long_mm"),
    ("perpendicular_diameter_mm", "short_mm"),
    ("product_mm2", "product"),
    ("agreement", "agreement"),
    ("doubtful_count", "doubtful_count"),
    ("doubtful_slices", "doubtful_slices"),
    ("dice", "dice"),
)


def rows_of(measures: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """One row for each segment and object, as text; what is not known is empty."""
    rows = []
    for one in measures:
        first, last = one["slices"] or ("", "")
        judged = one["agreement"] is not None
        fields = {
            **one,
            "number": "all" if one["number"] is None else one["number"],
            "first": first,
            "last": last,
            "product": one["long_mm"] * one["short_mm"],
            "doubtful_count": len(one["doubtful"]) if judged else None,
            "doubtful_slices": " ".join(map(str, one["doubtful"])),
        }
        rows.append({name: _text(fields[key]) for name, key in _COLUMNS})
    return rows


def to_csv(measures: Sequence[dict[str, Any]]) -> str:
    """The measures as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [name for name, _ in _COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(measures))
    return text.getvalue()


def to_table_node(measures: Sequence[dict[str, Any]], name: str) -> slicer.vtkMRMLTableNode:
    """A new table node with the measures."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    rows = rows_of(measures)
    for column, _ in _COLUMNS:
        array = vtk.vtkStringArray()
        array.SetName(column)
        for row in rows:
            array.InsertNextValue(row[column])
        node.AddColumn(array)
    return node


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
