"""A script in two processes that torchrun starts, as on a machine with two GPUs, but on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import automedsam_lab


def run_in_two(script: str, folder: Path, *arguments: object, restarts: int = 0) -> str:
    """Runs a script with arguments in two processes, and gives what they print; fails as they do.

    Where one of them dies, both are started again, so many times.
    """
    path = folder / "two_processes.py"
    path.write_text(script, encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launcher += ["--max-restarts", str(restarts)]
    testing = Path(__file__).parents[1]
    folders = [Path(automedsam_lab.__file__).parents[1], testing / "lab", testing / "support"]
    search = os.pathsep.join(map(str, folders))
    started = subprocess.Popen(
        [sys.executable, *launcher, str(path), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        output, error = started.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        started.terminate()  # which the launcher passes on to the two
        output, error = started.communicate(timeout=60)
        error = f"They did not end by themselves. {error}"
    assert started.returncode == 0, error[-3000:]
    return output
