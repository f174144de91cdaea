"""Talking with the engine: requests one after another, their events, cancelling, and what to do when it dies."""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from slicer.i18n import tr as _

from automedsam.contract.protocol import ANSWERS, CANCELLABLE, PROTOCOL
from AutoMedSAMLib.engine.process import EngineProcess, QtEngineProcess, StartProcess
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.qt_timers import SingleShot

_PATIENCE_MS = 800
_SHARE_OF_LOOP_SECONDS = 0.02


@dataclass(eq=False)
class PendingRequest:
    """Something asked of the engine.

    Attributes:
        message: what is sent.
        on_event: called with each of its events; the last is "finished", "cancelled" or "error", or the one answer.
        on_died: called instead if the engine ends before that, with the last of its output.
    """

    message: Message
    on_event: Callable[[Message], None]
    on_died: Callable[[str], None]

    def is_answered_by(self, event: Message) -> bool:
        """Whether nothing of this request can come after this event."""
        kind = event["event"]
        return kind in ("finished", "cancelled", "error") or kind == ANSWERS.get(self.message["op"])


class EngineClient:
    """The one engine of the module: started when it is first needed, warm until it is closed.

    Args:
        start_process: starts the process; tests hand in another.
    """

    def __init__(self, start_process: StartProcess = QtEngineProcess) -> None:
        self._start_process = start_process
        self._process: EngineProcess | None = None
        self._current: PendingRequest | None = None
        self._waiting: deque[PendingRequest] = deque()
        self._lines: deque[str] = deque()
        self._number = 0
        self._draining = SingleShot(0, self._process_lines)
        self._cancel_timeout = SingleShot(_PATIENCE_MS, self._kill_current)
        self._exit_timer, self._details = SingleShot(0, self._on_exit), ""

    @property
    def process(self) -> EngineProcess | None:
        """The running process, if there is one."""
        return self._process

    def send(
        self, message: Message, on_event: Callable[[Message], None], on_died: Callable[[str], None]
    ) -> PendingRequest:
        """Sends a request as soon as those before it are answered."""
        request = PendingRequest(message, on_event, on_died)
        self._waiting.append(request)
        self._send_next()
        return request

    def ask(self, message: Message, done: Callable[[Message], None], failed: Callable[[str], None]) -> None:
        """Sends a request with a single answer, for which `done` is called, or `failed` with a sentence."""

        def heard(event: Message) -> None:
            if event["event"] == "error":
                failed(event["message"])
            elif event["event"] != "cancelled":
                done(event)

        self.send(message, heard, lambda _details: failed(engine_stopped()))

    def cancel(self, request: PendingRequest) -> None:
        """Asks the engine to stop; kills it if it has not within 0.8 s. A "cancelled" event comes either way."""
        if request is self._current:
            if not self._cancel_timeout.active:
                self._write({"op": "cancel"})
                self._cancel_timeout.start()
        elif request in self._waiting:
            self._waiting.remove(request)
            request.on_event({"event": "cancelled", "confidence": []})

    def discard(self, request: PendingRequest) -> None:
        """Drops a request: its callbacks are not called any more, and a long one is cancelled."""
        request.on_event = request.on_died = _ignore
        # A short request is left to finish: its time limit would run out while the engine is still starting.
        if request is not self._current or request.message["op"] in CANCELLABLE:
            self.cancel(request)

    def kill(self, wait_ms: int = 0) -> None:
        """Ends the process at once and forgets every request; waits so long at most until it is gone."""
        for timer in (self._draining, self._cancel_timeout, self._exit_timer):
            timer.stop()
        self._current = None
        self._waiting.clear()
        self._lines.clear()
        process, self._process = self._process, None
        if process is not None:
            process.kill(wait_ms)

    def _send_next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        self._current = self._waiting.popleft()
        self._number += 1
        self._current.message["id"] = self._number
        if self._process is None:
            self._process = self._start_process(self._on_line, self._on_process_ended)
        self._write(self._current.message)

    def _write(self, message: Message) -> None:
        if self._process is not None:
            self._process.write(json.dumps(message))

    def _on_line(self, line: str) -> None:
        """Lines wait for their turn: many may come at once, and the window must stay live."""
        self._lines.append(line)
        if not self._draining.active:
            self._draining.start()

    def _process_lines(self) -> None:
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        while self._lines and time.perf_counter() < until:
            self._dispatch(self._lines.popleft())
        if self._lines:
            self._draining.start()

    def _dispatch(self, line: str) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            return  # printed by a library
        if kind == "ready":
            if event.get("protocol") != PROTOCOL:
                found = event.get("protocol")
                self._end_all(
                    _("The engine uses protocol {found}, not {expected}: install the extension again.").format(
                        found=found, expected=PROTOCOL
                    )
                )
            return
        request = self._current
        if request is None or event.get("id") != request.message["id"]:
            return
        if request.is_answered_by(event):
            self._current = None
            self._cancel_timeout.stop()
        request.on_event(event)
        self._send_next()

    def _kill_current(self) -> None:
        """The engine does not react: it is killed. Finished slices stay, and the other requests are sent again."""
        request, self._current = self._current, None
        process, self._process = self._process, None
        self._lines.clear()
        self._exit_timer.stop()
        if process is not None:
            process.kill()
        if request is not None:
            request.on_event({"event": "cancelled", "confidence": []})
        self._send_next()

    def _on_process_ended(self, details: str) -> None:
        """It ended by itself. If it could not be started, this may be called before `start_process` returns."""
        self._details = details
        self._exit_timer.start()

    def _on_exit(self) -> None:
        """Reads the lines that are left first, since the slices in them are finished."""
        while self._lines:
            self._dispatch(self._lines.popleft())
        self._end_all(self._details)

    def _end_all(self, details: str) -> None:
        requests = [self._current] if self._current is not None else []
        requests += self._waiting
        self.kill()
        for request in requests:
            request.on_died(details)


def engine_stopped() -> str:
    """The sentence for an engine that ended by itself."""
    return _("The engine stopped unexpectedly; what was finished is kept, and the next run starts it again.")


def _ignore(_event: object) -> None:
    pass
