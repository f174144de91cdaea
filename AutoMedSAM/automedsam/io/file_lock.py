"""A lock that keeps two processes from doing the same work at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automedsam.errors import AutoMedSAMError


@contextmanager
def file_lock(path: Path, doing: str) -> Iterator[None]:
    """Locks a file while the block lasts; where a network drive has no locks, nothing is locked.

    Args:
        path: The lock's file, made if it does not exist; it stays.
        doing: What the block does, to complete "Another process is ... already".

    Raises:
        AutoMedSAMError: If another process has the lock.
        OSError: If the file cannot be made.
    """
    with path.open("a", encoding="utf-8") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            message = f"Another process is {doing} already: wait until it has finished."
            raise AutoMedSAMError(message) from error
        except OSError:
            pass
        yield
