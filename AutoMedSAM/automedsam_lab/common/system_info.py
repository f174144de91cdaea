"""What measurements were taken on, and how much memory a part of them took."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from automedsam.runtime.session import available_cores


def describe_machine() -> dict[str, str | int]:
    """The processor, its cores that this process may use, and the versions that decide the speed."""
    described: dict[str, str | int] = {
        "cpu": _processor(),
        "cores": available_cores(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    for package in ("onnxruntime", "openvino", "torch"):
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            continue
    return described


def forget_peak_memory() -> bool:
    """Starts the count of this process's peak memory anew; only Linux can, elsewhere the peak is of all runs.

    Returns:
        Whether it was done.
    """
    try:
        # 5 sets the peak resident set ("high water mark") to what is resident now: proc(5).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _processor() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in described.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
