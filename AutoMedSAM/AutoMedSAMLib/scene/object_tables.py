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
    return _table_node(rows_of(measures), [column for column, _ in _COLUMNS], name)


def volumes_table(rows: Sequence[dict[str, Any]], segments: Sequence[str], name: str) -> slicer.vtkMRMLTableNode:
    """A new table node with a row for each image: its state, and the volume of each segment in ml.

    Args:
        rows: "image", "state", and what is known of "objects", "warnings" and the ml of each segment by its name.
        segments: the names of the segments.
        name: the node's name.
    """
    columns = {"image": "image", "state": "state", "objects": "objects"}
    columns |= {f"{segment} (ml)": segment for segment in segments} | {"warnings": "warnings"}
    text = [{column: _text(row.get(key)) for column, key in columns.items()} for row in rows]
    return _table_node(text, list(columns), name)


def _table_node(rows: Sequence[dict[str, str]], columns: Sequence[str], name: str) -> slicer.vtkMRMLTableNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    for column in columns:
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
