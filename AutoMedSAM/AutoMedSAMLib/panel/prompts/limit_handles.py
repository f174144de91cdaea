"""Two handles on the confidence strip: the slices between which the selected object may be tracked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.panel.confidence_strip import ConfidenceStrip

_COLOR = "#3b6fd4"
# In pixels: half the width of a handle, how near the mouse must be, and the height of its flag.
_HALF, _NEAR, _FLAG = 1, 6, 9
_OUTSIDE = 110

Limits = tuple[int, int]


class LimitHandles:
    """Draws and drags the handles.

    Args:
        label: the strip's QLabel.
        strip: the strip.
        on_changed: called with the new limits, None for none, when a handle is let go.
    """

    def __init__(self, label: Any, strip: ConfidenceStrip, on_changed: Callable[[Limits | None], None]) -> None:
        self._label, self._strip, self._on_changed = label, strip, on_changed
        self._limits: Limits | None = None
        self._shown = False
        self._dragged: int | None = None
        self._mouse = _Mouse(self)
        label.installEventFilter(self._mouse)
        strip.overlay = self._draw

    def stop(self) -> None:
        """Leaves the strip alone."""
        self._label.removeEventFilter(self._mouse)
        self._strip.overlay = None

    def show(self, shown: bool, limits: Limits | None) -> None:
        """Shows the handles of an object, at the strip's ends if it has no limits; or none."""
        if self._dragged is None and (shown, limits) != (self._shown, self._limits):
            self._shown, self._limits = shown, limits
            self._strip.draw()

    @property
    def limits(self) -> Limits:
        """The first and the last slice between the handles."""
        return self._limits or self._strip.ends

    def handle_at(self, x: float) -> int | None:
        """The handle under a position from the label's left edge in pixels: 0 or 1; None if there is none."""
        if not self._shown or self._strip.ends[1] < self._strip.ends[0]:
            return None
        apart = [abs(x - place) for place in self.places()]
        nearest = min((0, 1), key=lambda n: apart[n])
        if apart[0] == apart[1]:
            # One upon the other: the one that can still be moved that way.
            nearest = 0 if x < self.places()[0] else 1
        return nearest if apart[nearest] <= _NEAR else None

    def places(self) -> tuple[int, int]:
        """Where the handles are, from the label's left edge in pixels."""
        first, last = self.limits
        return self._strip.edge(first), self._strip.edge(last + 1)

    def press(self, x: float) -> bool:
        """Takes a handle; False if there is none."""
        self._dragged = self.handle_at(x)
        return self._dragged is not None

    def move(self, x: float) -> bool:
        """Drags the handle that was taken; False if there is none."""
        at = self._strip.slice_at(x)
        if self._dragged is None or at is None:
            return False
        first, last = self.limits
        ends = (min(at, last), last) if self._dragged == 0 else (first, max(at, first))
        self._limits = None if ends == self._strip.ends else ends
        self._label.toolTip = _("Track the selected object on slices {first} to {last} only.").format(
            first=ends[0], last=ends[1]
        )
        self._strip.draw()
        return True

    def release(self) -> bool:
        """Lets the handle go; False if there is none."""
        dragged, self._dragged = self._dragged, None
        if dragged is not None:
            self._on_changed(self._limits)
        return dragged is not None

    def _draw(self, painter: Any, width: int, height: int) -> None:
        if not self._shown or self._strip.ends[1] < self._strip.ends[0]:
            return
        shade = qt.QColor(self._label.palette.color(qt.QPalette.Window))
        shade.setAlpha(_OUTSIDE)
        left, right = self.places()
        painter.fillRect(0, 1, left, height - 2, shade)
        painter.fillRect(right, 1, width - right, height - 2, shade)
        color = qt.QColor(_COLOR)
        for place, inward in ((left, 1), (right, -1)):
            line = min(max(place - _HALF, 0), width - 2 * _HALF)
            painter.fillRect(line, 0, 2 * _HALF, height, color)
            # A flag toward the slices that are tracked.
            for row in range(_FLAG):
                reach = _FLAG - row
                painter.fillRect(line if inward > 0 else line + 2 * _HALF - reach, row, reach, 1, color)


class _Mouse(qt.QObject):
    """Comes before the strip's own mouse filter, since it was installed later."""

    def __init__(self, handles: LimitHandles) -> None:
        super().__init__()
        self._handles = handles

    def eventFilter(self, label: Any, event: Any) -> bool:
        kind = event.type()
        if kind not in (qt.QEvent.MouseButtonPress, qt.QEvent.MouseMove, qt.QEvent.MouseButtonRelease):
            return False
        # Qt 6 has `position` in the place of Qt 5's `pos`.
        x = (event.position() if hasattr(event, "position") else event.pos()).x()
        if kind == qt.QEvent.MouseButtonPress:
            return event.button() == qt.Qt.LeftButton and self._handles.press(x)
        if kind == qt.QEvent.MouseButtonRelease:
            return self._handles.release()
        over = self._handles.handle_at(x) is not None
        label.setCursor(qt.QCursor(qt.Qt.SizeHorCursor if over else qt.Qt.ArrowCursor))
        return self._handles.move(x)
