"""What people decided about the cases: an append-only journal beside the manifest."""

from __future__ import annotations

import getpass
import threading
from datetime import UTC, datetime
from typing import Any

from automedsam.cohort.journal import Journal
from automedsam.cohort.output_folder import OutputFolder
from automedsam.errors import AutoMedSAMError

DECISIONS = ("accept", "fix", "reject", "")
"""What can be decided; "" takes a decision back and keeps the note."""

_MAX_NOTE = 10_000


class Decisions:
    """The last decision on each case; each is on the disk before it counts.

    Args:
        folder: The output folder of a cohort.

    Raises:
        AutoMedSAMError: If the journal is damaged.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._journal = Journal(folder.review)
        self._lock = threading.Lock()
        self._last: dict[str, dict[str, Any]] = {}
        self._size = -1
        self._refresh()

    def of(self, name: str) -> dict[str, Any]:
        """The last decision on a case: "decision", "note", "segmentation", "time"; empty if there is none."""
        return self._last.get(name, {})

    def refresh(self) -> None:
        """Reads what another program, such as Slicer, has added since."""
        with self._lock:
            self._refresh()

    def save(self, name: str, decision: str, note: str, segmentation: str) -> dict[str, Any]:
        """Saves a decision.

        Args:
            name: The case.
            decision: One of `DECISIONS`.
            note: Anything.
            segmentation: The SHA-256 of the file that was looked at.

        Returns:
            The record.

        Raises:
            AutoMedSAMError: If it is none of these, or cannot be written.
        """
        if decision not in DECISIONS or len(note) > _MAX_NOTE:
            message = f"A decision is one of accept, fix and reject, with a note of at most {_MAX_NOTE} letters."
            raise AutoMedSAMError(message)
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "case": name,
            "decision": decision,
            "note": note,
            "segmentation": segmentation,
            "reviewer": _user(),
        }
        with self._lock:
            self._journal.append(record)
            self._last[name] = record
        return record

    def _refresh(self) -> None:
        path = self._journal.path
        size = path.stat().st_size if path.exists() else 0
        if size != self._size:
            self._last = {record["case"]: record for _, record in self._journal.read()}
            self._size = size


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # An account without a name.
        return ""
