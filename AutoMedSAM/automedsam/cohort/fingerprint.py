"""Whether a case's files are what they were: by size and time, and where these differ by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from automedsam.io.dicom.reader import is_dicom_file

# Headers whose voxels lie in a file of the same stem beside them.
_DETACHED = (".hdr", ".img", ".mhd", ".nhdr")

Stamp: TypeAlias = list[int]
"""The number of files, their bytes, and the latest time of change in ns."""


def files_of(path: Path) -> list[Path]:
    """All files that are read where a case names `path`: those of a DICOM series, of a detached header, or itself.

    Raises:
        OSError: If they cannot be listed.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() in _DETACHED:
        return sorted(file for file in path.parent.iterdir() if file.is_file() and file.stem.startswith(path.stem))
    if is_dicom_file(path):
        return sorted(file for file in path.parent.iterdir() if file.is_file() and not file.name.startswith("."))
    return [path]


def stamp(paths: Iterable[Path]) -> Stamp:
    """What the file system knows of the files, without reading them.

    Raises:
        OSError: If one is missing or cannot be looked at.
    """
    found = [file.stat() for path in paths for file in files_of(path)]
    return [len(found), sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)]


def content_hash(paths: Iterable[Path]) -> str:
    """The SHA-256 of the files' names and contents, in order.

    Raises:
        OSError: If one cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        for file in files_of(path):
            total.update(f"{file.name}\n".encode("utf-8", "surrogateescape"))
            with file.open("rb") as opened:
                total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()
