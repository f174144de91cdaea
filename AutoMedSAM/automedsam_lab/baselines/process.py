"""A baseline's process: started with a job file, followed line by line, and ended with us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError

WORKERS = Path(__file__).parent / "workers"
Line = dict[str, Any]


@dataclass(frozen=True)
class Worker:
    """What runs a baseline.

    Attributes:
        baseline: its name as a sentence has it.
        script: the file that is run, by its path.
        install: the command that brings what it needs.
        notice: printed each time it is used, such as its license.
    """

    baseline: str
    script: Path
    install: str
    notice: str = ""


@dataclass(frozen=True)
class RunSettings:
    """Where a baseline runs.

    Attributes:
        device: "cpu" or "cuda".
        threads: Number of threads on a CPU.
        python: The interpreter that has the packages of the baseline; this one if None.
    """

    device: str = "cpu"
    threads: int = 2
    python: Path | None = None


def run_worker(
    worker: Worker,
    job: Line,
    log: Path,
    *,
    python: Path | None = None,
    threads: int | None = None,
    on_line: Callable[[Line], None] = lambda line: None,
) -> Line:
    """Runs a baseline in a process of its own.

    Args:
        worker: what runs it.
        job: JSON values; how the script knows what to do.
        log: a file for all that the baseline's packages print.
        python: the interpreter to run it in; this one if None.
        threads: of OpenMP and its like; as many as the packages choose if None.
        on_line: called with each line but the last (see `workers/worker_io.py`).

    Returns:
        The result that the script sends last.

    Raises:
        AutoMedSAMError: if there is no such interpreter, a package is missing, or the script fails.
    """
    interpreter = str(python or sys.executable)
    with tempfile.TemporaryDirectory(prefix="automedsam-baseline-") as folder:
        job_file = Path(folder) / "job.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        with log.open("ab") as heard:
            try:
                process = subprocess.Popen(
                    [interpreter, str(worker.script), str(job_file)],
                    stdin=subprocess.PIPE,  # Never written to: it closes when this process ends, however it does.
                    stdout=subprocess.PIPE,
                    stderr=heard,
                    env=_environment(python is not None, threads),
                    encoding="utf-8",
                )
            except OSError as error:
                message = (
                    f"{interpreter} cannot be run ({error.strerror}); give the path of a Python that has what "
                    f"{worker.baseline} needs."
                )
                raise AutoMedSAMError(message) from error
            try:
                last = _track(process, on_line)
            except BaseException:
                process.kill()
                raise
            finally:
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
    if "missing" in last:
        message = (
            f"{worker.baseline} needs {last['missing']}, which is not installed for {interpreter}: {worker.install}, "
            "or name a Python that has it with --python."
        )
        raise AutoMedSAMError(message)
    if "error" in last:
        raise AutoMedSAMError(str(last["error"]))
    if "result" not in last or process.returncode != 0:
        message = (
            f"{worker.baseline} failed ({_last_words(log) or f'exit code {process.returncode}'}); all of it: {log}."
        )
        raise AutoMedSAMError(message)
    result: Line = last["result"]
    return result


def _track(process: subprocess.Popen[str], on_line: Callable[[Line], None]) -> Line:
    """Passes the lines on as they come; returns the one that ends the talk, or an empty one."""
    last: Line = {}
    assert process.stdout is not None
    for text in process.stdout:
        line = json.loads(text)
        if line.keys() & {"result", "missing", "error"}:
            last = line
        else:
            on_line(line)
    return last


def _environment(another_python: bool, threads: int | None) -> dict[str, str]:
    kept = dict(os.environ)
    if another_python:
        # Our own packages are of no use to another interpreter, and may be of another version than its own.
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            kept.pop(name, None)
    if threads is not None:
        kept |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # A thread that waits for another one must not count as computing.
    kept["OMP_WAIT_POLICY"] = "PASSIVE"
    # glibc gives large buffers back to the system and fetches them page by page for the next layer: a third of the
    # time of training a 3-D network on a CPU.
    kept |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
    kept["MALLOC_TOP_PAD_"] = str(1 << 28)
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line.rstrip(".") for line in reversed(lines) if line), "")
