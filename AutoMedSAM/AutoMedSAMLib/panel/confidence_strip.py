"""The confidence strip: the result's confidence on each slice, along the volume; a click goes to that slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.panel.theme import faded_text

# Below this, box and mask disagree so much that the slice should be checked; the engine's own limit.
LOW_CONFIDENCE = 0.5

_SURE = "#2f9e8f"
_UNCERTAIN = "#e8710a"
# The bar within an uncertain slice.
_UNCERTAIN_BAR = "#7a3600"
# How much of a colour is left beneath the hatch in it, of 255; the lines alone would not be seen on two pixels.
_PALE = 80
# How opaque, 0 to 1: the frame and the slices whose confidence is not known; the hint on an empty strip.
_FAINT, _HINT = 0.3, 0.6

# Below the bars, in pixels: the slice numbers, and what the colours mean.
_TICKS, _LEGEND = 14, 14
_FONT = 10
# Room for one number, and the width below which a warning is not seen.
_TICK_EVERY, _SEEN = 40, 3


class ConfidenceStrip:
    """Draws one bar a slice into a label: its height is the confidence.

    An uncertain slice is orange over the whole height, for a warning must be seen; a slice that was tracked from its
    neighbours without a box of its own is hatched.

    Args:
        label: the QLabel that shows it.
        on_clicked: called with the slice that was clicked.
    """

    def __init__(self, label: Any, on_clicked: Callable[[int], None]) -> None:
        self._label, self._on_clicked = label, on_clicked
        self._first, self._last = 0, -1
        self._confidence: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._boxed: set[int] = set()
        self._written: set[int] = set()
        self._current: int | None = None
        # Draws over the bars, given the painter and their width and height.
        self.overlay: Callable[[Any, int, int], None] | None = None
        self._mouse = _Mouse(self)
        label.installEventFilter(self._mouse)
        self.draw()

    def stop(self) -> None:
        """Leaves the label alone."""
        self._label.removeEventFilter(self._mouse)

    def start(self, first: int, last: int) -> None:
        """Shows empty slices from the first to the last, inclusive; `last` before `first` shows none."""
        self._first, self._last = first, last
        self._confidence, self._reasons, self._boxed, self._written = {}, {}, set(), set()
        self.draw()

    def mark_written(self, slices: Iterable[int]) -> None:
        """Shows that these slices were segmented; their confidence is not known yet."""
        self._written.update(slices)
        self.draw()

    def show_confidence(self, entries: Iterable[dict[str, Any]], boxed: Iterable[int]) -> None:
        """Shows how the result was judged.

        Args:
            entries: `{"slice", "confidence" (0 to 1), "reason"}` for each segmented slice, from the engine.
            boxed: the slices with an accepted box.
        """
        entries = list(entries)
        self._confidence = {int(entry["slice"]): float(entry["confidence"]) for entry in entries}
        self._reasons = {int(entry["slice"]): str(entry["reason"]) for entry in entries}
        self._boxed, self._written = set(boxed), set()
        self.draw()

    def show_current(self, slice_index: int | None) -> None:
        """Marks the slice that the views show."""
        if slice_index != self._current:
            self._current = slice_index
            self.draw()

    @property
    def uncertain(self) -> list[int]:
        """The slices that should be checked, ascending."""
        return sorted(index for index, confidence in self._confidence.items() if confidence < LOW_CONFIDENCE)

    def next_uncertain(self) -> int | None:
        """The uncertain slice after the current one, from the start again after the last; None if there is none."""
        uncertain = self.uncertain
        after = [index for index in uncertain if self._current is not None and index > self._current]
        return next(iter(after or uncertain), None)

    def describe(self, slice_index: int) -> str:
        """A slice in words, for the tool tip and the status line."""
        if slice_index not in self._confidence:
            return _("Slice {slice}: nothing segmented").format(slice=slice_index)
        reason = self._reasons[slice_index] or ("" if slice_index in self._boxed else _("no box on this slice"))
        text = (
            _("Slice {slice}: confidence {confidence}, {reason}")
            if reason
            else _("Slice {slice}: confidence {confidence}")
        )
        return text.format(slice=slice_index, confidence=f"{self._confidence[slice_index]:.0%}", reason=reason)

    @property
    def bars_height(self) -> int:
        """How much of the label's height, from the top, is for the bars, in pixels."""
        return max(self._label.height - _TICKS - _LEGEND, 1)

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last slice; the last comes before the first where there is none."""
        return self._first, self._last

    def edge(self, slice_index: int) -> int:
        """Where a slice begins, from the label's left edge in pixels."""
        return round((slice_index - self._first) * self._label.width / max(self._last - self._first + 1, 1))

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
        font = qt.QFont(self._label.font)
        font.setPixelSize(_FONT)
        painter.setFont(font)
        bars = self.bars_height
        painter.fillRect(0, bars, width, height - bars, self._label.palette.color(qt.QPalette.Window))
        self._draw_bars(painter, width, bars)
        if self.overlay is not None:
            self.overlay(painter, width, bars)
        painter.setPen(faded_text(self._label, _FAINT))
        painter.drawRect(0, 0, width - 1, bars - 1)
        if self._last >= self._first:
            painter.setPen(self._label.palette.color(qt.QPalette.WindowText))
            self._draw_ticks(painter, width, bars)
            self._draw_legend(painter, width, bars + _TICKS)
        painter.end()
        self._label.setPixmap(pixmap)

    def _place(self, slice_index: int, width: int) -> tuple[int, int]:
        """Left edge and width of a slice in pixels, without the gap to the next, where there is room for one."""
        count = self._last - self._first + 1
        left = round((slice_index - self._first) * width / count)
        right = round((slice_index - self._first + 1) * width / count)
        return left, max(right - left - (1 if width / count > _SEEN else 0), 1)

    def _draw_bars(self, painter: Any, width: int, height: int) -> None:
        if self._last < self._first:
            painter.setPen(faded_text(self._label, _HINT))
            painter.drawText(0, 0, width, height, int(qt.Qt.AlignCenter), _("Confidence, slice by slice"))
            return
        for index in self._written:
            painter.fillRect(*self._bar(index, 0.35, width, height), faded_text(self._label, _FAINT))
        for index, confidence in self._confidence.items():
            if confidence >= LOW_CONFIDENCE:
                self._draw_sure(painter, index, self._bar(index, confidence, width, height))
        for index in self.uncertain:
            self._draw_warning(painter, index, width, height)
        for index in self.uncertain:
            place = self._bar(index, self._confidence[index], width, height)
            painter.fillRect(*place, qt.QColor(_UNCERTAIN_BAR))
        if self._current is not None and self._first <= self._current <= self._last:
            left, thick = self._place(self._current, width)
            middle = left + thick // 2
            painter.fillRect(middle - 1, 1, 2, height - 2, self._label.palette.color(qt.QPalette.WindowText))

    def _bar(self, index: int, share: float, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of a slice's bar in pixels."""
        left, thick = self._place(index, width)
        tall = max(round(share * (height - 6)), 2)
        return left, height - 2 - tall, thick, tall

    def _draw_sure(self, painter: Any, index: int, place: tuple[int, int, int, int]) -> None:
        boxed = index in self._boxed
        painter.fillRect(*place, qt.QColor(_SURE) if boxed else _pale(_SURE))
        if not boxed:
            painter.fillRect(*place, _hatch(_SURE))

    def _draw_warning(self, painter: Any, index: int, width: int, height: int) -> None:
        """Fills the whole height; over its neighbors, where it would be too thin to be seen."""
        left, thick = self._place(index, width)
        extra = max(_SEEN - thick, 0)
        place = left - extra // 2, 1, thick + extra, height - 2
        painter.fillRect(*place, qt.QColor(_UNCERTAIN))
        if index not in self._boxed:
            painter.fillRect(*place, _hatch(_UNCERTAIN_BAR))

    def _draw_ticks(self, painter: Any, width: int, top: int) -> None:
        for index in ticks(self._first, self._last, max(width // _TICK_EVERY, 1)):
            left, thick = self._place(index, width)
            middle = left + thick // 2
            painter.drawLine(middle, top, middle, top + 2)
            # The first and the last number stay within the label.
            begin = min(max(middle - _TICK_EVERY // 2, 0), max(width - _TICK_EVERY, 0))
            align = qt.Qt.AlignHCenter
            if begin != middle - _TICK_EVERY // 2:
                align = qt.Qt.AlignLeft if begin == 0 else qt.Qt.AlignRight
            painter.drawText(begin, top + 2, _TICK_EVERY, _TICKS - 2, int(align | qt.Qt.AlignTop), str(index))

    def _draw_legend(self, painter: Any, width: int, top: int) -> None:
        entries = (
            (_("confident"), (qt.QColor(_SURE),)),
            (_("uncertain"), (qt.QColor(_UNCERTAIN),)),
            (_("no box"), (_pale(_SURE), _hatch(_SURE))),
        )
        for number, (text, fills) in enumerate(entries):
            left = number * width // len(entries)
            for fill in fills:
                painter.fillRect(left, top + 3, 9, 9, fill)
            room = width // len(entries) - 12
            painter.drawText(left + 12, top, room, _LEGEND, int(qt.Qt.AlignLeft | qt.Qt.AlignVCenter), text)


def ticks(first: int, last: int, most: int) -> list[int]:
    """Round slice numbers from the first to the last slice, evenly spaced and about `most` at most."""
    steps = (factor * 10**power for power in range(8) for factor in (1, 2, 5))
    step = next(step for step in steps if (last - first + 1) / step <= most)
    return list(range(-(-first // step) * step, last + 1, step))


def _pale(color: str) -> Any:
    pale = qt.QColor(color)
    pale.setAlpha(_PALE)
    return pale


def _hatch(color: str) -> Any:
    return qt.QBrush(qt.QColor(color), qt.Qt.BDiagPattern)


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
