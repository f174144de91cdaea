"""File names that SimpleITK, GDCM and ONNX Runtime can open: their C++ takes UTF-8 and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from automedsam.errors import AutoMedSAMError


@contextmanager
def sitk_path(path: Path, *, siblings: bool = False) -> Iterator[str]:
    """Give a name under which C++ libraries can open a path.

    On Linux a name is any bytes. SimpleITK 2.5 ends the whole process on one that is not UTF-8, so such a path is
    reached through a symbolic link in a temporary folder, which lasts as long as the block.

    Args:
        path: A file or folder, existing or to be written.
        siblings: The file names others of its folder, as a detached header does; link those as well.

    Yields:
        The path itself if it is valid UTF-8, else one that leads to the same place.

    Raises:
        AutoMedSAMError: If the path is not UTF-8 and no link can be made.
    """
    if is_utf8(str(path)):
        yield str(path)
        return
    with TemporaryDirectory(prefix="automedsam-") as folder:
        try:
            linked = _link(path.absolute(), Path(folder), siblings)
        except OSError as error:
            message = f"{path} has a name that is not valid UTF-8 and cannot be opened here; rename it."
            raise AutoMedSAMError(message) from error
        yield str(linked)


def is_utf8(text: str) -> bool:
    """Whether a file name, as Python has it, is valid UTF-8 on the disk."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _link(path: Path, folder: Path, siblings: bool) -> Path:
    if is_utf8(path.name):
        (folder / "folder").symlink_to(path.parent, target_is_directory=True)
        return folder / "folder" / path.name
    if siblings:
        for entry in os.scandir(path.parent):
            (folder / entry.name).symlink_to(entry.path)
    suffix = path.suffix.lower()
    link = folder / f"automedsam-input{suffix if is_utf8(suffix) else ''}"
    link.symlink_to(path)
    return link
