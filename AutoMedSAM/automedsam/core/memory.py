"""Memory: how much a process has used, and how to recognize that there was not enough."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np

_STATUS = Path("/proc/self/status")
# "5" resets the peak (proc_pid_clear_refs(5)).
_CLEAR_REFS = Path("/proc/self/clear_refs")
_KIB = 1024
# Address space: less than any run takes on Linux (1.2 GB), and more than its libraries need to load.
_RUN_BYTES = 512 << 20
# SciPy's libraries, and what its own OpenBLAS takes when it loads.
_SCIPY_BYTES = 128 << 20
# What numpy, ITK, ONNX Runtime, the loader of shared libraries, pthreads and Python's threads write when an
# allocation fails; their exceptions share no class.
_SIGNS = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "unable to allocate",
    "cannot allocate",
    "could not allocate",
    "allocation failed",
    "memory allocation",
    "out of memory",
    "not enough memory",
    "failed to map segment",
    "can't start new thread",
    "pthread_create",
    # What CPython makes of a failed allocation while it imports.
    "error return without exception set",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, is a failed allocation of memory or of a thread."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        text = str(error).lower()
        if not isinstance(error, OSError) and any(sign in text for sign in _SIGNS):
            return True
        error = error.__cause__ or error.__context__
    return False


def not_enough_memory(doing: str) -> str:
    """The sentence for a failed allocation; `doing` completes "not enough memory to ..."."""
    return f"There is not enough memory to {doing}; close other programs, or use a computer with more memory."


def check_room_for_a_run() -> None:
    """Make sure that the libraries of a run can load, and let NumPy's OpenBLAS take its 32 MB now.

    Without the memory they need, some of them end the process with a line of their own, which nothing can catch.

    Raises:
        MemoryError: If there is less memory than the smallest run takes.
    """
    np.empty(_RUN_BYTES, np.uint8)
    np.linalg.inv(np.eye(64) @ np.eye(64))


def check_room_for_scipy() -> None:
    """Make sure that SciPy can load; call it before the first import.

    Its OpenBLAS takes 32 MB for itself when it loads, and where it does not get them it tries forever.

    Raises:
        MemoryError: If there is too little memory.
    """
    if "scipy.linalg" not in sys.modules:
        np.empty(_SCIPY_BYTES, np.uint8)


def reset_peak_memory() -> bool:
    """Let `peak_memory_mb` start again from what this process has in RAM now.

    Returns:
        Whether this system can; only Linux does.
    """
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float:
    """The most memory that this process has had in RAM, in MB (10^6 bytes); 0 where the system does not report it."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        # `getrusage` may report the peak of the program that started this one.
        return next(int(line.split()[1]) * _KIB / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * _KIB / 1e6
