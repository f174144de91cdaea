"""Puts the pictures that the documentation shows in their places, smaller: `python publish.py FOLDER`.

FOLDER is what AUTOMEDSAM_SCREENSHOTS named when the tests took the pictures. Those of patients whose data may not be
redistributed (`glioma`, `brats`) are not among them.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

_ROOT = Path(__file__).resolve().parents[3]
_COLORS = 256
# By the place in the repository: the picture, and its greatest width in pixels.
_PNG = {
    "Resources/Screenshots/hippocampus.png": ("hippocampus/composed.png", 1320),
    "Resources/Screenshots/hippocampus-dark.png": ("hippocampus/composed-dark.png", 1320),
    "Resources/Screenshots/phantom.png": ("phantom/composed.png", 1320),
    "docs/images/panel-idle.png": ("phantom/panel-idle.png", 880),
    "docs/images/panel-running.png": ("phantom/panel-running.png", 880),
    "docs/images/panel-done.png": ("phantom/panel-done.png", 880),
    "docs/images/panel-done-dark.png": ("phantom/panel-done-dark.png", 440),
    "docs/images/models.png": ("windows/models.png", 860),
}
_AS_THEY_ARE = {"Resources/Screenshots/prompts.webp": "prompts.webp"}


def publish(folder: Path, root: Path = _ROOT) -> list[Path]:
    """Writes the pictures that are in a folder into the repository.

    Args:
        folder: With the pictures.
        root: Of the repository.

    Returns:
        The files that were written.
    """
    written = []
    for place, (name, width) in _PNG.items():
        if (folder / name).is_file():
            with Image.open(folder / name) as picture:
                small = picture.convert("RGB")
            # By a whole number, since texts stay sharp then; no color of a segment may be lost.
            small = small.reduce(-(-small.width // width))
            small = small.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
            small.save(root / place, optimize=True)
            written.append(root / place)
    for place, name in _AS_THEY_ARE.items():
        if (folder / name).is_file():
            shutil.copyfile(folder / name, root / place)
            written.append(root / place)
    return written


if __name__ == "__main__":
    for path in publish(Path(sys.argv[1])):
        print(path.relative_to(_ROOT), f"{path.stat().st_size / 1000:.0f} KB")
