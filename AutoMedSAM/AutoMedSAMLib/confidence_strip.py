"""The confidence strip: how sure the result is on each slice, along the volume; a click goes to that slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt

# Under this, detector and mask disagree so much that the slice deserves a look; the engine's own limit.
DOUBTFUL = 0.5

_EMPTY = "How sure it is, slice by slice"
_SURE = "#2f9e8f"
_DOUBTFUL = "#e8710a"


class ConfidenceStrip:
    """Draws one bar a slice into a label: its height is the confidence, its colour says whether it is doubtful.

    Args:
        label: the QLabel that shows it.
        on_clicked: called with the slice that was clicked.
    """

    def __init__(self, label: Any, on_clicked: Callable[[int], None]) -> None:
        self._label, self._on_clicked = label, on_clicked
        self._first, self._last = 0, -1
        self._confidence: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._written: set[int] = set()
        self._current: int | None = None
        self._mouse = _Mouse(self)
        label.installEventFilter(self._mouse)
        self.draw()

    def stop(self) -> None:
        """Leaves the label alone."""
        self._label.removeEventFilter(self._mouse)

    def start(self, first: int, last: int) -> None:
        """Shows empty slices from the first to the last, inclusive; `last` before `first` shows none."""
        self._first, self._last = first, last
        self._confidence, self._reasons, self._written = {}, {}, set()
        self.draw()

    def mark_written(self, slices: Iterable[int]) -> None:
        """Shows that these slices have been segmented; how sure they are is not known yet."""
        self._written.update(slices)
        self.draw()

    def show_confidence(self, entries: Iterable[dict[str, Any]]) -> None:
        """Shows the engine's judgement: `{"slice", "confidence" (0 to 1), "reason"}` for each segmented slice."""
        entries = list(entries)
        self._confidence = {int(entry["slice"]): float(entry["confidence"]) for entry in entries}
        self._reasons = {int(entry["slice"]): str(entry["reason"]) for entry in entries}
        self._written = set()
        self.draw()

    def show_current(self, slice_index: int | None) -> None:
        """Marks the slice that the views show."""
        if slice_index != self._current:
            self._current = slice_index
            self.draw()

    @property
    def doubtful(self) -> list[int]:
        """The slices that deserve a look, ascending."""
        return sorted(index for index, confidence in self._confidence.items() if confidence < DOUBTFUL)

    def next_doubtful(self) -> int | None:
        """The doubtful slice after the current one, from the start again after the last; None if there is none."""
        doubtful = self.doubtful
        after = [index for index in doubtful if self._current is not None and index > self._current]
        return next(iter(after or doubtful), None)

    def describe(self, slice_index: int) -> str:
        """A slice in words, for the tool tip and the status line."""
        if slice_index not in self._confidence:
            return f"Slice {slice_index}: nothing segmented"
        reason = self._reasons[slice_index]
        return f"Slice {slice_index}: confidence {self._confidence[slice_index]:.0%}{', ' + reason if reason else ''}"

    def slice_at(self, x: float) -> int | None:
        """The slice under a position from the label's left edge, in pixels; None if there is none."""
        count = self._last - self._first + 1
        if count <= 0 or self._label.width <= 0:
            return None
        return self._first + min(max(int(x / self._label.width * count), 0), count - 1)

    def draw(self) -> None:
        """Draws the strip as wide as the label is now."""
        ratio = self._label.devicePixelRatioF()
        width, height = max(self._label.width, 1), max(self._label.height, 1)
        pixmap = qt.QPixmap(int(width * ratio), int(height * ratio))
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(self._label.palette.color(qt.QPalette.Base))
        painter = qt.QPainter(pixmap)
        self._draw_bars(painter, width, height)
        painter.setPen(self._label.palette.color(qt.QPalette.Mid))
        painter.drawRect(0, 0, width - 1, height - 1)
        painter.end()
        self._label.setPixmap(pixmap)

    def _draw_bars(self, painter: Any, width: int, height: int) -> None:
        count = self._last - self._first + 1
        if count <= 0:
            painter.setPen(self._label.palette.color(qt.QPalette.Disabled, qt.QPalette.Text))
            painter.drawText(0, 0, width, height, int(qt.Qt.AlignCenter), _EMPTY)
            return
        neutral = self._label.palette.color(qt.QPalette.Mid)
        sure, doubtful = qt.QColor(_SURE), qt.QColor(_DOUBTFUL)

        def bar(index: int, share: float, color: Any) -> None:
            left = round((index - self._first) * width / count)
            right = round((index - self._first + 1) * width / count)
            tall = max(round(share * (height - 6)), 2)
            # A gap between bars, where there is room for one.
            thick = max(right - left - (1 if width / count > 3 else 0), 1)
            painter.fillRect(left, height - 2 - tall, thick, tall, color)

        for index in self._written:
            bar(index, 0.35, neutral)
        for index, confidence in self._confidence.items():
            bar(index, confidence, doubtful if confidence < DOUBTFUL else sure)
        if self._current is not None and self._first <= self._current <= self._last:
            middle = round((self._current - self._first + 0.5) * width / count)
            painter.fillRect(middle - 1, 1, 2, height - 2, self._label.palette.color(qt.QPalette.WindowText))


class _Mouse(qt.QObject):
    """Turns the mouse over the strip into slices, and redraws it when its size or the theme changes."""

    def __init__(self, strip: ConfidenceStrip) -> None:
        super().__init__()
        self._strip = strip

    def eventFilter(self, label: Any, event: Any) -> bool:
        kind = event.type()
        if kind in (qt.QEvent.Resize, qt.QEvent.PaletteChange):
            self._strip.draw()
        elif kind in (qt.QEvent.MouseButtonPress, qt.QEvent.MouseMove):
            # Qt 6 has `position` in the place of Qt 5's `pos`.
            place = event.position() if hasattr(event, "position") else event.pos()
            index = self._strip.slice_at(place.x())
            if index is not None:
                label.toolTip = self._strip.describe(index)
                if event.buttons() & qt.Qt.LeftButton:
                    self._strip._on_clicked(index)
        return False
