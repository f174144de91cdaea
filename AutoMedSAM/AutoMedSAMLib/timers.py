"""Timers of the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def single_shot(milliseconds: int, callback: Callable[[], None]) -> Any:
    """A QTimer that calls back once, this long after its latest `start()`; it can be stopped before."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", callback)
    return timer
