"""What is printed, on a terminal or into a file of any encoding."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

STOPPED = 130
"""Exit code of a run that a person or the system stopped."""


def accept_any_text() -> None:
    """Let standard output and error take every text: what their encoding lacks is written as an escape.

    A file name may hold letters that the terminal's encoding lacks, or bytes that are no text at all.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """One line, with line breaks, control characters and bytes that are no text written as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def say(*sentences: str) -> None:
    """Print sentences on standard error, each on a line of its own."""
    for sentence in sentences:
        typer.echo(printable(sentence), err=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C end a block that has written nothing, with one sentence and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as error:
        say("Stopped before anything was finished: nothing was written.")
        raise typer.Exit(STOPPED) from error


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Take a polite end (SIGTERM of a batch system, SIGHUP of a closed window) as Ctrl-C: nothing is left half-written.

    Handlers belong to the main thread; in another one the block runs as it is.
    """
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # A signal that is ignored, as SIGHUP is under nohup, stays so.
    before = {number: signal.getsignal(number) for number in signals if signal.getsignal(number) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
