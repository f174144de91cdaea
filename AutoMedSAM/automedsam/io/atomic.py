"""Files and folders that are complete or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from automedsam.core.memory import is_out_of_memory, not_enough_memory
from automedsam.errors import AutoMedSAMError

# A disk with less room in bytes is full: what was just written lies on it.
_FULL = 1 << 16
_SPACE = "free space there or choose another folder"
_PERMISSION = "choose a folder that you may write to"
_ADVICE = {
    errno.ENOSPC: _SPACE,
    getattr(errno, "EDQUOT", errno.ENOSPC): _SPACE,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
    errno.ENAMETOOLONG: "give it a shorter name",
}


@contextmanager
def atomic_write(path: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """Gives a place to write to, beside `path`, which takes its name once the block has ended well.

    Entered before a run, it finds out at once whether the result can be written.

    Args:
        path: The file to write; what was there before stays until the block has ended. A symbolic link stays, and
            its target is written.
        inputs: What the run reads, none of which may be overwritten.

    Yields:
        An empty file in the same folder, of the same suffix in lower case, which is gone if the block raises.

    Raises:
        AutoMedSAMError: If `check_writable` raises, or the block fails to write.
    """
    check_writable(path, inputs)
    target = link_target(path)
    unfinished = _temporary_sibling(target)
    try:
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(target)
    except (OSError, RuntimeError, MemoryError) as error:  # SimpleITK's own failures to write are RuntimeErrors.
        raise AutoMedSAMError(write_error_message(path, error)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_writable(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Finds out whether a file can be written, without touching what is there.

    Args:
        path: The file to write, existing or not.
        inputs: What the run reads, none of which may be overwritten.

    Raises:
        AutoMedSAMError: If the folder does not exist, nothing can be written there, or `path` is a folder or
            an input.
    """
    try:
        _check_place(path, link_target(path), inputs)
    except OSError as error:
        raise AutoMedSAMError(write_error_message(path, error)) from error


def link_target(path: Path) -> Path:
    """Where a symbolic link leads, through further ones, whether something is there or not; else the path itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_error_message(path: Path, error: OSError | RuntimeError | MemoryError) -> str:
    """The sentence for a file or folder that cannot be written, with what to do about the true reason."""
    if is_out_of_memory(error):
        return not_enough_memory(f"write {path}")
    number = getattr(error, "errno", None)
    if number is None and is_full(path.parent):
        # ITK's writers do not name a reason.
        number, reason = errno.ENOSPC, os.strerror(errno.ENOSPC)
    else:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = getattr(error, "strerror", None) or lines[-1].strip(" .")
    return f"{path} cannot be written ({reason}); {_ADVICE.get(number, 'choose another folder')}."


def _check_place(path: Path, target: Path, inputs: Sequence[Path]) -> None:
    if target.is_symlink():
        message = f"The output {path} is a symbolic link that leads in a circle; give another name."
        raise AutoMedSAMError(message)
    if not target.parent.is_dir():
        message = f"The output folder {target.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    if target.is_dir():
        message = f"The output {path} is a folder; name a file in it, such as {path / 'lesions.seg.nrrd'}."
        raise AutoMedSAMError(message)
    if target.exists() and not target.is_file():
        message = f"The output {path} is a pipe or a device and no file; give another name."
        raise AutoMedSAMError(message)
    if any(target.exists() and source.exists() and target.samefile(source) for source in inputs):
        message = f"The output {path} is an input as well; give another name, so that the input is kept."
        raise AutoMedSAMError(message)
    # Permissions do not tell: the disk may be read-only, or the user root.
    trial = _temporary_sibling(target)
    trial.touch(exist_ok=False)
    trial.unlink()


def _temporary_sibling(path: Path) -> Path:
    # The suffix in lower case, since writers choose a format by it; no part of a name that may be as long as can be.
    # ITK needs the whole of `.nii.gz`.
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    suffix = suffix if len(suffix) < 10 and suffix.isascii() else ""
    return path.with_name(f".automedsam-{uuid.uuid4().hex}{suffix}")


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room any more."""
    try:
        return shutil.disk_usage(folder).free < _FULL
    except OSError:
        return False


@contextmanager
def atomic_folder(path: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
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
        raise AutoMedSAMError(write_error_message(path, error)) from error
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
        raise AutoMedSAMError(write_error_message(path, error)) from error


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
