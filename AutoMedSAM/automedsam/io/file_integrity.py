"""What is wrong with a file, for the formats whose readers pass over it.

A JPEG file that broke off in a download is read by ITK 5.4 without an error, the rest as grey.
"""

from __future__ import annotations

from pathlib import Path

from automedsam.errors import AutoMedSAMError

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def check_jpeg_complete(path: Path) -> None:
    """Look for a JPEG file's end marker, which a file that broke off lacks.

    Args:
        path: A `.jpg` or `.jpeg` file.

    Raises:
        AutoMedSAMError: If it begins as JPEG does but does not end so.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    if content.startswith(_JPEG_START) and _JPEG_END not in content[-4096:]:
        message = f"{path} is incomplete; copy or download it again."
        raise AutoMedSAMError(message)
