"""Files that are whole or not there at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from automedsam.errors import AutoMedSAMError


@contextmanager
def whole_file(path: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """Gives a place to write to, beside `path`, which takes its name once the block has ended well.

    Entered before a run, it finds out at once whether the result can be written.

    Args:
        path: The file to write; what was there before stays until the block has ended.
        inputs: What the run reads, none of which may be overwritten.

    Yields:
        An empty file in the same folder, of the same suffixes, which is gone if the block raises.

    Raises:
        AutoMedSAMError: If `check_place` raises, or the block fails to write.
    """
    check_place(path, inputs)
    unfinished = _beside(path)
    try:
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # SimpleITK's own failures to write are RuntimeErrors.
        raise AutoMedSAMError(cannot_write(path, error)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_place(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Finds out whether a file can be written, without touching what is there.

    Args:
        path: The file to write, existing or not.
        inputs: What the run reads, none of which may be overwritten.

    Raises:
        AutoMedSAMError: If the folder does not exist, nothing can be written there, or `path` is a folder or
            an input.
    """
    if not path.parent.is_dir():
        message = f"The output folder {path.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    if path.is_dir():
        message = f"The output {path} is a folder; name a file in it, such as {path / 'lesions.seg.nrrd'}."
        raise AutoMedSAMError(message)
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        message = f"The output {path} is an input as well; give another name, so that the input is kept."
        raise AutoMedSAMError(message)
    # Permissions do not tell: the disk may be read-only, or the user root.
    trial = _beside(path)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise AutoMedSAMError(cannot_write(path, error)) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".automedsam-{uuid.uuid4().hex}{''.join(path.suffixes)}")


def cannot_write(path: Path, error: OSError | RuntimeError) -> str:
    """The sentence for a file or folder that the system refuses to write."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    reason = getattr(error, "strerror", None) or said[-1].strip(" .")
    return f"{path} cannot be written ({reason}); free space there or choose another folder."
