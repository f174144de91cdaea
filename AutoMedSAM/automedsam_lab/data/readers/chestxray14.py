"""NIH ChestX-ray14: radiographs, and a list of boxes whose header breaks at its own commas."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Container, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    AnnotatedObject,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.images import STILL_SUFFIXES, read_still

# The findings of the box list, in the order of their values; it spells one of them otherwise than the rest.
_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
)
_SPELLED_OTHERWISE = {"Infiltrate": "Infiltration"}
_IMAGE_NAME = re.compile(r"^(\d{8})_\d{3}\.png$")
# Boxes are written for the images of 1024 pixels, whatever the size of a copy. A few end just outside.
_WRITTEN_FOR, _BEYOND = 1024, 2.0
_BOX_LIST = ("BBox_List_2017.csv", "BBox_List_2017.csv.gz")
_DATA_ENTRY = (
    "Data_Entry_2017_v2020.csv",
    "Data_Entry_2017.csv",
    "Data_Entry_2017_v2020.csv.gz",
    "Data_Entry_2017.csv.gz",
)


class ChestXray14:
    """The archive as unpacked, `images_001/images` to `images_012/images`, or all images in one folder.

    Smaller copies, also as JPEG, are read as well: boxes are scaled to their size.
    """

    license = "NIH ChestX-ray14: free with attribution"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self.labels = dict(enumerate(_FINDINGS, start=1))
        self._root, self._choices = root, choices
        numbered = sorted(root.glob("images_[0-9]*")) if root.is_dir() else []
        folders = [root, root / "images", *(part for folder in numbered for part in (folder / "images", folder))]
        self._folders = [folder for folder in folders if folder.is_dir()]

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        # The list is of 880 images; it alone is held, and sorted, for an image's boxes need not lie together.
        rows: list[_Row] = []
        for row in self._box_rows():
            if isinstance(row, SkippedEntry):
                yield row
            else:
                rows.append(row)
        rows.sort()
        boxed = {name: self._find(name) for name, _ in rows}
        if self._choices.unboxed == "none" and boxed and not any(boxed.values()):
            raise AutoMedSAMError(self._none_boxed(len(boxed)))
        for name, of_image in groupby(rows, key=lambda row: row[0]):
            path = boxed[name]
            if path is None:
                yield SkippedEntry(name, f"{name} is in the box list but not among the images of {self._root}.")
            else:
                yield self._source(path, tuple(box for _, box in of_image))
        if self._choices.unboxed != "none":
            yield from self._without_boxes(boxed.keys())

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        pixels = read_still(self._root / source.images[0])
        if pixels.ndim == 3:
            pixels = np.ascontiguousarray(pixels.mean(axis=2).round().astype(np.uint8))
        height, width = pixels.shape
        down, across = height / _WRITTEN_FOR, width / _WRITTEN_FOR
        found = []
        for x, y, w, h, label in source.boxes:
            left, top = max(0.0, x * across), max(0.0, y * down)
            right, bottom = min(width, (x + w) * across), min(height, (y + h) * down)
            box = Box(left, top, right - left, bottom - top, 1.0, label)
            found.append(AnnotatedObject(box, box.width * box.height))
        yield AnnotatedImage(pixels, None, tuple(found))

    def _source(self, path: Path, boxes: tuple[tuple[float, float, float, float, int], ...]) -> ArchiveEntry:
        case = safe_name(path.stem)
        return ArchiveEntry(
            case=case,
            patient=self._choices.patient_of(case, case.split("_")[0]),
            images=(relative(path, self._root),),
            modality="X-ray",
            boxes=boxes,
        )

    def _box_rows(self) -> Iterator[_Row | SkippedEntry]:
        path = _first_there(self._root, _BOX_LIST)
        rows = _rows(path)
        # The header's `Bbox [x,y,w,h]` is four columns to a reader of commas, unless it stands in quotes.
        _, header = next(rows, (1, []))
        at = _columns(path, header, "Image Index", "Finding Label", "Bbox")
        for line, row in rows:
            read = _box(row, *at)
            yield (
                SkippedEntry(relative(path, self._root), f"Line {line} of {path}: {read}.")
                if isinstance(read, str)
                else read
            )

    def _none_boxed(self, boxed: int) -> str:
        """What to say where none of the images with boxes is there: most likely they are in parts not yet unpacked."""
        files = (path for folder in self._folders for path in folder.iterdir())
        there = {path.stem for path in files if path.suffix in STILL_SUFFIXES and _IMAGE_NAME.match(f"{path.stem}.png")}
        other = f"{len(there)} other radiographs lie there" if there else "no radiographs lie there"
        return (
            f"None of the {boxed} radiographs that the box list names is in {self._root} ({other}); unpack the "
            "archive's images_001 to images_012 into it, or take radiographs without boxes with --unboxed all."
        )

    def _without_boxes(self, boxed: Container[str]) -> Iterator[ArchiveEntry | SkippedEntry]:
        path = _first_there(self._root, _DATA_ENTRY)
        rows = _rows(path)
        _, header = next(rows, (1, []))
        index, findings, patient = _columns(path, header, "Image Index", "Finding Labels", "Patient ID")
        for line, row in rows:
            name = row[index] if index < len(row) else ""
            match = _IMAGE_NAME.match(name)
            # The patient's number is in the name as well: where the two differ, the row's columns have moved.
            if match is None or patient >= len(row) or row[patient].lstrip("0") != match[1].lstrip("0"):
                reason = f"Line {line} of {path}: no image with its own patient's number; its columns have moved."
                yield SkippedEntry(relative(path, self._root), reason)
                continue
            wanted = self._choices.unboxed == "all" or row[findings] == "No Finding"
            if wanted and name not in boxed and (image := self._find(name)) is not None:
                yield self._source(image, ())

    def _find(self, name: str) -> Path | None:
        """The file of an image, of whatever suffix."""
        stem = Path(name).stem
        copies = (folder / f"{stem}{suffix}" for folder in self._folders for suffix in STILL_SUFFIXES)
        return next((path for path in copies if path.is_file()), None)


# The image's name and its box `x, y, width, height, label` in 1024-pixel coordinates.
_Row = tuple[str, tuple[float, float, float, float, int]]


def _box(row: list[str], index: int, finding: int, box: int) -> _Row | str:
    """A row of the list, or what is wrong with it."""
    if len(row) < box + 4:
        return f"it has {len(row)} columns and needs {box + 4}"
    if not _IMAGE_NAME.match(row[index]):
        return f"{row[index]!r} is no image's name; its columns have moved"
    named = _SPELLED_OTHERWISE.get(row[finding], row[finding])
    if named not in _FINDINGS:
        return f"{row[finding]!r} is no finding of the list; its columns have moved"
    try:
        x, y, w, h = (float(text) for text in row[box : box + 4])
    except ValueError:
        return f"{row[box : box + 4]} are not four numbers; its columns have moved"
    inside = min(x, y) >= -_BEYOND and max(x + w, y + h) <= _WRITTEN_FOR + _BEYOND
    if not (inside and w > 0 and h > 0) or any(row[box + 4 :]):
        return f"{row[box:]} is no box x, y, width, height in an image of {_WRITTEN_FOR} pixels; its columns have moved"
    return row[index], (x, y, w, h, _FINDINGS.index(named) + 1)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, packed or not, with their line numbers."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} cannot be read as a table ({error}); restore it from the archive."
        raise AutoMedSAMError(message) from error


def _columns(path: Path, header: list[str], *names: str) -> tuple[int, ...]:
    """Where columns are, by how their headings begin: a quoted one may say more."""
    found = []
    for name in names:
        at = next((at for at, heading in enumerate(header) if heading == name or heading.startswith(f"{name} [")), None)
        if at is None:
            message = f"{path} has no column {name} but {', '.join(header[:6])}; restore it from the archive."
            raise AutoMedSAMError(message)
        found.append(at)
    return tuple(found)


def _first_there(root: Path, names: tuple[str, ...]) -> Path:
    path = next((root / name for name in names if (root / name).is_file()), None)
    if path is None:
        message = f"{root} holds no {names[0]}; give the folder of ChestX-ray14 in which it lies."
        raise AutoMedSAMError(message)
    return path
