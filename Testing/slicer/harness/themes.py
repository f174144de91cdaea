"""Slicer's dark theme: the colors of its style "Dark Slicer" over the harness's light ones."""

import contextlib
from collections.abc import Iterator

import slicer
from PySide6.QtGui import QColor, QPalette

# As `qSlicerDarkStyle` has them (Slicer 5.12); those of disabled widgets follow.
_DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "ToolTipBase": "#ffffff",
    "ToolTipText": "#323232",
    "Text": "#ffffff",
    "Button": "#323232",
    "ButtonText": "#ffffff",
    "BrightText": "#ff0000",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Mid": "#2b2b2b",
    "Dark": "#232323",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "#ffffff",
    "Link": "#3ca4ff",
}
_DISABLED = {
    "WindowText": "#6d6d6d",
    "Text": "#6d6d6d",
    "ButtonText": "#b4b4b4",
    "Highlight": "#505050",
    "HighlightedText": "#6d6d6d",
}


@contextlib.contextmanager
def dark() -> Iterator[None]:
    """Within it, the application is dark, as after a change of the style in Slicer's settings."""
    light = QPalette(slicer.app.palette())
    palette = QPalette(light)
    for role, color in _DARK.items():
        palette.setColor(getattr(QPalette.ColorRole, role), QColor(color))
    for role, color in _DISABLED.items():
        palette.setColor(QPalette.ColorGroup.Disabled, getattr(QPalette.ColorRole, role), QColor(color))
    slicer.app.setPalette(palette)
    slicer.app.processEvents()
    try:
        yield
    finally:
        slicer.app.setPalette(light)
        slicer.app.processEvents()
