"""Labels of several lines that are shown whole: a form's layout squeezes them where there is little room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


class WholeText(qt.QObject):
    """Keeps labels with word wrap as high as their text is at their present width.

    Args:
        labels: the labels.
    """

    def __init__(self, labels: Sequence[Any]) -> None:
        super().__init__()
        self._labels = tuple(labels)
        for label in self._labels:
            label.installEventFilter(self)

    def set(self, label: Any, text: str) -> None:
        """Shows a text on one of the labels."""
        label.text = text
        if label.isVisible():
            _fit(label)

    def eventFilter(self, label: Any, event: Any) -> bool:
        if event.type() in (qt.QEvent.Resize, qt.QEvent.Show):
            _fit(label)
        return False


def _fit(label: Any) -> None:
    # Qt's height for a width is never less than the minimum.
    label.minimumHeight = 0
    label.minimumHeight = max(label.heightForWidth(label.width), 0)
