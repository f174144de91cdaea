"""One entry of an archive as 640 x 640 PNG files with boxes: what a worker process does."""

from __future__ import annotations

import hashlib
import io
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.core.letterbox import Letterbox
from automedsam.core.memory import peak_memory_mb
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.readers.base import AnnotatedImage, AnnotatedObject, Archive, ArchiveEntry, ReaderOptions
from automedsam_lab.data.readers.registry import DatasetFormat, open_dataset

SIZE = 640
# Of zlib's ways: level 6 of the usual one takes up to six times as long, and makes most files no smaller than runs of
# equal bytes at level 1 do.
_COMPRESSION = {"compress_level": 1, "compress_type": 3}
# Positions are written to a thousandth of a pixel, areas to a tenth of one.
_DIGITS, _AREA_DIGITS = 3, 1


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker must know, once.

    Attributes:
        layout: of the archive.
        root: where it is.
        out: the prepared dataset's folder.
        choices: how to read it.
        least_side: a box narrower or lower than so many pixels of the 640 is a sliver.
    """

    layout: DatasetFormat
    root: Path
    out: Path
    choices: ReaderOptions
    least_side: float


@dataclass(frozen=True)
class File:
    """A written file: its digest and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class WrittenImage:
    """An image of the prepared dataset.

    Attributes:
        entry: its COCO entry but for the number, and under `boxes` its annotations but for theirs.
        image: the PNG file.
        mask: that of its labels, if it has any.
    """

    entry: dict[str, Any]
    image: File
    mask: File | None


@dataclass
class EntryResult:
    """What became of an entry.

    Attributes:
        written: its images.
        slivers: boxes that were too small to keep.
        left_out: pictures that showed slivers alone, and so teach neither an object nor its absence.
        flaw: why nothing was written, if something was wrong with its files.
        process: who made it.
        peak_mb: the most memory that the process has taken so far, in MB.
    """

    written: list[WrittenImage] = field(default_factory=list)
    slivers: int = 0
    left_out: int = 0
    flaw: str | None = None
    process: int = 0
    peak_mb: float = 0.0


class ImageWorker:
    """Makes one entry after the other; what it holds at a time is one volume, or one picture."""

    def __init__(self, setup: WorkerConfig) -> None:
        self._setup = setup
        self._archive: Archive = open_dataset(setup.layout, setup.root, setup.choices)

    def make(self, source: ArchiveEntry, part: str) -> EntryResult:
        """Writes the images of an entry.

        Args:
            source: the entry.
            part: "train", "val" or "test".

        Returns:
            What was written. Where the entry's files are flawed, nothing is left of it.

        Raises:
            AutoMedSAMError: if the dataset's folder cannot be written to.
        """
        made, pictures = EntryResult(process=os.getpid()), self._archive.pictures(source)
        while True:
            try:
                picture = next(pictures, None)
            except AutoMedSAMError as error:
                self._remove(made, part)
                made = EntryResult(flaw=str(error), process=os.getpid())
                break
            if picture is None:
                break
            self._write(picture, source, part, made)
        made.peak_mb = peak_memory_mb()
        return made

    def _write(self, picture: AnnotatedImage, source: ArchiveEntry, part: str, made: EntryResult) -> None:
        letterbox = Letterbox.fit(picture.pixels.shape[:2], (SIZE, SIZE))
        kept = [outline for outline in picture.outlines if self._is_large(outline, letterbox)]
        made.slivers += len(picture.outlines) - len(kept)
        if picture.outlines and not kept:
            made.left_out += 1
            return
        name = f"{_identifier(source, picture)}.png"
        image = _save(letterbox.image(picture.pixels), self._setup.out / "images" / part / name)
        mask = None
        if picture.labels is not None:
            mask = _save(letterbox.mask(picture.labels), self._setup.out / "masks" / part / name)
        entry = {
            "file_name": name,
            "patient": source.patient,
            "source": source.images[0],
            "slice": picture.index,
            "plane": picture.plane,
            **letterbox.to_json(),
            "boxes": [_annotation(outline, letterbox) for outline in kept],
        }
        made.written.append(WrittenImage(entry, image, mask))

    def _is_large(self, outline: AnnotatedObject, letterbox: Letterbox) -> bool:
        placed = letterbox.box_to_input(outline.box)
        return min(placed.width, placed.height) >= self._setup.least_side

    def _remove(self, made: EntryResult, part: str) -> None:
        for written in made.written:
            for folder in ("images", "masks"):
                (self._setup.out / folder / part / written.entry["file_name"]).unlink(missing_ok=True)


# The one worker of a pool's process.
_started: list[ImageWorker] = []


def start_worker(setup: WorkerConfig) -> None:
    """Prepares a process of a pool for `work`."""
    import SimpleITK as sitk

    # There is a process for each core already; and a Ctrl-C is for the one that waits for them.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _started[:] = [ImageWorker(setup)]


def work(source: ArchiveEntry, part: str) -> EntryResult:
    """Makes an entry in a process that `start_worker` has prepared."""
    return _started[0].make(source, part)


def _identifier(source: ArchiveEntry, picture: AnnotatedImage) -> str:
    if picture.index is None:
        return source.case
    return f"{source.case}_{picture.plane or 'frame'}_{picture.index:04d}"


def _annotation(outline: AnnotatedObject, letterbox: Letterbox) -> dict[str, Any]:
    native = outline.box
    placed = letterbox.box_to_input(native)
    down, across = letterbox.ratio
    return {
        "bbox": [round(side, _DIGITS) for side in (placed.x, placed.y, placed.width, placed.height)],
        "category_id": native.label,
        "area": round(outline.area * down * across, _AREA_DIGITS),
        "iscrowd": 0,
        "native_bbox": [round(side, _DIGITS) for side in (native.x, native.y, native.width, native.height)],
    }


def _save(pixels: np.ndarray, path: Path) -> File:
    with require("train", "Writing pictures"):
        from PIL import Image
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", **_COMPRESSION)
    content = packed.getvalue()
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)
    return File(hashlib.sha256(content).hexdigest(), len(content))
