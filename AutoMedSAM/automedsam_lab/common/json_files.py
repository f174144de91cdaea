"""JSON files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from automedsam.io.atomic import atomic_write


def write_json(content: dict[str, Any], path: Path) -> None:
    """Writes JSON that every reader takes: without NaN, and with a line break at its end.

    Raises:
        AutoMedSAMError: if the file cannot be written.
        ValueError: if a number is not finite.
    """
    text = json.dumps(content, indent=1, allow_nan=False)
    with atomic_write(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
