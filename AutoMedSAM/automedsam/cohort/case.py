"""One case of a cohort: its files by modality, and where its results go."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNSAFE = re.compile(r"[^\w.+=-]+")
_MAX_STEM = 120


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: Unique in the cohort.
        paths: One path for each modality of the model, in its order, or one 4-D file; of a DICOM series one file.
        reference: A label map to compare with, on the grid of the image.
        problem: Why the case cannot be segmented, in one sentence; empty if nothing is known against it.
    """

    name: str
    paths: tuple[Path, ...] = ()
    reference: Path | None = None
    problem: str = ""

    @property
    def stem(self) -> str:
        """The name of the case's files in the output folder, without suffix; unique as the name is."""
        return file_stem(self.name)

    def to_row(self) -> dict[str, Any]:
        """The case as JSON can hold it: this is all that travels to a worker."""
        return {
            "name": self.name,
            "paths": [str(path) for path in self.paths],
            "reference": None if self.reference is None else str(self.reference),
            "problem": self.problem,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Case:
        """Undoes `to_row`."""
        reference = None if row["reference"] is None else Path(row["reference"])
        return cls(row["name"], tuple(map(Path, row["paths"])), reference, row["problem"])


def file_stem(name: str) -> str:
    """A case's name as a file name on every system; names that had to be changed get a hash, so that none meet."""
    stem = _UNSAFE.sub("_", name.encode("utf-8", "replace").decode("utf-8"))[:_MAX_STEM].strip(".")
    if stem == name and stem:
        return stem
    return f"{stem or 'case'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
