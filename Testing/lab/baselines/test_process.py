"""A baseline's process: how it ends, what it prints, and what it may not do."""

import subprocess
import sys
from pathlib import Path

import pytest
from stand_in_baselines import a_worker

from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines.process import run_worker


def test_a_missing_package_is_reported_with_its_install_command(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "def work(job, tell): import no_such_package")
    with pytest.raises(AutoMedSAMError, match=r"Fake needs no_such_package.*pip install 'automedsam\[baseline-fake\]'"):
        run_worker(worker, {}, tmp_path / "log")


def test_what_a_baselines_packages_print_does_not_disturb_the_talk(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "def work(job, tell): print('{hello'); return {'got': job['x']}")
    assert run_worker(worker, {"x": 7}, tmp_path / "log")["got"] == 7
    assert "{hello" in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_crash_is_reported_with_its_last_output_and_its_log(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "def work(job, tell): raise ZeroDivisionError('by nought')")
    with pytest.raises(AutoMedSAMError, match=r"Fake failed \(ZeroDivisionError: by nought\).*log\.$"):
        run_worker(worker, {}, tmp_path / "log")


def test_a_python_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(AutoMedSAMError, match=r"python9 cannot be run.*that has what Fake needs"):
        run_worker(a_worker(tmp_path, ""), {}, tmp_path / "log", python=tmp_path / "python9")


def test_our_own_packages_are_not_pushed_on_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = a_worker(tmp_path, "def work(job, tell): return {'path': os.environ.get('PYTHONPATH')}")
    assert run_worker(worker, {}, tmp_path / "log")["path"] == str(tmp_path)
    assert run_worker(worker, {}, tmp_path / "log", python=Path(sys.executable))["path"] is None


def test_a_baseline_ends_when_the_lab_is_gone(tmp_path: Path) -> None:
    worker = a_worker(tmp_path, "import time\ndef work(job, tell): tell({'tell': 'up'}); time.sleep(60)")
    (tmp_path / "job.json").write_text("{}", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(worker.script), str(tmp_path / "job.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and b"up" in process.stdout.readline()
    process.communicate(timeout=10)
    assert process.returncode == 1


def test_a_baseline_may_not_speak_with_other_machines(tmp_path: Path) -> None:
    body = """
import socket
def work(job, tell):
    refuse_network()
    refused = []
    for attempt in (lambda: socket.create_connection(("127.0.0.1", 9), 1), lambda: socket.getaddrinfo("a.test", 80)):
        try:
            attempt()
        except OSError as error:
            refused.append(error.strerror)
    return {"refused": refused}
"""
    refused = run_worker(a_worker(tmp_path, body), {}, tmp_path / "log")["refused"]
    assert refused == ["a baseline's process may not use the network"] * 2
