"""The progress of a preparation on disk, so that an interrupted run can resume, and the summary of a run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import SkippedEntry


@dataclass(frozen=True)
class PreparationSummary:
    """The result of a run.

    Attributes:
        counts: Patients, images and the like, by split.
        made: Number of entries or shards that this run made.
        kept: Number of those that earlier runs had made.
        skipped: The first few entries that cannot be used.
        skips: Number of all entries that cannot be used.
        seconds: Duration of the run.
        peak_mb: Peak memory of this process and its workers, each at its own maximum, in MB.
    """

    counts: dict[str, dict[str, int]]
    made: int
    kept: int
    skipped: tuple[SkippedEntry, ...]
    skips: int
    seconds: float
    peak_mb: float


class PreparationState:
    """An SQLite database in the output folder. Its memory does not grow with the dataset; one run at a time may use it.

    Subclasses define their tables, and store the settings with `_store_settings` once they are binding.

    Args:
        out: The output folder, which must be empty or hold the output of a run with the same settings.
        settings: Everything that determines the content of the output.

    Raises:
        AutoMedSAMError: The folder holds something else or cannot be written, or another run uses it.
    """

    folder: ClassVar[str]
    """Name of the database's folder in the output folder."""
    tables: ClassVar[str]
    """SQL that creates the tables which do not exist yet."""
    content: ClassVar[str]
    """What the output folder is for: the prepared dataset, the shards."""

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self._out, self._settings = out, json.dumps(settings)
        place = out / self.folder / "state.sqlite"
        try:
            if not place.exists() and out.exists() and any(out.iterdir()):
                message = f"The folder {out} holds other files; name a new folder for {self.content}."
                raise AutoMedSAMError(message)
            place.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(place, timeout=1)
            self._base.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(f"CREATE TABLE IF NOT EXISTS settings (text TEXT);\n{self.tables}")
        except (OSError, sqlite3.Error) as error:
            message = f"The folder {out} cannot be used ({error}); wait for another run to end, or choose another one."
            raise AutoMedSAMError(message) from error
        try:
            self._check_settings()
        except AutoMedSAMError:
            self._base.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._base.close()
        if isinstance(error, sqlite3.Error):
            message = f"The state of {self._out} cannot be kept ({error}); free space there and run the command again."
            raise AutoMedSAMError(message) from error

    def _stored_settings(self) -> str | None:
        row = self._base.execute("SELECT text FROM settings").fetchone()
        return None if row is None else str(row[0])

    def _store_settings(self) -> None:
        self._base.execute("INSERT INTO settings VALUES (?)", (self._settings,))

    def _check_settings(self) -> None:
        stored = self._stored_settings()
        if stored is None:
            return
        before, now = json.loads(stored), json.loads(self._settings)
        if other := [name for name in now if before.get(name) != now[name]]:
            described = "; ".join(f"{name} {before.get(name)}, now {now[name]}" for name in other[:3])
            message = f"The folder {self._out} was begun with {described}: use the same settings or name a new folder."
            raise AutoMedSAMError(message)
