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
        AutoMedSAMError: If the folder does not exist, nothing can be written there, or `path` is an input.
    """
    unfinished = path.with_name(f".automedsam-{uuid.uuid4().hex}{''.join(path.suffixes)}")
    try:
        _check(path, inputs)
        unfinished.touch(exist_ok=False)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror or error}); choose another folder."
        raise AutoMedSAMError(message) from error
    finally:
        if path.parent.is_dir():
            unfinished.unlink(missing_ok=True)


def _check(path: Path, inputs: Sequence[Path]) -> None:
    if path.is_dir():
        message = f"The output {path} is a folder; name a file in it."
        raise AutoMedSAMError(message)
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        message = f"The output {path} is an input as well; give another name, so that the input is kept."
        raise AutoMedSAMError(message)
