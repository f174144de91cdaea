"""One sentence where a package of an optional extra is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from automedsam.errors import AutoMedSAMError


@contextmanager
def require(extra: str, purpose: str) -> Iterator[None]:
    """Wraps imports, and nothing else.

    Args:
        extra: the extra of pyproject.toml that brings the packages.
        purpose: what they are for, as the start of a sentence.

    Raises:
        AutoMedSAMError: if an import in the block finds no such package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{purpose} needs {error.name}, which is not installed: pip install 'automedsam[{extra}]'."
        raise AutoMedSAMError(message) from error
