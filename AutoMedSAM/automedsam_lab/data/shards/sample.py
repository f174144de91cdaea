"""One image with its masks as the files of a sample, and back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.readers.base import ArchiveEntry
from automedsam_lab.data.readers.images import read_mask, read_still

_IMAGE, _JSON = "image.png", "json"
# A tar file stores each file after a header of 512 bytes, filled up to a multiple of 512.
_BLOCK = 512
# Longer names have a header of their own.
_LONGEST_NAME, _LONG_HEADER = 100, 3 * _BLOCK
# A tar file is filled up to a multiple of this.
TAR_END = 10240
# Of one sample's JSON and of each object in it, without names: for the estimate alone.
_JSON_BYTES, _OBJECT_BYTES = 250, 150


@dataclass(frozen=True, eq=False)
class SampleObject:
    """One object of an image.

    Attributes:
        label: its value in the index's `labels`.
        name: of its class.
        box: `(x, y, width, height)` in pixels.
        area: in pixels.
        mask: a PNG of 1 bit per pixel, decoded by `ShardSample.mask`.
    """

    label: int
    name: str
    box: tuple[int, int, int, int]
    area: int
    mask: bytes


@dataclass(frozen=True, eq=False)
class ShardSample:
    """One image of a shard, still encoded.

    Attributes:
        key: its name, unique in the set.
        patient: whose it is.
        dataset: the source dataset, None if the name does not contain one.
        modality: None if the name does not contain one.
        shape: height and width.
        objects: all objects; empty masks were left out.
        image: the archive's PNG file, unchanged.
    """

    key: str
    patient: str
    dataset: str | None
    modality: str | None
    shape: tuple[int, int]
    objects: tuple[SampleObject, ...]
    image: bytes

    def pixels(self) -> np.ndarray:
        """The image, `(h, w)` or `(h, w, 3)` uint8."""
        return read_still(io.BytesIO(self.image))

    def mask(self, index: int) -> np.ndarray:
        """The mask of an object, `(h, w)` bool."""
        with require("train", "Reading masks"):
            from PIL import Image
        with Image.open(io.BytesIO(self.objects[index].mask)) as opened:
            return np.asarray(opened)


def encode(entry: ArchiveEntry, root: Path, labels: Mapping[int, str]) -> dict[str, bytes]:
    """The files of a sample, by extension.

    Args:
        entry: a still image with a mask file for each object.
        root: the archive.
        labels: class names by value.

    Returns:
        `image.png` (the archive's bytes), `mask0000.png` and so on (1 bit per pixel), and `json`.

    Raises:
        AutoMedSAMError: if a file is missing or damaged, or a mask has another size than its image.
    """
    path = root / entry.images[0]
    # Decoded to be sure that it can be, and stored as it is.
    shape = read_still(path).shape[:2]
    try:
        files = {_IMAGE: path.read_bytes()}
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); restore it from the archive."
        raise AutoMedSAMError(message) from error
    objects: list[dict[str, Any]] = []
    for source, label in sorted(entry.masks.items()):
        mask = read_mask(root / source, shape)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        x, y = int(columns[0]), int(rows[0])
        box = (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
        file = f"mask{len(objects):04d}.png"
        files[file] = _one_bit(mask)
        objects.append(
            {"file": file, "source": source, "label": label, "name": labels[label], "box": box, "area": int(mask.sum())}
        )
    parts = entry.case.split("--")
    described = {
        "name": entry.case,
        "source": entry.images[0],
        "patient": entry.patient,
        "dataset": parts[1] if len(parts) == 4 else None,
        "modality": entry.modality,
        "height": shape[0],
        "width": shape[1],
        "objects": objects,
    }
    files[_JSON] = json.dumps(described).encode()
    return files


def decode(stored: Mapping[str, Any], shard: Path) -> ShardSample:
    """Undo `encode` without decoding the pictures.

    Args:
        stored: what WebDataset reads: files by extension.
        shard: where it was read, for errors.

    Raises:
        AutoMedSAMError: if a file of the sample is missing.
    """
    try:
        described = json.loads(stored[_JSON])
        objects = tuple(
            SampleObject(int(one["label"]), str(one["name"]), _box(one["box"]), int(one["area"]), stored[one["file"]])
            for one in described["objects"]
        )
        return ShardSample(
            described["name"],
            described["patient"],
            described["dataset"],
            described["modality"],
            (int(described["height"]), int(described["width"])),
            objects,
            stored[_IMAGE],
        )
    except (KeyError, ValueError, TypeError) as error:
        message = f"The sample {stored.get('__key__')} of {shard} is incomplete ({error}); write the shard again."
        raise AutoMedSAMError(message) from error


def sample_key(name: str, number: int) -> str:
    """What the names of a sample's files begin with: its number in the shard, and its name.

    WebDataset takes what follows the first dot for the extension.
    """
    return f"{number:06d}-{name.replace('.', '_')}"


def estimated_bytes(name: str, sizes: list[int]) -> int:
    """The room that a sample takes in a shard, from its name and the sizes of its archive files."""
    described = _JSON_BYTES + 2 * len(name) + (_OBJECT_BYTES + len(name)) * (len(sizes) - 1)
    longest = len(sample_key(name, 0)) + len(".mask0000.png")
    header = _BLOCK if longest <= _LONGEST_NAME else _LONG_HEADER
    return sum(header + -(-size // _BLOCK) * _BLOCK for size in (*sizes, described))


def _one_bit(mask: np.ndarray) -> bytes:
    with require("train", "Writing masks"):
        from PIL import Image
    packed = io.BytesIO()
    Image.fromarray(mask).save(packed, "PNG")
    return packed.getvalue()


def _box(sides: list[int]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(side) for side in sides)
    return x, y, width, height
