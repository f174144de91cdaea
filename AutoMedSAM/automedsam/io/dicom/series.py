"""What the DICOM files of a folder hold: volumes, pictures and the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.copies import same_pixels
from automedsam.io.dicom.frames import DicomFile, Frame, read_file
from automedsam.io.dicom.grid import Stack
from automedsam.io.dicom.headers import is_dicom_file
from automedsam.io.dicom.kinds import DIRECTORY, PET, is_cross_sectional, is_cut_off, no_image, takes_pet
from automedsam.io.dicom.stacks import stacks_of

SeriesKey: TypeAlias = tuple[str, str]

_MAX_FILES = 50_000
_PARALLEL = 0.01


@dataclass
class Contents:
    """What some DICOM files hold.

    Attributes:
        path: The folder or the file that was named.
        volumes: Stacks of at least two slices, with those that make no grid.
        pictures: Single images: X-rays, ultrasound, photographs.
        slices: Single slices of volumes.
        videos: Files with frames that follow each other in time.
        others: Files that hold no image for a model, with what they are.
        left_out: Single slices of another orientation beside a volume of the same series, by their files.
        damaged: Sentences on files that could not be read, each with the series of its file where that is known.
    """

    path: Path
    volumes: list[Stack] = field(default_factory=list)
    pictures: list[Stack] = field(default_factory=list)
    slices: list[Stack] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    others: dict[Path, str] = field(default_factory=dict)
    left_out: dict[Path, SeriesKey] = field(default_factory=dict)
    damaged: list[tuple[str, SeriesKey | None]] = field(default_factory=list)

    @property
    def choices(self) -> list[Stack]:
        """What --series chooses among: volumes, where there are none pictures, else single slices."""
        return self.volumes or self.pictures or self.slices


def contents_of_folder(folder: Path, modalities: Sequence[str] | None) -> Contents:
    """Sort the DICOM files of a folder; where it holds no images itself, those below it.

    Args:
        folder: The folder of a series, a study or a disc.
        modalities: What a model takes, None for anything; PET is left out for a model that is for none.

    Raises:
        AutoMedSAMError: If so many files lie below it that it cannot be a study.
        OSError: If the folder cannot be read.
    """
    found = _sort(folder, _files_in(folder), modalities)
    if not (found.volumes or found.pictures or found.videos):
        below = _sort(folder, _files_below(folder), modalities)
        if below.choices or below.videos or below.others or below.damaged:
            return below
    return found


def contents_of_file(path: Path, modalities: Sequence[str] | None) -> Contents:
    """What a DICOM file belongs to: the stacks, of all files of its series beside it, that hold its frames.

    Args:
        path: A DICOM file.
        modalities: What a model takes, None for anything.

    Raises:
        AutoMedSAMError: If the file is damaged.
        OSError: If it cannot be read.
    """
    named = read_file(path)
    if named.header.sop_class == DIRECTORY:
        return contents_of_folder(path.parent, modalities)
    if _is_picture(named) or named.is_cine or _other(named, modalities):
        return _sorted(path, [named], modalities)
    files = [named]
    damaged: list[str] = []
    for other in _readable(_files_in(path.parent), damaged):
        if other.header.series == named.header.series and not other.header.path.samefile(path):
            files.append(other)
    found = _sorted(path, files, modalities)
    found.damaged += [(sentence, None) for sentence in damaged]
    for stacks in (found.volumes, found.pictures, found.slices):
        stacks[:] = [stack for stack in stacks if any(frame.header.path == path for frame in stack.frames)]
    return found


def _sort(path: Path, files: Iterable[Path], modalities: Sequence[str] | None) -> Contents:
    damaged: list[str] = []
    found = _sorted(path, list(_readable(files, damaged)), modalities)
    found.damaged += [(sentence, None) for sentence in damaged]
    return found


def _sorted(path: Path, files: Sequence[DicomFile], modalities: Sequence[str] | None) -> Contents:
    found = Contents(path)
    series: dict[SeriesKey, list[Frame]] = {}
    for file in files:
        header = file.header
        if is_cut_off(header):
            found.damaged.append((f"{header.path} is incomplete; copy or export it again.", header.series))
        elif other := _other(file, modalities):
            found.others[header.path] = other
        elif file.is_cine:
            found.videos.append(header.path)
        elif _is_picture(file):
            found.pictures.append(Stack(file.frames))
        else:
            series.setdefault(header.series, []).extend(file.frames)
    for frames in sorted(series.values(), key=lambda frames: _place(frames[0])):
        _add(found, stacks_of(frames, same_pixels))
    found.pictures.sort(key=lambda stack: _place(stack.frames[0]))
    return found


def _add(found: Contents, stacks: list[Stack]) -> None:
    """Sort the stacks of one series into volumes, pictures and single slices."""
    pictures = [stack for stack in stacks if _are_pictures(stack)]
    found.pictures += [Stack([frame]) for stack in pictures for frame in stack.frames]
    many = [stack for stack in stacks if len(stack) > 1 and stack not in pictures]
    found.volumes += many
    for stack in stacks:
        if len(stack) > 1 or stack in pictures:
            continue
        # To leave out a slice of another size, or without a position, is not ours to decide.
        beside = any(_may_belong(stack, other) for other in many)
        (found.volumes if beside else found.slices).append(stack)
        if many and not beside:
            found.left_out[stack.frames[0].header.path] = stack.frames[0].header.series


def _is_picture(file: DicomFile) -> bool:
    return len(file.frames) == 1 and not file.frames[0].placed and not is_cross_sectional(file.header)


def _are_pictures(stack: Stack) -> bool:
    """Whether frames that make no volume are pictures of their own, whatever position their files give."""
    alone = len(stack) == 1 or bool(stack.reason)
    return alone and all(frame.header.frames == 1 and not is_cross_sectional(frame.header) for frame in stack.frames)


def _place(frame: Frame) -> tuple[int, str, str]:
    header = frame.header
    return header.series_number, header.description, str(header.path)


def _may_belong(single: Stack, other: Stack) -> bool:
    """Whether a slice lies as a stack does, or does not say how it lies."""
    one, two = single.frames[0], other.frames[0]
    if one.header.is_localizer != two.header.is_localizer:
        return False
    if one.rows_and_columns is None or two.rows_and_columns is None:
        return True
    return bool(abs(one.rows_and_columns - two.rows_and_columns).max() < _PARALLEL)


def _other(file: DicomFile, modalities: Sequence[str] | None) -> str | None:
    """What a file is that no model, or not this one, looks at."""
    if name := no_image(file.header):
        return name
    if file.header.modality == PET and not takes_pet(modalities):
        return f"PET, and the model is for {', '.join(modalities or ())}"
    if file.header.is_mosaic and len(file.frames) == 1:
        return "a mosaic (Siemens: all slices of a volume as tiles of one picture), which dcm2niix makes a volume of"
    return None


def _readable(files: Iterable[Path], damaged: list[str]) -> Iterator[DicomFile]:
    for path in files:
        if not is_dicom_file(path):
            continue
        try:
            file = read_file(path)
        except AutoMedSAMError as error:
            damaged.append(str(error))
            continue
        if file.header.sop_class != DIRECTORY:
            yield file


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _files_below(folder: Path) -> list[Path]:
    walked = (Path(place) / name for place, _, names in os.walk(folder) for name in names if not name.startswith("."))
    files = sorted(path for path in islice(walked, _MAX_FILES + 1) if path.is_file())
    if len(files) > _MAX_FILES:
        message = f"There are more than {_MAX_FILES} files below {folder}; choose the folder of one study or series."
        raise AutoMedSAMError(message)
    return files
