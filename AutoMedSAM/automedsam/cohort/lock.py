"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message

LOCK_NAME = ".lock"


def holder_of(folder: Path) -> str:
    """The process that holds a folder's lock, or held it last, as it looks from here; "" if there was none."""
    try:
        return (folder / LOCK_NAME).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder's lock while the block lasts; the system lets go of it when the process ends, however it ends.

    Raises:
        AutoMedSAMError: If another process holds it, or it cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise AutoMedSAMError(write_error_message(path, error)) from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            holder = holder_of(folder) or "another process"
            message = f"{folder} is in use by {holder}: wait until that run has ended, or choose another output folder."
            raise AutoMedSAMError(message) from error
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
        except OSError as error:
            raise AutoMedSAMError(write_error_message(path, error)) from error
        yield


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        # Beyond the text, which another process reads to name the holder.
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
