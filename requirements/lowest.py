"""Prints the lower bounds of the engine's requirements as exact versions, for `pip install -c`.

python requirements/lowest.py > lowest.txt
"""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_RESOURCES = REPOSITORY / "AutoMedSAM" / "Resources"
LISTS = (
    REPOSITORY / "requirements.txt",
    _RESOURCES / "requirements.txt",
    _RESOURCES / "requirements-models.txt",
)


def lowest(text: str) -> list[str]:
    """The requirements of a list with `==` in the place of `>=`.

    Raises:
        ValueError: If a line has no lower bound.
    """
    found = []
    for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)(,<[0-9.]+)?(\s*;.*)?", line)
        if match is None:
            message = f"{line!r} has no lower bound"
            raise ValueError(message)
        found.append(f"{match[1]}=={match[2]}{match[4] or ''}")
    return found


if __name__ == "__main__":
    for path in LISTS:
        print("\n".join(lowest(path.read_text(encoding="utf-8"))))
