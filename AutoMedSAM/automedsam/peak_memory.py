"""Peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_KIB = 1024


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
