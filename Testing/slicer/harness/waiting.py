"""Waiting as Slicer does: with the event loop turning."""

import time
from collections.abc import Callable

import qt
import slicer


def wait_until(predicate: Callable[[], object], seconds: float = 10.0) -> None:
    """Turns the event loop until `predicate()` holds.

    Raises:
        TimeoutError: if it does not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not predicate():
        left = end - time.monotonic()
        if left <= 0:
            message = f"not within {seconds} s: {getattr(predicate, '__name__', predicate)}"
            raise TimeoutError(message)
        # A timer of its own wakes the loop where nothing else happens.
        waker = qt.QTimer()
        waker.start(10)
        slicer.app.processEvents(qt.QEventLoop.AllEvents | qt.QEventLoop.WaitForMoreEvents)
