"""The columns of the table of objects: headers, rows and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.run import Message

OBJECT, LABEL, VOLUME, SLICES, DIAMETERS, AGREEMENT, DOUBTFUL, DICE = range(8)
INDEX = qt.Qt.UserRole
_SWATCH = 11

_SORTED_BY: dict[int, Callable[[Message], Any]] = {
    OBJECT: lambda one: (one["label"], one["number"] or 0),
    LABEL: lambda one: one["segment"].casefold(),
    VOLUME: lambda one: one["ml"],
    SLICES: lambda one: one["slices"],
    DIAMETERS: lambda one: one["long_mm"],
    AGREEMENT: lambda one: one["agreement"],
    DOUBTFUL: lambda one: len(one["doubtful"]),
    DICE: lambda one: one["dice"],
}


def in_order(rows: Sequence[Message], column: int, *, descending: bool) -> list[Message]:
    """Measures in the order of a column. Totals of segments come first, and what has no value last.

    Args:
        rows: Measures.
        column: A column; the number of any other leaves the rows as they are.
        descending: Whether the largest value comes first.
    """
    value = _SORTED_BY.get(column)
    if value is None or (column == OBJECT and not descending):
        return list(rows)
    known = sorted((one for one in rows if value(one) is not None), key=value, reverse=descending)
    ordered = known + [one for one in rows if value(one) is None]
    return [one for one in ordered if one["number"] is None] + [one for one in ordered if one["number"] is not None]


def item_of(index: int, one: Message, color: Any) -> Any:
    """The row of a measure.

    Args:
        index: Kept under `INDEX`.
        one: The measure.
        color: That of the segment, 0 to 1; None if it is not known.
    """
    item = qt.QTreeWidgetItem()
    item.setText(OBJECT, _("All") if one["number"] is None else str(one["number"]))
    item.setToolTip(OBJECT, one["segment"])
    item.setData(OBJECT, INDEX, index)
    item.setText(LABEL, one["segment"])
    item.setToolTip(LABEL, one["segment"])
    if color is not None:
        pixmap = qt.QPixmap(_SWATCH, _SWATCH)
        pixmap.fill(qt.QColor.fromRgbF(*color))
        item.setIcon(OBJECT, qt.QIcon(pixmap))
    item.setText(VOLUME, f"{one['ml']:.2f}")
    if one["slices"] is not None:
        first, last = one["slices"]
        item.setText(SLICES, f"{first}-{last}")
        item.setText(DIAMETERS, f"{one['long_mm']:.1f} x {one['short_mm']:.1f}")
        tip = _("Slice {slice}; product {product} mm2").format(
            slice=one["diameter_slice"], product=f"{one['long_mm'] * one['short_mm']:.0f}"
        )
        item.setToolTip(DIAMETERS, tip)
    if one["agreement"] is not None:
        item.setText(AGREEMENT, f"{one['agreement']:.0%}")
        item.setText(DOUBTFUL, str(len(one["doubtful"])))
        item.setToolTip(DOUBTFUL, ", ".join(map(str, one["doubtful"])))
    if one["dice"] is not None:
        item.setText(DICE, f"{one['dice']:.3f}")
    return item


def header_texts() -> list[tuple[str, str]]:
    """The header of each column, with its tool tip."""
    return [
        (
            _("Object"),
            _(
                "The color is that of the segment. Click a row: the slice views go to its largest diameter, and its "
                "boxes are selected below."
            ),
        ),
        (_("Label"), _("The segment of the object.")),
        (_("ml"), _("Volume in milliliters, as of the last run.")),
        (_("Slices"), _("First and last slice.")),
        (_("Ø, mm"), _("The largest diameter on a slice and the largest one perpendicular to it (RECIST, RANO).")),
        (_("Agree"), _("Mean confidence of the object's slices: how well box and mask agree.")),
        (_("Uncertain"), _("Slices with a confidence below 50 %.")),
        (
            _("Dice"),
            _("Overlap with the reference; an object's is that with the parts of the reference that it meets."),
        ),
    ]
