"""Frames of a video as PNG or JPEG files in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from automedsam.core.volume import Voxels
from automedsam.io.dicom.reader import is_dicom_file
from automedsam.io.image_reader import is_image_file
from automedsam.io.volume_reader import read_image, reading
from automedsam.video.frame_source import DEFAULT_RATE


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds PNG or JPEG files, and no DICOM, beside which they are but previews.

    Raises:
        AutoMedSAMError: If the folder cannot be read.
    """
    with reading(path):
        files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
        others = [file for file in files if not is_image_file(file)]
        return len(others) < len(files) and not any(is_dicom_file(file) for file in others)


@dataclass(frozen=True)
class FrameFolder:
    """The PNG and JPEG files of a folder by name, numbers in their order: frame2 comes before frame10.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def rate(self) -> Fraction:
        """A folder does not tell: 25 frames a second."""
        return DEFAULT_RATE

    @property
    def count(self) -> int | None:
        """The number of files."""
        return len(self.files)

    @cached_property
    def files(self) -> list[Path]:
        """The frames in their order."""
        found = (file for file in self.path.iterdir() if is_image_file(file) and not file.name.startswith("."))
        return sorted(found, key=_natural)

    def frames(self) -> Iterator[Voxels]:
        """Frames `(h, w)` or `(h, w, c)` of the files' own type.

        Raises:
            AutoMedSAMError: If a file cannot be read.
        """
        for file in self.files:
            yield read_image(file)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A key by which numbers in names count as numbers; the name itself decides between 1 and 01."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name
