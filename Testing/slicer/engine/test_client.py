"""The engine's process and the talk with it: what a person relies on when it hangs, dies, or never starts."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def scripted(scene: Any) -> Any:
    from runs import ScriptedEngine

    ScriptedEngine.started.clear()
    return ScriptedEngine


@pytest.fixture
def engine(scripted: Any) -> Any:
    from AutoMedSAMLib.engine.client import EngineClient

    return EngineClient(scripted)


class Heard:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.deaths: list[str] = []

    def ask(self, engine: Any, **message: Any) -> Any:
        return engine.send(message, self.events.append, self.deaths.append)

    @property
    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


def test_no_process_before_something_is_asked(engine: Any, scripted: Any) -> None:
    assert scripted.started == []


def test_requests_go_one_after_another(engine: Any, scripted: Any, wait_until: Any) -> None:
    first, second = Heard(), Heard()
    first.ask(engine, op="devices")
    second.ask(engine, op="devices")
    (process,) = scripted.started
    assert len(process.sent) == 1
    process.answer(event="devices", device="one")
    wait_until(lambda: len(process.sent) == 2)
    process.answer(event="devices", device="two")
    wait_until(lambda: second.events)
    assert (first.events[0]["device"], second.events[0]["device"]) == ("one", "two")


@pytest.mark.alone
def test_an_engine_that_does_not_stop_is_killed_within_a_second(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard = Heard()
    request = heard.ask(engine, op="segment")
    began = time.monotonic()
    engine.cancel(request)
    wait_until(lambda: heard.events)
    assert heard.kinds == ["cancelled"]
    assert time.monotonic() - began < 1.0
    assert scripted.started[0].killed
    heard.ask(engine, op="segment")
    assert len(scripted.started) == 2, "the next request starts another"


def test_an_engine_that_stops_when_asked_stays_warm(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard = Heard()
    engine.cancel(heard.ask(engine, op="segment"))
    scripted.started[0].answer(event="cancelled", confidence=[])
    wait_until(lambda: heard.events)
    with pytest.raises(TimeoutError):
        wait_until(lambda: scripted.started[0].killed, seconds=1.0)


def test_messages_before_a_crash_arrive_before_it_is_reported(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard = Heard()
    heard.ask(engine, op="segment")
    process = scripted.started[0]
    process.answer(event="slice", slice=7)
    process.die("killed by the system")
    wait_until(lambda: heard.deaths)
    assert heard.kinds == ["slice"]
    assert heard.deaths == ["killed by the system"]


def test_an_engine_that_cannot_be_started_is_reported_at_the_next_turn(scene: Any, wait_until: Any) -> None:
    from AutoMedSAMLib.engine.client import EngineClient
    from runs import ScriptedEngine

    class Stillborn(ScriptedEngine):
        def __init__(self, on_line: Any, on_ended: Any) -> None:
            super().__init__(on_line, on_ended)
            on_ended("not found")

    engine, heard = EngineClient(Stillborn), Heard()
    heard.ask(engine, op="devices")
    wait_until(lambda: heard.deaths)
    assert heard.deaths == ["not found"] and engine.process is None


def test_what_a_library_prints_is_passed_over(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard = Heard()
    heard.ask(engine, op="devices")
    for line in ("Warning: something", "[1, 2]", '"text"', "{}", "null"):
        scripted.started[0]._on_line(line)
    scripted.started[0].answer(event="devices", device="CPU")
    wait_until(lambda: heard.events)
    assert heard.kinds == ["devices"]


def test_an_engine_of_another_protocol_is_refused(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard = Heard()
    heard.ask(engine, op="devices")
    scripted.started[0].say(event="ready", protocol=2)
    wait_until(lambda: heard.deaths)
    assert "protocol 2" in heard.deaths[0]


def test_an_abandoned_request_is_not_heard_of_any_more(engine: Any, scripted: Any, wait_until: Any) -> None:
    heard, later = Heard(), Heard()
    request = heard.ask(engine, op="link")
    engine.discard(request)
    scripted.started[0].answer(event="tracklets", tracklets=[])
    later.ask(engine, op="devices")
    wait_until(lambda: len(scripted.started[0].sent) == 2)
    scripted.started[0].answer(event="devices", device="CPU")
    wait_until(lambda: later.events)
    assert heard.events == []


@pytest.mark.alone
def test_the_real_engine_is_ready_within_a_second_and_dies_when_killed(scene: Any, wait_until: Any) -> None:
    from AutoMedSAMLib.engine.process import QtEngineProcess

    lines: list[str] = []
    ends: list[str] = []
    began = time.monotonic()
    process = QtEngineProcess(lines.append, ends.append)
    wait_until(lambda: lines, 5)
    assert time.monotonic() - began < 1.0
    assert '"ready"' in lines[0] and process.pid > 0
    process.kill()
    wait_until(lambda: process.pid == 0, 2)
    assert ends == [], "whoever killed it need not be told"


def test_engine_crash_is_reported_with_its_last_output(
    scene: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from AutoMedSAMLib.engine import process as engine_process

    script = tmp_path / "engine"
    script.write_text('#!/bin/sh\necho \'{"event":"x"}\'\necho out of memory >&2\nexit 3\n')
    script.chmod(0o700)
    monkeypatch.setattr(engine_process, "_python", lambda: str(script))
    lines: list[str] = []
    ends: list[str] = []
    process = engine_process.QtEngineProcess(lines.append, ends.append)
    wait_until(lambda: ends)
    assert lines == ['{"event":"x"}']
    assert "code 3" in ends[0] and "out of memory" in ends[0]
    assert process.pid == 0


def test_a_python_that_is_not_there_is_reported(scene: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoMedSAMLib.engine import process as engine_process

    monkeypatch.setattr(engine_process, "_python", lambda: "/nowhere/PythonSlicer")
    ends: list[str] = []
    process = engine_process.QtEngineProcess(lambda _: None, ends.append)
    wait_until(lambda: ends)
    assert "/nowhere/PythonSlicer could not be started" in ends[0]
    assert process.pid == 0


def test_the_engine_sees_no_paths_of_another_python(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from AutoMedSAMLib.engine import process as engine_process

    monkeypatch.setenv("PYTHONPATH", "/opt/someone/elses")
    assert engine_process._environment()["PYTHONPATH"] == str(engine_process.ENGINE_FOLDER)


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Slicer's Python as it is: a launcher that has the real one as a child, and waits for it."""
    from AutoMedSAMLib.engine import process as engine_process

    script = tmp_path / "PythonSlicer"
    script.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], check=False).returncode)\n"
    )
    script.chmod(0o700)
    monkeypatch.setattr(engine_process, "_python", lambda: str(script))
    return script


def started(wait_until: Any) -> tuple[Any, int]:
    """A real engine behind the launcher, and the number of its own process."""
    from AutoMedSAMLib.engine.process import QtEngineProcess

    lines: list[str] = []
    process = QtEngineProcess(lines.append, lambda _: None)
    wait_until(lambda: lines, 10)
    pid = json.loads(lines[0])["pid"]
    assert pid != process.pid, "there is a launcher in between"
    return process, pid


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended but is not waited for by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@linux_only
def test_an_engine_behind_a_launcher_is_gone_when_closing_returns(scene: Any, launcher: Any, wait_until: Any) -> None:
    process, pid = started(wait_until)
    process.kill(wait_ms=3000)
    assert not is_running(pid)
    assert process.pid == 0


@linux_only
@pytest.mark.alone
def test_an_engine_behind_a_launcher_that_hangs_is_killed_too(scene: Any, launcher: Any, wait_until: Any) -> None:
    process, pid = started(wait_until)
    # It neither sees the end of its input nor ends.
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    process.kill()
    assert time.monotonic() - began < 0.5, "Cancel does not wait"
    wait_until(lambda: not is_running(pid), 2)
