"""The worker's two pipes: events out, requests and cancellations in."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import IO, Any, Protocol

from automedsam.contract.request_fields import MAX_LINE_BYTES, FieldError, parse_request

_PATIENCE_SECONDS = 0.5
# Longer lines are parsed only where they are answered. `cancel` and `quit` are short, and so are previews, but for
# those of very many clicks, which supersede none before them.
_MAX_CONTROL_BYTES = 50_000


class Send(Protocol):
    """Sends an event."""

    def __call__(self, event: str, **fields: Any) -> None: ...


class Output:
    """Where events go: one JSON object a line, on what was standard output when the process started.

    Libraries that print find standard error in its place, so that nothing but events is ever read as one.
    """

    def __init__(self) -> None:
        self._stream: IO[bytes] = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        """Writes an event."""
        line = json.dumps({"event": event, **fields}, allow_nan=False) + "\n"
        try:
            self._stream.write(line.encode("ascii"))
            self._stream.flush()
        except OSError:
            # Nobody reads any more: the owner has gone.
            os._exit(0)


class Requests:
    """Reads standard input in a thread, so that a cancellation is seen while a run computes."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[bytes, threading.Event] | None] = SimpleQueue()
        self._cancelled = threading.Event()
        self._preview_cancelled = threading.Event()
        self._idle = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[tuple[bytes, threading.Event]]:
        """Each line, and the event that is set when what had been asked by then is cancelled; until the end."""
        while (waiting := self._queue.get()) is not None:
            yield waiting
        self._idle.set()

    def _read(self) -> None:
        try:
            self._listen(sys.stdin.buffer)
        finally:
            self._cancel()
            self._queue.put(None)
            # A step that takes long, such as the loading of a model, does not hold up the end.
            if not self._idle.wait(_PATIENCE_SECONDS):
                os._exit(0)

    def _listen(self, stream: IO[bytes]) -> None:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                _skip_line(stream, line)
            op = _operation(line)
            if op == "quit":
                return
            if op == "cancel":
                self._cancel()
            elif op == "preview":
                # Only the newest click is worth an answer.
                self._preview_cancelled.set()
                self._preview_cancelled = threading.Event()
                self._queue.put((line, self._preview_cancelled))
            elif line.strip():
                self._queue.put((line, self._cancelled))

    def _cancel(self) -> None:
        for cancelled in (self._cancelled, self._preview_cancelled):
            cancelled.set()
        self._cancelled, self._preview_cancelled = threading.Event(), threading.Event()


def _skip_line(stream: IO[bytes], read: bytes) -> None:
    while read and not read.endswith(b"\n"):
        read = stream.readline(1 << 20)


def _operation(line: bytes) -> object:
    # Only what may be a cancellation is parsed here; long requests are parsed once, where they are answered.
    if len(line) > _MAX_CONTROL_BYTES:
        return None
    try:
        return parse_request(line).get("op")
    except FieldError:
        return None
