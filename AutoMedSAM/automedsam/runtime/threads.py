"""How many threads ONNX Runtime gets: the number that the user sets, else the fastest on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.runtime.golden_outputs import example_inputs
from automedsam.runtime.session import available_cores, open_session

VARIABLE = "AUTOMEDSAM_THREADS"
# So few cores are all used, without a measurement.
FEW_CORES = 2
# Half the threads may take this much longer: the rest is for the viewer.
MAX_SLOWDOWN = 1.05

_chosen: dict[Path, int] = {}


def tuned_thread_count(path: Path) -> int:
    """The threads within an operator for a bundle's models; measured once for each file in a process.

    Cores that are two halves of one (hyperthreads), slow ones, and those that a container may not use all the time
    make a model slower than it is without them, and no system reports all three.

    Args:
        path: the model file to measure with.

    Raises:
        AutoMedSAMError: if AUTOMEDSAM_THREADS is no number of threads, or the file cannot be run.
    """
    value, cores = threads_from_environment(), available_cores()
    if value is not None:
        return value
    if cores <= FEW_CORES:
        return cores
    path = path.resolve()
    if path not in _chosen:
        _chosen[path] = _fastest_thread_count(cores, lambda threads: _seconds(path, threads))
    return _chosen[path]


def threads_from_environment() -> int | None:
    """The value of AUTOMEDSAM_THREADS, or all cores if those are fewer; None if it is not set.

    Raises:
        AutoMedSAMError: if it is no whole number of 1 or more.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value)):
        message = f"{VARIABLE} is {value!r}: set it to how many threads to use, such as 4, or leave it out."
        raise AutoMedSAMError(message)
    return min(int(value), available_cores())


def _fastest_thread_count(cores: int, seconds: Callable[[int], float]) -> int:
    """All cores, or half of them again and again, as long as that takes hardly longer.

    Args:
        cores: the most threads.
        seconds: measures how long so many threads take.
    """
    chosen, least = cores, seconds(cores)
    while chosen > 1:
        took = seconds(chosen // 2)
        if took > MAX_SLOWDOWN * least:
            break
        chosen, least = chosen // 2, min(took, least)
    return chosen


def _seconds(path: Path, threads: int) -> float:
    """The quicker of two runs, after one that warms up."""
    session = open_session(path, threads)
    feed, took = example_inputs(session), []
    for _ in range(3):
        began = time.perf_counter()
        session.run(None, feed)
        took.append(time.perf_counter() - began)
    return min(took[1:])
