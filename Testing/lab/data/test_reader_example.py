"""The reader in docs/adding-a-reader.md works as printed."""

import re
from pathlib import Path

import numpy as np
import pytest

from automedsam_lab.data.readers.base import ReaderOptions, SkippedEntry

ROOT = Path(__file__).resolve().parents[3]


def test_documented_reader_reads_images_masks_and_boxes(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image", reason="images need Pillow, of the extra train")
    page = (ROOT / "docs" / "adding-a-reader.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1], names)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 5:35] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        image_module.fromarray(mask // 2 if folder == "images" else mask).save(tmp_path / folder / "a.png")
    image_module.fromarray(mask).save(tmp_path / "images" / "without_mask.png")

    reader = names["MyDataset"](tmp_path, ReaderOptions())
    case, skipped = reader.sources()
    assert isinstance(skipped, SkippedEntry) and "has no mask" in skipped.reason
    assert (case.case, case.patient, case.images, case.label) == ("a", "a", ("images/a.png",), "masks/a.png")
    (read,) = reader.pictures(case)
    assert read.pixels.shape[:2] == read.labels.shape == mask.shape
    (found,) = read.outlines
    assert (found.box.x, found.box.y, found.box.width, found.box.height) == (5, 10, 30, 10)
