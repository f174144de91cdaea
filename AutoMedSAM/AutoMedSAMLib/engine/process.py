"""The engine's own process, as Qt runs it: text lines in and out, and a callback when it ends."""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import qt
import slicer
from slicer.i18n import tr as _

ENGINE_FOLDER = Path(__file__).resolve().parents[2]
_STDERR_KEPT = 8000


class EngineProcess(Protocol):
    """A running engine. Its lines and its end are reported from the event loop."""

    def write(self, line: str) -> None:
        """Sends one line, without waiting."""

    def kill(self, wait_ms: int = 0) -> None:
        """Ends it; neither a line nor its end is reported after that.

        Args:
            wait_ms: how long it may take to end by itself, and then once more to be gone; at once if 0.
        """


StartProcess = Callable[[Callable[[str], None], Callable[[str], None]], EngineProcess]
"""Starts an engine, given what to call with each line and, once, with why and how it ended."""


class QtEngineProcess:
    """`python -m automedsam.worker` in a QProcess.

    Slicer's Python is a launcher that has the real Python as a child: what Qt kills is the launcher alone. The child
    ends when its standard input does, which is the launcher's too, and it is killed by the number that it gave.

    Args:
        on_line: called with each line of its standard output.
        on_ended: called once if it ends by itself, or could not be started, with the last of its output.
    """

    def __init__(self, on_line: Callable[[str], None], on_ended: Callable[[str], None]) -> None:
        self._on_line, self._on_ended = on_line, on_ended
        self._unfinished_line, self._stderr = b"", b""
        self._muted = self._has_ended = False
        self._engine_pid = 0
        # The application owns it: it must not be deleted with this object, while it runs or in its own signal.
        self._process = qt.QProcess(slicer.app)
        environment = qt.QProcessEnvironment()
        for name, value in _environment().items():
            environment.insert(name, value)
        self._process.setProcessEnvironment(environment)
        self._process.setWorkingDirectory(str(ENGINE_FOLDER))
        self._process.connect("readyReadStandardOutput()", self._read_lines)
        self._process.connect("readyReadStandardError()", self._read_stderr)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process.start(_python(), ["-m", "automedsam.worker"])

    @property
    def pid(self) -> int:
        """The process's number; 0 once it has ended."""
        return 0 if self._has_ended else int(self._process.processId())

    def write(self, line: str) -> None:
        if not self._has_ended:
            self._process.write(line.encode() + b"\n")

    def kill(self, wait_ms: int = 0) -> None:
        self._muted = True
        if not self.pid:
            return
        self._process.closeWriteChannel()
        # The launcher ends after its child: once it is gone by itself, no file is open any more.
        if wait_ms and self._process.waitForFinished(wait_ms):
            return
        _kill(self._engine_pid)
        self._process.kill()
        self._process.waitForFinished(wait_ms)

    def _read_lines(self) -> None:
        if self._muted:
            return
        output = self._unfinished_line + _bytes(self._process.readAllStandardOutput())
        *lines, self._unfinished_line = output.split(b"\n")
        for line in lines:
            self._engine_pid = self._engine_pid or _pid_in(line)
            self._on_line(line.decode("utf-8", "replace"))

    def _read_stderr(self) -> None:
        if self._muted:
            return
        self._stderr = (self._stderr + _bytes(self._process.readAllStandardError()))[-_STDERR_KEPT:]

    def _finished(self, exit_code: int, _status: object) -> None:
        if not self._muted:
            self._read_lines()
            self._read_stderr()
            self._end(_("The process ended with code {code}.").format(code=exit_code))
        self._release()

    def _failed(self, error: object) -> None:
        # Every other error is followed by finished().
        if error == qt.QProcess.FailedToStart:
            message = _("{program} could not be started: {error}")
            self._end(message.format(program=_python(), error=self._process.errorString()))
            self._release()

    def _release(self) -> None:
        self._has_ended = True
        self._process.deleteLater()

    def _end(self, how: str) -> None:
        if not self._muted:
            self._muted = True
            errors = self._stderr.decode("utf-8", "replace").strip()
            self._on_ended(f"{how}\n\n{errors}" if errors else how)


def _pid_in(line: bytes) -> int:
    """The number of the engine's own process, which its first event gives; 0 in any other line."""
    try:
        event = json.loads(line)
        return int(event["pid"]) if event["event"] == "ready" and event["pid"] > 1 else 0
    except (ValueError, TypeError, KeyError):
        return 0


def _kill(pid: int) -> None:
    if pid:
        with contextlib.suppress(OSError):
            # On Windows any signal but two ends a process at once, and there is no SIGKILL.
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _bytes(block: qt.QByteArray) -> bytes:
    """A block of bytes; versions of PythonQt differ in whether `data()` gives bytes or text."""
    content = block.data()
    return content.encode() if isinstance(content, str) else content


def _python() -> str:
    """Slicer's Python launcher, which sets up its own paths; outside Slicer, the Python that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def _environment() -> dict[str, str]:
    """The environment that Slicer was started in, with the engine's folder to import from.

    The user's own PYTHONPATH is left out: it belongs to another Python.
    """
    environment = dict(slicer.util.startupEnvironment())
    return environment | {"PYTHONPATH": str(ENGINE_FOLDER), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
