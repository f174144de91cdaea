"""Which images go into which shard, and which shards are finished, on disk: memory does not grow with the archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.preparation import PreparationState
from automedsam_lab.data.prepare.split import in_two_parts
from automedsam_lab.data.readers.base import ArchiveEntry, SkippedEntry
from automedsam_lab.data.shards.index import Shard

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (part TEXT, place INT, name TEXT, patient TEXT, bytes INT, source TEXT);
CREATE TABLE IF NOT EXISTS shards (
    file TEXT PRIMARY KEY, part TEXT, first INT, last INT, done TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (path TEXT, reason TEXT, file TEXT, PRIMARY KEY (path, reason)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (value INT PRIMARY KEY, name TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class PlannedShard:
    """A shard that is to be written: the images of a part from one place in the order to another, both included."""

    file: str
    part: str
    first: int
    last: int


class ShardState(PreparationState):
    """The plan of a folder of shards, and which of them are finished. Settings bind once the shards are planned."""

    folder, tables, content = ".shards", _TABLES, "the shards"

    @property
    def is_planned(self) -> bool:
        """Whether an earlier run has assigned all images to shards."""
        return self._stored_settings() is not None

    def plan(
        self,
        entries: Iterable[tuple[str, ArchiveEntry, int] | SkippedEntry],
        labels: Callable[[], Mapping[int, str]],
        limit: int,
        seed: int,
        split: str | None,
    ) -> None:
        """Assign images to shards, in an order drawn with a seed, so that a shard is a sample of its whole part.

        Args:
            entries: each image with its part and the bytes it takes in a shard; or why it cannot be used.
            labels: the class names by value, known once all entries are.
            limit: of a shard, in bytes.
            seed: of the order.
            split: the name of a written split, which may put one patient in two parts.

        Raises:
            AutoMedSAMError: if it does; nothing is planned then.
        """
        with self._base:
            # What a plan that was interrupted left behind.
            for table in ("entries", "labels", "shards", "skipped"):
                self._base.execute(f"DELETE FROM {table}")
            self._base.execute("DROP INDEX IF EXISTS in_order")
            for found in entries:
                if isinstance(found, SkippedEntry):
                    self._skip(found, None)
                    continue
                part, entry, size = found
                source = json.dumps(entry.to_json(), separators=(",", ":"))
                row = (part, _place(entry.case, seed), entry.case, entry.patient, size, source)
                self._base.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)
            self._base.execute("CREATE INDEX in_order ON entries (part, place, name)")
            if split is not None:
                self._check_patients(split)
            self._remove_duplicates()
            self._cut(limit)
            self._base.executemany("INSERT INTO labels VALUES (?, ?)", labels().items())
            # Last, so that a plan which failed binds nobody to its settings.
            self._store_settings()

    def patients(self) -> dict[str, int]:
        """How many patients each part has."""
        return dict(self._base.execute("SELECT part, COUNT(DISTINCT patient) FROM entries GROUP BY part"))

    def forget_damaged(self) -> None:
        """Have shards written again that are gone or have another size, and delete what a killed run left behind."""
        for path in self._out.glob(".automedsam-*"):
            path.unlink()
        with self._base:
            for shard in list(self.finished()):
                try:
                    shard.check_size(self._out)
                except AutoMedSAMError:
                    self._base.execute("DELETE FROM skipped WHERE file = ?", (shard.file,))
                    self._base.execute("UPDATE shards SET done = NULL WHERE file = ?", (shard.file,))

    def finished(self, part: str | None = None) -> Iterator[Shard]:
        """The shards that are written, in the order of their names; of all parts if None."""
        query = "SELECT done FROM shards WHERE done IS NOT NULL AND part = IFNULL(?, part) ORDER BY file"
        for (done,) in self._base.execute(query, (part,)).fetchall():
            yield Shard(**json.loads(done))

    def to_do(self) -> list[PlannedShard]:
        """The shards that are to be written."""
        query = "SELECT file, part, first, last FROM shards WHERE done IS NULL ORDER BY file"
        return [PlannedShard(*row) for row in self._base.execute(query)]

    def entries(self, shard: PlannedShard) -> list[ArchiveEntry]:
        """The images of a shard, in their order."""
        query = "SELECT source FROM entries WHERE part = ? AND place BETWEEN ? AND ? ORDER BY place, name"
        rows = self._base.execute(query, (shard.part, shard.first, shard.last))
        return [ArchiveEntry.from_json(json.loads(source)) for (source,) in rows]

    def finish(self, planned: PlannedShard, done: Shard, flaws: Iterable[SkippedEntry]) -> None:
        """Record a shard that has its final name, and the images that were left out of it."""
        with self._base:
            for flaw in flaws:
                self._skip(flaw, planned.file)
            self._base.execute("UPDATE shards SET done = ? WHERE file = ?", (json.dumps(asdict(done)), planned.file))

    def skipped(self, limit: int) -> tuple[int, list[SkippedEntry]]:
        """How many images cannot be used, and the first few of them."""
        rows = self._base.execute("SELECT path, reason FROM skipped ORDER BY path LIMIT ?", (limit,))
        first = [SkippedEntry(*row) for row in rows]
        return int(self._base.execute("SELECT COUNT(*) FROM skipped").fetchone()[0]), first

    def labels(self) -> dict[int, str]:
        """The class names by value."""
        return dict(self._base.execute("SELECT value, name FROM labels ORDER BY value"))

    def _skip(self, flaw: SkippedEntry, file: str | None) -> None:
        self._base.execute("INSERT OR IGNORE INTO skipped VALUES (?, ?, ?)", (flaw.path, flaw.reason, file))

    def _check_patients(self, split: str) -> None:
        query = "SELECT patient FROM entries GROUP BY patient HAVING COUNT(DISTINCT part) > 1 LIMIT 6"
        if twice := [patient for (patient,) in self._base.execute(query)]:
            raise AutoMedSAMError(in_two_parts(split, twice))

    def _remove_duplicates(self) -> None:
        """Keep the first of several images of one name: it identifies the samples of a set."""
        query = "SELECT part, place, name FROM entries GROUP BY part, place, name HAVING COUNT(*) > 1"
        for key in self._base.execute(query).fetchall():
            where = "FROM entries WHERE part = ? AND place = ? AND name = ?"
            rows = self._base.execute(f"SELECT rowid, source {where} ORDER BY rowid", key).fetchall()
            for rowid, source in rows[1:]:
                path = json.loads(source)["images"][0]
                self._skip(SkippedEntry(path, f"{path} has the name {key[2]}, as another image has."), None)
                self._base.execute("DELETE FROM entries WHERE rowid = ?", (rowid,))

    def _cut(self, limit: int) -> None:
        """Fill shards one after the other up to the limit."""
        query = "SELECT part, place, bytes FROM entries ORDER BY part, place"
        for part, rows in groupby(self._base.execute(query), key=lambda row: row[0]):
            ranges: list[list[int]] = []
            filled = 0
            for _, place, size in rows:
                if not ranges or (filled + size > limit and place != ranges[-1][1]):
                    ranges.append([place, place])
                    filled = 0
                ranges[-1][1] = place
                filled += size
            self._base.executemany(
                "INSERT INTO shards VALUES (?, ?, ?, ?, NULL)",
                [(f"{part}-{number:06d}.tar", part, first, last) for number, (first, last) in enumerate(ranges)],
            )


def _place(name: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
