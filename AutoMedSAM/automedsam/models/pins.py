"""The SHA-256 of downloaded files that the catalog has none of: a later download has to be the same file."""

from __future__ import annotations

import json
import re

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam.io.models_folder import models_folder

_FILE = ".pins.json"


def pinned_sha256(url: str) -> str | None:
    """The SHA-256 of the first file that was downloaded from an address; None if there was none."""
    found = _read().get(url)
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{64}", found) else None


def pin(url: str, sha256: str) -> None:
    """Remembers the SHA-256 of a file that was downloaded.

    Raises:
        AutoMedSAMError: If the folder of models cannot be written to.
    """
    with atomic_write(models_folder() / _FILE) as unfinished:
        unfinished.write_text(json.dumps({**_read(), url: sha256}, indent=1) + "\n", encoding="utf-8")


def _read() -> dict[str, object]:
    try:
        found = json.loads((models_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, AutoMedSAMError):
        return {}
    return found if isinstance(found, dict) else {}
