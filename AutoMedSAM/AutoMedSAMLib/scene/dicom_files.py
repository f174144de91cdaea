"""Slicer's DICOM database: the files that a volume was loaded from, and a new file for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError


def dicom_files_of(volume: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    """The files of a volume that was loaded from Slicer's DICOM database.

    Raises:
        AutoMedSAMError: If it was not, its files are no longer there, or the database is closed.
    """
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not uids:
        message = _("{volume} was not loaded from DICOM: save the segmentation as .seg.nrrd instead.")
        raise AutoMedSAMError(message.format(volume=volume.GetName()))
    why_not = why_no_database()
    if why_not:
        raise AutoMedSAMError(why_not)
    files = [_database().fileForInstance(uid) for uid in uids]
    if not all(files):
        message = _("Some DICOM files of {volume} are no longer in the database: import the series again.")
        raise AutoMedSAMError(message.format(volume=volume.GetName()))
    return files


def why_no_database() -> str:
    """Why nothing can be added to Slicer's DICOM database; empty if it can."""
    database = _database()
    if database is None:
        return _("Slicer has no DICOM database yet: open the DICOM module once.")
    return "" if database.isOpen else _("Slicer's DICOM database is not open: open it in the DICOM module.")


def add_to_database(path: Path) -> bool:
    """Copies a DICOM file into Slicer's DICOM database.

    Args:
        path: The file.

    Returns:
        Whether the database has added it. Slicer gives no reason; its log has one.
    """
    database = _database()
    if database is None or not database.isOpen:
        return False
    added: list[str] = []

    def note(uid: str) -> None:
        added.append(uid)

    # It returns nothing, and only logs what fails.
    database.connect("instanceAdded(QString)", note)
    try:
        database.prepareInsert()
        database.insert(str(path), True, False)
    finally:
        database.disconnect("instanceAdded(QString)", note)
    return bool(added)


class DatabaseWatch:
    """Calls a function whenever Slicer's DICOM database has been opened or closed, while it watches.

    Args:
        on_changed: The function.
    """

    _SIGNALS = ("opened()", "closed()")

    def __init__(self, on_changed: Callable[[], None]) -> None:
        self._on_changed = on_changed
        self._watched: Any = None

    def start(self) -> None:
        """Watches the database that there is now; Slicer makes it when its DICOM module is first needed."""
        self.stop()
        self._watched = _database()
        if self._watched is not None:
            for signal in self._SIGNALS:
                self._watched.connect(signal, self._on_changed)

    def stop(self) -> None:
        """Watches no more."""
        watched, self._watched = self._watched, None
        if watched is not None:
            for signal in self._SIGNALS:
                watched.disconnect(signal, self._on_changed)


def _database() -> Any:
    return getattr(slicer, "dicomDatabase", None)
