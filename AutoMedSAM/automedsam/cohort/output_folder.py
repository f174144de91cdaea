"""The output folder of a cohort: where everything in it lies, and whether a run may write there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import write_error_message

MANIFEST_NAME = "manifest.jsonl"
REVIEW_NAME = "review.jsonl"
_SUBFOLDERS = ("segmentations", "cases", "images", "thumbnails")
_UNFINISHED = ".automedsam-*"


@dataclass(frozen=True)
class OutputFolder:
    """The layout of an output folder."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What was run, and the state and figures of each case."""
        return self.path / MANIFEST_NAME

    @property
    def review(self) -> Path:
        """The decisions of the people who looked at the results."""
        return self.path / REVIEW_NAME

    @property
    def table(self) -> Path:
        """The figures as a spreadsheet."""
        return self.path / "cohort.csv"

    @property
    def report(self) -> Path:
        """The statistics with their plots."""
        return self.path / "statistics.html"

    def segmentation(self, stem: str, suffix: str) -> Path:
        """The result of a case."""
        return self.path / "segmentations" / f"{stem}{suffix}"

    def details(self, stem: str) -> Path:
        """The record of a case with its boxes and the confidence of each slice; its presence completes the case."""
        return self.path / "cases" / f"{stem}.json"

    def image(self, stem: str) -> Path:
        """The 8-bit copy of a case's first modality, for the review page."""
        return self.path / "images" / f"{stem}.nrrd"

    def thumbnail(self, stem: str) -> Path:
        """A small picture of a case."""
        return self.path / "thumbnails" / f"{stem}.png"

    def check_is_one(self) -> None:
        """Checks that a cohort was run into the folder.

        Raises:
            AutoMedSAMError: If not.
        """
        if not self.manifest.is_file():
            path = self.path
            message = f"{path} is not the output folder of a cohort: run 'automedsam cohort INPUT -o {path}' first."
            raise AutoMedSAMError(message)

    def prepare(self) -> None:
        """Makes the folder and its subfolders.

        Raises:
            AutoMedSAMError: If it cannot be written, or contains other files than those of a cohort.
        """
        if self.path.exists() and not self.path.is_dir():
            message = f"The output {self.path} is a file, and a folder is needed; give another name."
            raise AutoMedSAMError(message)
        if not self.path.parent.is_dir():
            message = f"The folder {self.path.parent} does not exist; make it or choose another."
            raise AutoMedSAMError(message)
        try:
            self.path.mkdir(exist_ok=True)
            foreign = [file for file in self.path.iterdir() if not _is_own(file)]
            if foreign and not self.manifest.exists():
                message = (
                    f"The output folder {self.path} contains other files ({foreign[0].name}): name a new or an empty "
                    "folder, or that of an earlier cohort."
                )
                raise AutoMedSAMError(message)
            for name in _SUBFOLDERS:
                (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise AutoMedSAMError(write_error_message(self.path, error)) from error

    def remove_unfinished(self) -> None:
        """Removes what workers that were killed had not finished writing; only while no worker runs."""
        for name in _SUBFOLDERS:
            for file in (self.path / name).glob(_UNFINISHED):
                file.unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    """Whether a run that ended before its first case left it behind, or it is hidden."""
    return path.name.startswith(".") or (path.name in _SUBFOLDERS and path.is_dir() and not any(path.iterdir()))
