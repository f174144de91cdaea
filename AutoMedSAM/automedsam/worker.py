"""The engine as a process of its own: `python -m automedsam.worker`, JSON lines in and out.

Whoever starts it (the panel in Slicer) stays alive whatever happens here. One request is worked on at a time, in
the order of arrival; `cancel` and `quit` act at once. The end of standard input is a `quit`, so that the process
never outlives its owner. See `worker_protocol` for the messages.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from queue import SimpleQueue
from typing import IO, Any

from automedsam import __version__
from automedsam.contract.protocol import PROTOCOL
from automedsam.contract.request_fields import MAX_LINE_BYTES, FieldError, parse_request
from automedsam.errors import AutoMedSAMError
from automedsam.memory import is_out_of_memory

_NICENESS = 5
_PATIENCE_SECONDS = 0.5
_MAX_MESSAGE = 1000
# `cancel` and `quit` have no fields beside "op".
_MAX_CONTROL_BYTES = 1000


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
            self._cancelled.set()
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
                self._cancelled.set()
                self._cancelled = threading.Event()
            elif line.strip():
                self._queue.put((line, self._cancelled))


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


def main() -> None:
    """Answers requests until there are no more."""
    output = Output()
    output.send("ready", protocol=PROTOCOL, version=__version__, pid=os.getpid())
    # Ctrl-C in the owner's terminal is meant for the owner, whose end is this process's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    service = None
    for line, cancelled in Requests():
        request: dict[str, Any] = {}
        try:
            request = parse_request(line)
            if service is None:
                from automedsam.worker_service import Service

                service = Service(output.send)
            service.answer(request, cancelled)
        except Exception as error:
            output.send("error", id=_id_of(request), **_told(error))


def _id_of(request: dict[str, Any]) -> int | None:
    number = request.get("id")
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _told(error: Exception) -> dict[str, Any]:
    """One sentence, the details, and whether the sentence is one that a person can act on."""
    if isinstance(error, AutoMedSAMError):
        return {"message": _one_line(str(error)), "details": "", "teaches": True}
    if isinstance(error, FieldError):
        return {"message": _one_line(f"The request is faulty: {error}."), "details": "", "teaches": False}
    details = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        message = "There is not enough memory: close other programs, or choose fewer slices."
        return {"message": message, "details": details, "teaches": True}
    message = f"The engine met a fault of its own ({type(error).__name__}: {error})."
    return {"message": _one_line(message), "details": details, "teaches": False}


def _one_line(message: str) -> str:
    line = " ".join(message.splitlines())
    return line if len(line) <= _MAX_MESSAGE else f"{line[: _MAX_MESSAGE - 3]}..."


if __name__ == "__main__":
    main()
