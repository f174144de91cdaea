"""Folders whose files are all there or none."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam.whole_file import cannot_write, link_target


@contextmanager
def whole_folder(path: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """Gives a folder to write files to, which become those of `path` once the block has ended well.

    Args:
        path: The folder to make; it may exist and be empty.
        inputs: What the run reads.

    Yields:
        An empty folder, which is gone if the block raises.

    Raises:
        AutoMedSAMError: If `check_folder` raises, or the block fails to write.
    """
    check_folder(path, inputs)
    target = link_target(path)
    # An empty folder that is there may be a mount point or a link, and stays what it is.
    inside = target.is_dir()
    unfinished = (target if inside else target.parent) / f".automedsam-{uuid.uuid4().hex}"
    try:
        unfinished.mkdir()
        yield unfinished
        if inside:
            for file in sorted(unfinished.iterdir()):
                file.rename(target / file.name)
        else:
            unfinished.rename(target)
    except (OSError, RuntimeError, MemoryError) as error:
        raise AutoMedSAMError(cannot_write(path, error)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_folder(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Finds out whether a folder of files can be made, and leaves everything as it is.

    Args:
        path: The folder, existing or not.
        inputs: What the run reads; a folder of them cannot be the output.

    Raises:
        AutoMedSAMError: If the folder above does not exist, `path` is a file or holds files already, or nothing can
            be written there.
    """
    try:
        _check_folder(path, link_target(path), inputs)
    except OSError as error:
        raise AutoMedSAMError(cannot_write(path, error)) from error


def _check_folder(path: Path, target: Path, inputs: Sequence[Path]) -> None:
    if any(target.exists() and source.exists() and target.samefile(source) for source in inputs):
        message = f"The output {path} is an input as well; give another name, so that the input is kept."
        raise AutoMedSAMError(message)
    if target.is_symlink():
        message = f"The output {path} is a symbolic link that leads in a circle; give another name."
        raise AutoMedSAMError(message)
    if target.exists() and not target.is_dir():
        message = f"The output {path} is a file, and a folder is needed for the masks of the frames; give another name."
        raise AutoMedSAMError(message)
    if not target.is_dir() and not target.parent.is_dir():
        message = f"The output folder's own folder {target.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    # Files that a viewer of folders leaves are nobody's.
    count = sum(not file.name.startswith(".") for file in target.iterdir()) if target.is_dir() else 0
    trial = (target if target.is_dir() else target.parent) / f".automedsam-{uuid.uuid4().hex}"
    trial.mkdir()
    trial.rmdir()
    if count:
        message = (
            f"The output folder {path} holds {count} file{'s' if count > 1 else ''} already, which would be mixed "
            "with the masks; name a new folder, or empty this one first."
        )
        raise AutoMedSAMError(message)
