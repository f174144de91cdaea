"""Whether the texts in a picture of a widget can be read: their contrast, by WCAG 2.2, in the pixels themselves."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import qt

# WCAG 2.2, 1.4.3; a disabled widget has no limit there, but its text has to be seen.
ENABLED, DISABLED = 4.5, 1.4
# In Qt's pixels: an icon before a text, and the room that a frame takes.
_ICON, _FRAME = 22, 4
_PANES = (qt.QLabel, qt.QAbstractButton, qt.QComboBox, qt.QLineEdit, qt.QPlainTextEdit, qt.QTextEdit)


def faint_texts(widget: Any, picture: Any) -> dict[str, float]:
    """The texts in a widget that cannot be read well.

    Args:
        widget: the widget, shown and laid out.
        picture: its `widget_picture`.

    Returns:
        Contrast, from 1 to 21, by text; empty if all can be read.
    """
    pixels = _luminance(picture)
    scale = picture.devicePixelRatio()
    found = {}
    for text, place, enabled in _texts(widget):
        left, top, right, bottom = (round(scale * at) for at in place)
        contrast = _contrast(pixels[max(top, 0) : bottom, max(left, 0) : right])
        if contrast is not None and contrast < (ENABLED if enabled else DISABLED):
            found[text] = contrast
    return found


def _texts(widget: Any) -> Iterator[tuple[str, tuple[int, int, int, int], bool]]:
    """Each text, the left, top, right and bottom of its place in the widget, and whether it is enabled."""
    for kind in _PANES:
        for pane in widget.findChildren(kind):
            text = _text_of(pane)
            if text and pane.isVisibleTo(widget) and not pane.visibleRegion().isEmpty():
                frame = 0 if isinstance(pane, qt.QLabel) else _FRAME
                yield text, _place(pane, pane.rect, widget, frame, 0), pane.isEnabled()
    for tree in widget.findChildren(qt.QTreeWidget):
        if tree.isVisibleTo(widget):
            yield from _cells(tree, widget)


def _text_of(pane: Any) -> str:
    if isinstance(pane, qt.QComboBox):
        return pane.currentText
    if isinstance(pane, qt.QTextEdit | qt.QPlainTextEdit):
        return pane.toPlainText()
    if isinstance(pane, qt.QLineEdit):
        return pane.text or pane.placeholderText
    return pane.text.replace("&", "")


def _cells(tree: Any, widget: Any) -> Iterator[tuple[str, tuple[int, int, int, int], bool]]:
    """What is in sight of a tree's cells, but for the selected ones, whose colors are Slicer's alone."""
    items = qt.QTreeWidgetItemIterator(tree)
    view = tree.viewport().rect
    while (item := items.value()) is not None:
        for column in range(tree.columnCount):
            rect = tree.visualRect(tree.indexFromItem(item, column))
            text = item.text(column)
            if text and not rect.isEmpty() and view.contains(rect) and not item.isSelected():
                icon = 0 if item.icon(column).isNull() else _ICON
                yield text, _place(tree.viewport(), rect, widget, 0, icon), tree.isEnabled() and not item.isDisabled()
        items += 1


def _place(pane: Any, rect: Any, widget: Any, frame: int, icon: int) -> tuple[int, int, int, int]:
    corner = pane.mapTo(widget, rect.topLeft())
    left, top = corner.x(), corner.y()
    right, bottom = left + rect.width(), top + rect.height()
    return left + frame + icon, top + frame, right - frame, bottom - frame


def _contrast(pixels: np.ndarray) -> float | None:
    """Between the commonest luminance and the one that differs most from it; None where there are no pixels."""
    if not pixels.size:
        return None
    values, counts = np.unique(pixels.round(4), return_counts=True)
    behind = values[counts.argmax()]
    ratios = (np.maximum(values, behind) + 0.05) / (np.minimum(values, behind) + 0.05)
    return float(ratios.max())


def _luminance(picture: Any) -> np.ndarray:
    """Relative luminance, 0 to 1, `(height, width)`."""
    image = picture.convertToFormat(qt.QImage.Format_RGB32)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    blue, green, red = (_linear(raw[:, : image.width(), channel] / 255) for channel in range(3))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
