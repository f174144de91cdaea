"""What every layout gives to `prepare`: entries with their patients, and the pictures of one entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from automedsam.core.boxes import Box
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry of an archive: an image, a volume or a video, with what is known of it before it is read.

    Attributes:
        case: its name, of letters, digits, `.`, `_` and `-`, unique in the archive.
        patient: whose it is; a split is drawn over these.
        images: the image files relative to the archive's root; the first names the entry.
        label: the label file relative to the root; None where it has boxes alone, several masks or nothing.
        scheme: what the label's values mean, as `LabelScheme` names it; None where the archive has but one.
        modality: of the images, None where the archive does not tell.
        values: the value in the prepared dataset of each stored label value; others are refused.
        masks: mask files relative to the root that hold one label each, with its value.
        boxes: native boxes `[x, y, width, height, label]` in pixels, half-open, where the archive gives boxes.
    """

    case: str
    patient: str
    images: tuple[str, ...]
    label: str | None = None
    scheme: str | None = None
    modality: str | None = None
    values: dict[int, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    boxes: tuple[tuple[float, float, float, float, int], ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it is made of, relative to the root."""
        return self.images + (() if self.label is None else (self.label,)) + tuple(self.masks)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` undoes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ArchiveEntry:
        """Undoes `to_json`."""
        x_y_w_h = tuple((float(x), float(y), float(w), float(h), int(label)) for x, y, w, h, label in stored["boxes"])
        values = {int(value): int(meant) for value, meant in stored["values"].items()}
        return cls(**{**stored, "images": tuple(stored["images"]), "values": values, "boxes": x_y_w_h})


@dataclass(frozen=True)
class SkippedEntry:
    """Something in an archive that cannot be used.

    Attributes:
        path: the file, relative to the root where it lies in it.
        reason: one sentence that names the path.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class AnnotatedObject:
    """An object on a picture: its box in native pixels and how many of them it covers."""

    box: Box
    area: float


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image as the archive has it, brought to 8 bits and no further.

    Attributes:
        pixels: `(h, w)` or `(h, w, 3)` uint8.
        labels: `(h, w)` uint8, the prepared dataset's values; None where the archive has no masks.
        outlines: the objects; those that are too small included.
        index: the slice of the volume, or frame of the video; None for a single image.
        plane: of the slice.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    outlines: tuple[AnnotatedObject, ...]
    index: int | None = None
    plane: str | None = None


@dataclass(frozen=True)
class ReaderOptions:
    """What the user may choose about reading an archive; None and the defaults leave it to the layout.

    Attributes:
        year: of the BraTS challenge, which tells what its labels mean.
        target: of BraTS: "labels", "whole tumour", "tumour core" or "enhancing tumour".
        modality: which of several to look at.
        plane: in which volumes are cut; that in which they were acquired if None.
        window: lowest and highest intensity to tell apart, in the volume's own units.
        empty: slices without an object to keep for each slice with one.
        patient: a regular expression whose first group, found in the case's name, is the patient.
        labels: names by value, for an archive that does not tell them itself.
        every: of a video, take each so many frames.
        unboxed: of ChestX-ray14, the images without boxes to take: "none", "no finding" or "all".
    """

    year: int | None = None
    target: str = "whole tumour"
    modality: str | None = None
    plane: Plane | None = None
    window: tuple[float, float] | None = None
    empty: float = 0.5
    patient: str | None = None
    labels: dict[int, str] | None = None
    every: int = 1
    unboxed: str = "none"

    def patient_of(self, case: str, otherwise: str) -> str:
        """The patient by the user's expression, or as the layout has it.

        Raises:
            AutoMedSAMError: if the expression is none, or does not find a patient in the case's name.
        """
        if self.patient is None:
            return otherwise
        try:
            found = re.search(self.patient, case)
        except re.error as error:
            message = f"{self.patient!r} is no regular expression ({error}); write one such as '^(case_[0-9]+)'."
            raise AutoMedSAMError(message) from error
        if found is None or not found.groups() or not found[1]:
            message = f"The expression {self.patient!r} finds no patient in {case}; its first group must."
            raise AutoMedSAMError(message)
        return found[1]


class Archive(Protocol):
    """A layout at a place. It is made anew in each process that reads it, from the root and the choices.

    Attributes:
        license: of the images, in a few words.
        labels: names by value; complete once `sources` has ended.
    """

    license: str
    labels: dict[int, str]

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        """What is there, in any order, and what of it cannot be used.

        Raises:
            AutoMedSAMError: if the folder is not of this layout.
        """
        ...

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        """Reads one entry, in whichever process.

        Raises:
            AutoMedSAMError: naming the file that is damaged or does not fit the others.
        """
        ...


def safe_name(text: str) -> str:
    """A name of letters, digits, `.`, `_` and `-` alone, as file names on every system can be."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip(".") or "unnamed"


def relative(path: Path, root: Path) -> str:
    """A path as the manifest has it: relative to the root, with forward slashes."""
    return path.relative_to(root).as_posix()


def files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder, hidden ones left out, a folder at a time in the order of their names."""
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        message = f"The folder {root} cannot be listed ({error.strerror}); check its path and permissions."
        raise AutoMedSAMError(message) from error
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (entry for entry in shown if entry.is_file())
    for folder in shown:
        if folder.is_dir() and not folder.is_symlink():
            yield from files_below(folder)
