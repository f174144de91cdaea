"""The manifest of a cohort: which cases are done, with what, and what remains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from automedsam import __version__
from automedsam.cohort.case import Case
from automedsam.cohort.fingerprint import Stamp, stamp
from automedsam.cohort.journal import Journal, Record
from automedsam.cohort.output_folder import OutputFolder
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.worker import DONE
from automedsam.errors import AutoMedSAMError


@dataclass(frozen=True)
class _Known:
    """What has to stay in memory of a case: where its last record is, and what it was made from."""

    offset: int
    is_done: bool
    paths: tuple[str, ...]
    stamp: Stamp
    output: str
    size: int


class Manifest:
    """The manifest in an output folder; open it under the folder's lock to write.

    Args:
        folder: The output folder.

    Raises:
        AutoMedSAMError: If it is damaged or of another program.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder
        self.settings: CohortSettings | None = None
        self._journal = Journal(folder.manifest)
        self._known: dict[str, _Known] = {}
        try:
            for offset, record in self._journal.read():
                if record["event"] == "run":
                    self.settings = CohortSettings(**record["settings"])
                elif record["event"] == "case":
                    self._know(offset, record)
        except (KeyError, TypeError) as error:
            message = f"{folder.manifest} is not the manifest of a cohort: choose another output folder."
            raise AutoMedSAMError(message) from error

    def begin(self, settings: CohortSettings, source: str, count: int) -> None:
        """Notes the start of a run.

        Raises:
            AutoMedSAMError: If the folder holds results of other settings; nothing is changed.
        """
        self.check(settings)
        self._journal.append(
            _dated("run") | {"automedsam": __version__, "settings": settings.to_json(), "input": source, "cases": count}
        )
        self.settings = settings

    def check(self, settings: CohortSettings) -> None:
        """Checks that the folder's results are of these settings.

        Raises:
            AutoMedSAMError: If they are not.
        """
        if self.settings is None:
            return
        if differences := settings.differences(self.settings):
            message = (
                f"{self.folder.path} contains results of other settings ({', '.join(differences)}): choose another "
                "output folder, or give the same settings."
            )
            raise AutoMedSAMError(message)

    def add(self, record: Record) -> None:
        """Notes what became of a case; it is on the disk when this returns."""
        record = _dated("case") | record
        self._know(self._journal.append(record), record)

    def end(self, reason: str) -> None:
        """Notes the end of a run: "finished" or "stopped"."""
        self._journal.append(_dated("end") | {"reason": reason})

    def is_done(self, case: Case) -> bool:
        """Whether a case has a whole result from the same files, by their paths, sizes and times."""
        known = self._known.get(case.name)
        if known is None or not known.is_done or known.paths != tuple(map(str, case.paths)):
            return False
        try:
            sources = [*case.paths, *([case.reference] if case.reference else [])]
            whole = (self.folder.path / known.output).stat().st_size == known.size
            return whole and self.folder.details(case.stem).is_file() and stamp(sources) == known.stamp
        except OSError:
            return False

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def records(self) -> Iterator[Record]:
        """The last record of each case, by name; read from the file one at a time."""
        for _, known in sorted(self._known.items()):
            yield self._journal.read_at(known.offset)

    def record(self, name: str) -> Record:
        """The last record of a case.

        Raises:
            KeyError: If there is none.
        """
        return self._journal.read_at(self._known[name].offset)

    def _know(self, offset: int, record: dict[str, Any]) -> None:
        output = record.get("output", {"path": "", "bytes": 0})
        self._known[record["case"]] = _Known(
            offset,
            record["state"] == DONE,
            tuple(record["paths"]),
            record.get("inputs", {}).get("stamp", []),
            output["path"],
            output["bytes"],
        )


def _dated(event: str) -> Record:
    return {"event": event, "time": datetime.now(UTC).isoformat(timespec="seconds")}
