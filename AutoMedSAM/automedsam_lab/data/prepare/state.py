"""What is planned and what is done, on disk: a run that was cut goes on, and its memory does not grow with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from automedsam_lab.data.preparation import PreparationState
from automedsam_lab.data.prepare.image_worker import EntryResult
from automedsam_lab.data.readers.base import ArchiveEntry, SkippedEntry

_TABLES = """
CREATE TABLE IF NOT EXISTS plan (
    name TEXT PRIMARY KEY, patient TEXT, part TEXT, signature TEXT, source TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (
    name TEXT PRIMARY KEY, part TEXT, signature TEXT, slivers INT, left_out INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pictures (
    part TEXT, file TEXT, name TEXT, boxes INT, image TEXT, image_size INT, mask TEXT, mask_size INT, entry TEXT,
    PRIMARY KEY (part, file)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pictures_of ON pictures (name);
CREATE TABLE IF NOT EXISTS skipped (path TEXT, reason TEXT, PRIMARY KEY (path, reason)) WITHOUT ROWID;
"""
_A_PAGE = 500


class PrepareState(PreparationState):
    """The plan of a prepared dataset, and which of its entries are finished."""

    folder, tables, content = ".prepare", _TABLES, "the prepared dataset"

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        nothing_done = error is not None and not self._is_begun()
        if nothing_done:
            with contextlib.suppress(OSError, sqlite3.Error):
                self.remove_orphans()
        try:
            super().__exit__(_type, error, _traceback)
        finally:
            if nothing_done:
                self._leave()

    def plan(
        self, sources: Iterator[ArchiveEntry | SkippedEntry], root: Path, on_flaw: Callable[[SkippedEntry], None]
    ) -> None:
        """Takes down what an archive holds now, in place of what was planned before.

        Args:
            sources: its entries.
            root: the archive's folder, to see when their files were changed.
            on_flaw: called with what cannot be used, a missing file or a name that is taken included; what it raises
                ends the planning, and nothing is taken down.
        """
        with self._base:
            self._base.execute("DELETE FROM plan")
            self._base.execute("DELETE FROM skipped")
            for source in sources:
                flaw = source if isinstance(source, SkippedEntry) else self._add(source, root)
                if flaw is not None:
                    self._skip(flaw)
                    on_flaw(flaw)

    def patients(self) -> Iterator[tuple[str, str]]:
        """Every planned patient with each of its entries' names."""
        yield from self._base.execute("SELECT patient, name FROM plan ORDER BY patient, name")

    def place(
        self, parts: Iterator[tuple[str, str | None]], split: str, on_flaw: Callable[[SkippedEntry], None]
    ) -> None:
        """Puts entries into parts; those without a part are not prepared.

        Args:
            parts: each entry's name and its part, None where the split does not know it.
            split: what the split is called.
            on_flaw: called with each entry without a part.
        """
        with self._base:
            self._base.execute("CREATE TEMP TABLE placed (name TEXT PRIMARY KEY, part TEXT)")
            self._base.executemany("INSERT INTO placed VALUES (?, ?)", parts)
            self._base.execute("UPDATE plan SET part = (SELECT part FROM placed WHERE placed.name = plan.name)")
            self._base.execute("DROP TABLE placed")
            nowhere = self._base.execute("SELECT name, patient, source FROM plan WHERE part IS NULL ORDER BY name")
            for name, patient, source in nowhere.fetchall():
                path = json.loads(source)["images"][0]
                flaw = SkippedEntry(path, f"{path} is of {patient}, whom the split {split} does not name.")
                self._skip(flaw)
                self._base.execute("DELETE FROM plan WHERE name = ?", (name,))
                on_flaw(flaw)

    def forget_what_changed(self) -> None:
        """Removes what was made of entries that are gone, changed, in another part, or whose files are not whole."""
        with self._base:
            outdated = self._base.execute(
                "SELECT done.name FROM done LEFT JOIN plan ON plan.name = done.name AND plan.part = done.part "
                "AND plan.signature = done.signature WHERE plan.name IS NULL"
            ).fetchall()
            for (name,) in outdated:
                self._forget(name)
            broken = {
                name
                for name, part, file, image_size, mask_size in self._base.execute(
                    "SELECT name, part, file, image_size, mask_size FROM pictures"
                )
                if not self._is_whole("images", part, file, image_size)
                or (mask_size is not None and not self._is_whole("masks", part, file, mask_size))
            }
            for name in broken:
                self._forget(name)

    def remove_orphans(self) -> None:
        """Removes files that no entry accounts for, such as those of an entry during which a run was cut."""
        for folder in ("images", "masks"):
            for part in sorted((self._out / folder).glob("*")):
                for path in part.iterdir():
                    known = self._base.execute(
                        "SELECT mask IS NOT NULL FROM pictures WHERE part = ? AND file = ?", (part.name, path.name)
                    ).fetchone()
                    if known is None or (folder == "masks" and not known[0]):
                        path.unlink()

    def counts(self) -> tuple[int, int]:
        """How many entries are planned, and how many of them are done."""
        planned = self._base.execute("SELECT COUNT(*) FROM plan").fetchone()[0]
        return planned, self._base.execute("SELECT COUNT(*) FROM done").fetchone()[0]

    def to_do(self) -> Iterator[tuple[ArchiveEntry, str]]:
        """Entries that are still to be made, with their parts, in the order of their names."""
        after = ""
        while True:
            # A page at a time, for what is done meanwhile must not disturb the reading.
            page = self._base.execute(
                "SELECT plan.name, plan.part, source FROM plan LEFT JOIN done ON done.name = plan.name "
                "WHERE done.name IS NULL AND plan.name > ? ORDER BY plan.name LIMIT ?",
                (after, _A_PAGE),
            ).fetchall()
            for name, part, source in page:
                after = name
                yield ArchiveEntry.from_json(json.loads(source)), part
            if len(page) < _A_PAGE:
                return

    def finish(self, source: ArchiveEntry, part: str, made: EntryResult) -> SkippedEntry | None:
        """Takes down what became of an entry, at once and whole.

        Returns:
            Its flaw, if it was skipped.
        """
        with self._base:
            if made.flaw is not None:
                flaw = SkippedEntry(source.images[0], made.flaw)
                self._skip(flaw)
                return flaw
            self._base.execute(
                "INSERT INTO done SELECT name, part, signature, ?, ? FROM plan WHERE name = ?",
                (made.slivers, made.left_out, source.case),
            )
            self._base.executemany(
                "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        part,
                        written.entry["file_name"],
                        source.case,
                        len(written.entry["boxes"]),
                        written.image.sha256,
                        written.image.size,
                        None if written.mask is None else written.mask.sha256,
                        None if written.mask is None else written.mask.size,
                        json.dumps(written.entry, separators=(",", ":")),
                    )
                    for written in made.written
                ],
            )
        return None

    def read(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time: for those who write the dataset's tables."""
        yield from self._base.execute(query, values)

    def _add(self, source: ArchiveEntry, root: Path) -> SkippedEntry | None:
        try:
            stats = [(root / file).stat() for file in source.files]
        except OSError as error:
            return SkippedEntry(
                source.images[0], f"{error.filename} cannot be read ({error.strerror}); restore the archive."
            )
        content = json.dumps(source.to_json(), separators=(",", ":"))
        changed = "".join(f"{stat.st_size}:{stat.st_mtime_ns};" for stat in stats)
        signature = hashlib.sha256(f"{content}{changed}".encode()).hexdigest()
        try:
            self._base.execute(
                "INSERT INTO plan VALUES (?, ?, NULL, ?, ?)", (source.case, source.patient, signature, content)
            )
        except sqlite3.IntegrityError:
            return SkippedEntry(
                source.images[0], f"{root / source.images[0]} is called {source.case}, as another entry is."
            )
        return None

    def _skip(self, flaw: SkippedEntry) -> None:
        self._base.execute("INSERT OR IGNORE INTO skipped VALUES (?, ?)", (flaw.path, flaw.reason))

    def _forget(self, name: str) -> None:
        for part, file in self._base.execute("SELECT part, file FROM pictures WHERE name = ?", (name,)).fetchall():
            for folder in ("images", "masks"):
                (self._out / folder / part / file).unlink(missing_ok=True)
        self._base.execute("DELETE FROM pictures WHERE name = ?", (name,))
        self._base.execute("DELETE FROM done WHERE name = ?", (name,))

    def _is_whole(self, folder: str, part: str, file: str, size: int) -> bool:
        try:
            return (self._out / folder / part / file).stat().st_size == size
        except OSError:
            return False

    def _is_begun(self) -> bool:
        """Whether an entry is done; taken as so where the database does not tell."""
        try:
            return self._base.execute("SELECT 1 FROM done LIMIT 1").fetchone() is not None
        except sqlite3.Error:
            return True

    def _leave(self) -> None:
        """Takes away the empty folders of a run that made nothing, and its state: the next may have other settings."""
        folders = sorted((path for path in self._out.rglob("*") if path.is_dir()), reverse=True)
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if self._out.is_dir() and [path.name for path in self._out.iterdir()] == [self.folder]:
            shutil.rmtree(self._out / self.folder, ignore_errors=True)

    def _check_settings(self) -> None:
        super()._check_settings()
        if self._stored_settings() is None:
            with self._base:
                self._store_settings()
