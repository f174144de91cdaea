"""Timers on Qt's event loop."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer


def single_shot(milliseconds: int, callback: Callable[[], None]) -> qt.QTimer:
    """A timer that calls back once, this long after its latest `start()`; it can be stopped before."""
    # The application owns it: it must not be deleted with its user, in its own signal.
    timer = qt.QTimer(slicer.app)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", callback)
    return timer
