"""An append-only file of JSON lines, each with a checksum: what was written before a crash is never lost or doubted."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message

Record: TypeAlias = dict[str, Any]

_CHECKSUM = "crc32"
_COMPLETE = re.compile(rb',"crc32":"[0-9a-f]{8}"}\n\Z')


class Journal:
    """A journal that is written by one process at a time and read by any number.

    A record is one line: a JSON object whose last field, `crc32`, is the checksum of the line without it. A line that a
    crash cut off is left out by readers, and the next append starts on a line of its own.

    Args:
        path: The file; it appears with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> int:
        """Writes a record and waits until it is on the disk.

        Returns:
            Where in the file it starts, for `read_at`.

        Raises:
            AutoMedSAMError: If it cannot be written; the file then is as it was, or ends in an unfinished line.
        """
        line = _encode(record)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                end = os.lseek(descriptor, 0, os.SEEK_END)
                if end:
                    os.lseek(descriptor, end - 1, os.SEEK_SET)
                    if os.read(descriptor, 1) != b"\n":
                        line, end = b"\n" + line, end + 1
                while line:
                    line = line[os.write(descriptor, line) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AutoMedSAMError(write_error_message(self.path, error)) from error
        return end

    def read(self) -> Iterator[tuple[int, Record]]:
        """Every whole record with the place where it starts, in the order in which they were written.

        Raises:
            AutoMedSAMError: If the file cannot be read, or a line in it is damaged.
        """
        try:
            with self.path.open("rb") as file:
                offset = 0
                for number, line in enumerate(file, start=1):
                    record = _decode(line)
                    # A line without a checksum was cut off by a crash; one with a wrong checksum was changed.
                    if record is not None:
                        yield offset, record
                    elif _COMPLETE.search(line):
                        message = (
                            f"Line {number} of {self.path} is damaged or was edited: restore the file from a copy, or "
                            "choose another output folder."
                        )
                        raise AutoMedSAMError(message)
                    offset += len(line)
        except FileNotFoundError:
            return
        except OSError as error:
            message = f"{self.path} cannot be read ({error.strerror or error}); check its permissions."
            raise AutoMedSAMError(message) from error

    def read_at(self, offset: int) -> Record:
        """The record that starts at a place that `append` or `read` gave.

        Raises:
            AutoMedSAMError: If there is none.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                record = _decode(file.readline())
        except OSError:
            record = None
        if record is None:
            message = f"{self.path} was changed while it was used; run the same command again."
            raise AutoMedSAMError(message)
        return record


def _encode(record: Record) -> bytes:
    body = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    checksum = f'"{_CHECKSUM}":"{zlib.crc32(body.encode()):08x}"'
    return f"{body[:-1]},{checksum}}}\n".encode()


def _decode(line: bytes) -> Record | None:
    head, separator, tail = line.rpartition(f',"{_CHECKSUM}":"'.encode())
    if not separator or tail[8:] != b'"}\n' or tail[:8] != f"{zlib.crc32(head + b'}'):08x}".encode():
        return None
    record = json.loads(head + b"}")
    return record if isinstance(record, dict) else None
