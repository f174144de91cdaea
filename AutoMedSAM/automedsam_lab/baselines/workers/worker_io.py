"""How a baseline's process talks with the lab: a JSON job in, JSON lines out.

The scripts beside this file are run by path, in a Python that may not have AutoMedSAM: they import nothing of it.
So they send progress with the function `tell`, a line of standard output each, and write files in their own way: the
lab's log handler and `automedsam.io.atomic` are in another process.

A line is one of `{"done": case, "seconds": s, "images": n}`, `{"tell": text}`, `{"missing": package}`,
`{"error": sentence}` and, last, `{"result": {...}}`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tell = Callable[[dict[str, Any]], None]


class WorkerError(Exception):
    """What the user can put right, in one sentence."""


def run_job(work: Callable[[dict[str, Any], Tell], dict[str, Any]]) -> None:
    """Reads the job that the command line names, does it, and says what came of it.

    Args:
        work: takes the job and a way to send a line, and returns the result.
    """
    threading.Thread(target=_end_with_the_lab, daemon=True).start()
    # Packages print as they like: standard output is kept for the lines, and what they print goes to the log.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(line: dict[str, Any]) -> None:
        lines.write(json.dumps(line) + "\n")
        lines.flush()

    try:
        job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        result = work(job, tell)
        torch = sys.modules.get("torch")
        ran_on = {"python": platform.python_version()} | ({"torch": torch.__version__} if torch else {})
        tell({"result": {**result, "ran_on": ran_on}})
    except ModuleNotFoundError as error:
        traceback.print_exc()
        tell({"missing": error.name})
        sys.exit(1)
    except WorkerError as error:
        tell({"error": str(error)})
        sys.exit(1)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        traceback.print_exc()
        tell({"error": "The torch and torchvision of this Python do not belong together: install both from one index."})
        sys.exit(1)


def _end_with_the_lab() -> None:
    """The lab holds the other end of standard input: when it is gone, nobody waits for this process any more."""
    os.read(0, 1)  # Not through sys.stdin, whose lock Python waits for at its end.
    os._exit(1)


def refuse_network() -> None:
    """Lets nothing in this process speak with other machines, whatever the packages mean to: it ends in an error."""

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
            raise OSError(101, "a baseline's process may not use the network")

    sys.addaudithook(refuse)


def choose_device(job: dict[str, Any]) -> str:
    """The device of a job, and its threads.

    Raises:
        WorkerError: if it asks for a GPU that is not there.
    """
    import torch

    if job["device"] == "cuda" and not torch.cuda.is_available():
        message = "This machine has no GPU that PyTorch can use: choose the device cpu."
        raise WorkerError(message)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job.get("seed", 0))
    return str(job["device"])


def load_weights(path: str, network: Any, what: str) -> None:
    """Loads a checkpoint of tensors into a network; those of a nested "model" or "state_dict" are taken.

    Raises:
        WorkerError: if the file holds no such tensors.
    """
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("model", "state_dict"):
            if isinstance(stored, dict) and isinstance(stored.get(key), dict):
                stored = stored[key]
        network.load_state_dict(stored)
    except Exception as error:
        traceback.print_exc()
        message = f"{path} does not hold the weights of {what}; give the checkpoint that belongs to it."
        raise WorkerError(message) from error


def size_mb(path: str | None, network: Any) -> float:
    """Millions of bytes: of the checkpoint, or of the parameters in float32 where there is none."""
    if path is not None:
        return Path(path).stat().st_size / 1e6
    return sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6


def write_whole(path: Path, text: str) -> None:
    """Writes a text file that is whole or not there at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
