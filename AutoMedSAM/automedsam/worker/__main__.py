"""The engine as a process of its own: `python -m automedsam.worker`, JSON lines in and out.

Whoever starts it (the panel in Slicer) stays alive whatever happens here. One request is worked on at a time, in
the order of arrival; `cancel` and `quit` act at once. The end of standard input is a `quit`, so that the process
never outlives its owner. See `worker.messages` for the messages.
"""

from __future__ import annotations

import os
import signal
import traceback
from typing import Any

from automedsam import __version__
from automedsam.contract.protocol import PROTOCOL
from automedsam.contract.request_fields import FieldError, parse_request
from automedsam.core.memory import is_out_of_memory
from automedsam.errors import AutoMedSAMError
from automedsam.worker.channel import Output, Requests

_NICENESS = 5
_MAX_MESSAGE = 1000


def main() -> None:
    """Answers requests until there are no more."""
    output = Output()
    output.send("ready", protocol=PROTOCOL, version=__version__, pid=os.getpid())
    # Ctrl-C in the owner's terminal is meant for the owner, whose end is this process's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    handler = None
    for line, cancelled in Requests():
        request: dict[str, Any] = {}
        try:
            request = parse_request(line)
            if handler is None:
                from automedsam.worker.handlers import RequestHandler

                handler = RequestHandler(output.send)
            handler.answer(request, cancelled)
        except Exception as error:
            output.send("error", id=_id_of(request), **_told(error))


def _id_of(request: dict[str, Any]) -> int | None:
    number = request.get("id")
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _told(error: Exception) -> dict[str, Any]:
    """One sentence, the details, and whether the sentence is one that a person can act on."""
    if isinstance(error, AutoMedSAMError):
        return {"message": _one_line(str(error)), "details": "", "user_error": True}
    if isinstance(error, FieldError):
        return {"message": _one_line(f"The request is faulty: {error}."), "details": "", "user_error": False}
    details = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        message = "There is not enough memory: close other programs, or choose fewer slices."
        return {"message": message, "details": details, "user_error": True}
    message = f"The engine met a fault of its own ({type(error).__name__}: {error})."
    return {"message": _one_line(message), "details": details, "user_error": False}


def _one_line(message: str) -> str:
    line = " ".join(message.splitlines())
    return line if len(line) <= _MAX_MESSAGE else f"{line[: _MAX_MESSAGE - 3]}..."


if __name__ == "__main__":
    main()
