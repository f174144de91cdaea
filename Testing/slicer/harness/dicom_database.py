"""Slicer's DICOM database, as far as a module that exports meets it.

Like CTK's, it returns nothing from `insert` and does not raise: what fails is only logged, and `instanceAdded` is sent
for what was added. What CTK would not even understand (a `Path`) is an error.
"""

import logging
import shutil
from pathlib import Path
from typing import ClassVar

import pydicom
from PySide6 import QtCore


class ctkDICOMDatabase(QtCore.QObject):
    """A database in a folder; it is closed until `openDatabase`."""

    instanceAdded = QtCore.Signal(str)
    opened = QtCore.Signal()
    closed = QtCore.Signal()
    cpp_signals: ClassVar = {"instanceAdded(QString)": "instanceAdded", "opened()": "opened", "closed()": "closed"}

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None
        self._files: dict[str, str] = {}
        self._is_prepared = False

    isOpen = QtCore.Property(bool, lambda self: self._folder is not None)

    def openDatabase(self, file: str) -> bool:
        """Opens the database of that file, in whose folder it keeps its copies."""
        self._folder = Path(file).parent
        self.opened.emit()
        return True

    def closeDatabase(self) -> None:
        self._folder = None
        self.closed.emit()

    def prepareInsert(self) -> None:
        """To be called before `insert` where something may have been removed since the last one."""
        self._is_prepared = True

    def insert(self, filePath: str, storeFile: bool = True, generateThumbnail: bool = True) -> None:
        """Adds a file; what is there already is not added again.

        Raises:
            ValueError: if the arguments are of other types, which PythonQt does not call at all.
        """
        if (type(filePath), type(storeFile), type(generateThumbnail)) != (str, bool, bool):
            message = f"Could not find matching overload for insert({filePath!r}, {storeFile!r}, {generateThumbnail!r})"
            raise ValueError(message)
        prepared, self._is_prepared = self._is_prepared, False
        if self._folder is None or not prepared:
            logging.error("the DICOM database is not open, or prepareInsert was not called")
            return
        try:
            uid = str(pydicom.dcmread(filePath, stop_before_pixels=True).SOPInstanceUID)
        except (OSError, pydicom.errors.InvalidDicomError):
            logging.exception("the DICOM database cannot read %s", filePath)
            return
        if uid not in self._files:
            copy = self._folder / "dicom" / f"{uid}.dcm"
            if storeFile:
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(filePath, copy)
            self._files[uid] = str(copy) if storeFile else filePath
            self.instanceAdded.emit(uid)

    def fileForInstance(self, sopInstanceUID: str) -> str:
        """The file of an instance; empty if it is not in the database, or if that is closed."""
        return "" if self._folder is None else self._files.get(sopInstanceUID, "")

    def instanceValue(self, sopInstanceUID: str, tag: str) -> str:
        """The text of a tag such as "0008,0060"; empty if there is none."""
        file = self.fileForInstance(sopInstanceUID)
        if not file:
            return ""
        group, element = (int(part, 16) for part in tag.split(","))
        found = pydicom.dcmread(file, stop_before_pixels=True).get((group, element))
        return "" if found is None else str(found.value)
