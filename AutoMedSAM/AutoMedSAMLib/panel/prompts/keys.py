"""The panel's keys. They work while the module is open, and none of them is one of Slicer's own there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt

# In a slice view, B is Slicer's key for the previous slice: it draws boxes where the focus is in the panel.
IN_PANEL_ONLY = frozenset({"B"})


class Keys:
    """Single keys that click buttons.

    Args:
        panel: the widget that the panel is in.
        actions: what each key does.
    """

    def __init__(self, panel: Any, actions: Mapping[str, Callable[[], None]]) -> None:
        self._shortcuts = [_shortcut(panel, key, action) for key, action in actions.items()]

    def listen(self, listening: bool) -> None:
        """Whether the keys work."""
        for shortcut in self._shortcuts:
            shortcut.enabled = listening


def _shortcut(panel: Any, key: str, action: Callable[[], None]) -> Any:
    shortcut = qt.QShortcut(qt.QKeySequence(key), panel)
    # Text fields keep the keys that are typed into them.
    in_panel = key in IN_PANEL_ONLY
    shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut if in_panel else qt.Qt.WindowShortcut)
    shortcut.connect("activated()", action)
    return shortcut
