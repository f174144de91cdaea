"""What is wrong with the text header of a NRRD or MetaImage file, where ITK passes over it or gives no reason."""

from __future__ import annotations

import re
from pathlib import Path

from automedsam.errors import AutoMedSAMError

NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")

_MOST = 1 << 16
# ITK 5.4 reads numbers that are none as 0.
_META_NUMBERS = ("offset", "origin", "position", "elementspacing", "elementsize", "transformmatrix", "orientation")
# These name several files, which the reader counts itself.
_SEVERAL = ("list", "local")


def check_text_header(path: Path) -> None:
    """Look for numbers that are none, and for a file of voxels that is missing.

    Args:
        path: A NRRD or MetaImage file, its header attached or detached.

    Raises:
        AutoMedSAMError: If one is found.
        OSError: If it cannot be read.
    """
    if path.name.lower().endswith(NRRD_SUFFIXES):
        fields = _fields(path, ":")
        _check_data_file(path, fields.get("data file", fields.get("datafile", "")))
        return
    fields = _fields(path, "=")
    for name in _META_NUMBERS:
        for number in fields.get(name, "").split():
            _check_number(path, name, number)
    _check_data_file(path, fields.get("elementdatafile", ""))


def _fields(path: Path, separator: str) -> dict[str, str]:
    """Names in lower case and values, up to the empty line or the name of the data file that ends the header."""
    with path.open("rb") as stream:
        start = stream.read(_MOST)
    found: dict[str, str] = {}
    for line in start.splitlines():
        if not line.strip():
            break
        # Bytes that are no UTF-8 may be part of a file's name.
        name, _, value = line.decode("utf-8", "surrogateescape").partition(separator)
        found.setdefault(name.strip().lower(), value.strip())
        if name.strip().lower() == "elementdatafile":
            break
    return found


def _check_number(path: Path, name: str, number: str) -> None:
    try:
        finite = abs(float(number)) < float("inf")
    except ValueError:
        finite = False
    if not finite:
        message = f"{path} gives {number!r} as a number of its grid ({name}); repair its header or export it again."
        raise AutoMedSAMError(message)


def _check_data_file(path: Path, named: str) -> None:
    if not named or named.lower().startswith(_SEVERAL) or re.search(r"%\d*d", named):
        return
    if not (path.parent / named).is_file():
        message = f"{path} keeps its voxels in {named}, which is not there; copy both files into one folder."
        raise AutoMedSAMError(message)
