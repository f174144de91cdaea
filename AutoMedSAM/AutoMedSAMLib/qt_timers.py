"""Timers on Qt's event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


class SingleShot:
    """Calls back once, a fixed time after the latest `start()`. Nothing of it is left in Qt after `stop()`.

    Args:
        milliseconds: the time from `start()` to the call.
        callback: called from the event loop.
    """

    def __init__(self, milliseconds: int, callback: Callable[[], None]) -> None:
        self._milliseconds, self._callback = milliseconds, callback
        self._timer: Any = None

    @property
    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._timer is not None and bool(self._timer.active)

    def start(self, milliseconds: int | None = None) -> None:
        """Starts, or starts again.

        Args:
            milliseconds: another time for this start; the usual one if None.
        """
        if self._timer is None:
            # The application owns it: it must not be deleted with its user, in its own signal.
            self._timer = qt.QTimer(slicer.app)
            self._timer.setSingleShot(True)
            self._timer.connect("timeout()", self._callback)
        self._timer.start(self._milliseconds if milliseconds is None else milliseconds)

    def stop(self) -> None:
        """Cancels the call and deletes Qt's timer; a later `start()` makes a new one."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.deleteLater()
