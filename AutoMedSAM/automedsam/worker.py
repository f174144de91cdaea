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
from automedsam.errors import AutoMedSAMError
from automedsam.memory import is_out_of_memory

_NICENESS = 5
_PATIENCE_SECONDS = 0.5


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
        for line in stream:
            op = _operation(line)
            if op == "quit":
                return
            if op == "cancel":
                self._cancelled.set()
                self._cancelled = threading.Event()
            elif line.strip():
                self._queue.put((line, self._cancelled))


def _operation(line: bytes) -> object:
    try:
        request = json.loads(line)
    except ValueError:
        return None
    return request.get("op") if isinstance(request, dict) else None


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
            request = _request(line)
            if service is None:
                from automedsam.worker_service import Service

                service = Service(output.send)
            service.answer(request, cancelled)
        except Exception as error:
            output.send("error", id=_id_of(request), **_told(error))


def _request(line: bytes) -> dict[str, Any]:
    request = json.loads(line)
    if not isinstance(request, dict):
        message = "A request is a JSON object on one line."
        raise ValueError(message)
    return request


def _id_of(request: dict[str, Any]) -> int | None:
    number = request.get("id")
    return number if isinstance(number, int) else None


def _told(error: Exception) -> dict[str, Any]:
    """One sentence, the details, and whether the sentence is one that a person can act on."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, AutoMedSAMError):
        return {"message": str(error), "details": "", "teaches": True}
    if is_out_of_memory(error):
        message = "There is not enough memory: close other programs, or choose fewer slices."
        return {"message": message, "details": details, "teaches": True}
    message = f"The engine met a fault of its own ({type(error).__name__}: {error})."
    return {"message": message.replace("\n", " "), "details": details, "teaches": False}


if __name__ == "__main__":
    main()
