"""Colors that the panel draws itself, on a light and on a dark theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def faded_text(widget: Any, share: float) -> Any:
    """The color of a widget's text, less opaque.

    Args:
        widget: the widget.
        share: of the opacity, 0 to 1.

    Returns:
        The QColor.
    """
    color = qt.QColor(widget.palette.color(qt.QPalette.Text))
    color.setAlphaF(share)
    return color


class ThemeWatch(qt.QObject):
    """Calls a function whenever a widget has got other colors, since the theme was changed.

    Args:
        widget: the widget.
        on_changed: the function.
    """

    def __init__(self, widget: Any, on_changed: Callable[[], None]) -> None:
        super().__init__()
        self._on_changed = on_changed
        widget.installEventFilter(self)

    def eventFilter(self, _widget: Any, event: Any) -> bool:
        if event.type() == qt.QEvent.PaletteChange:
            self._on_changed()
        return False
