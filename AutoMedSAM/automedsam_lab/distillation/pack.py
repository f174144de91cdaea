"""The images of a training in the teacher's frame: a folder of plain arrays that are mapped into memory.

The frame is LiteMedSAM's: the longer side becomes 256 pixels, the picture lies at the top left, the rest is 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_folder
from automedsam_lab.common.json_files import write_json
from automedsam_lab.data.sets.images import LabeledImage, Part

SIDE = 256
# An object of fewer pixels in the frame is left out.
MIN_PIXELS = 12
_VERSION = 1


@dataclass(frozen=True)
class PackedImage:
    """What is known of one image of a pack.

    Attributes:
        set: the set's name.
        patient: unique over all sets.
        name: unique in its set.
        part: of the split.
        content: height and width of the picture in the frame, in frame pixels.
        native: height and width as stored.
        first_mask: row of its first mask.
        masks: how many masks it has.
        boxes: half-open `x0, y0, x1, y1` in frame pixels; those of the masks first.
        native_at: where the first mask's native bits begin, in bytes.
    """

    set: str
    patient: str
    name: str
    part: str
    content: tuple[int, int]
    native: tuple[int, int]
    first_mask: int
    masks: int
    boxes: tuple[tuple[float, float, float, float], ...]
    native_at: int


class Pack:
    """A written pack.

    Args:
        folder: what `write_pack` wrote.

    Attributes:
        images: in the order of the rows of `pixels`.

    Raises:
        AutoMedSAMError: if the folder holds no pack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            described = json.loads((folder / "index.json").read_text("utf-8"))
            rows = described["images"] if described["version"] == _VERSION else None
            self.pixels = np.load(folder / "pixels.npy", mmap_mode="r")
            self._masks = np.load(folder / "masks.npy", mmap_mode="r")
            self._native = np.load(folder / "native.npy", mmap_mode="r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{folder} holds no packed images ({error}): write them with `automedsam-lab train efficient`."
            raise AutoMedSAMError(message) from error
        if rows is None:
            message = (
                f"{folder} was packed by another version: remove it and run `automedsam-lab train efficient` again."
            )
            raise AutoMedSAMError(message)
        self.images = tuple(_from_json(row) for row in rows)

    def __len__(self) -> int:
        return len(self.images)

    def of_part(self, *parts: Part) -> list[int]:
        """The rows of the images of some parts."""
        wanted = {part.value for part in parts}
        return [row for row, image in enumerate(self.images) if image.part in wanted]

    def masks(self, row: int) -> NDArray[np.bool_]:
        """The objects `(m, 256, 256)` of an image in the frame."""
        image = self.images[row]
        bits = self._masks[image.first_mask : image.first_mask + image.masks]
        return np.unpackbits(bits, axis=-1).astype(np.bool_)

    def native_masks(self, row: int) -> NDArray[np.bool_]:
        """The objects `(m, h, w)` of an image at native resolution."""
        image = self.images[row]
        height, width = image.native
        size = -(-height * width // 8)
        bits = self._native[image.native_at : image.native_at + size * image.masks].reshape(image.masks, size)
        return np.unpackbits(bits, axis=-1)[:, : height * width].reshape(-1, height, width).astype(np.bool_)

    @cached_property
    def sets(self) -> list[str]:
        """The names of the sets, in order of appearance."""
        return list(dict.fromkeys(image.set for image in self.images))


def write_pack(images: Iterable[tuple[Part, LabeledImage]], folder: Path) -> Pack:
    """Brings images to the frame and writes them.

    Args:
        images: see `labeled_images`; an image none of whose objects is large enough is left out.
        folder: a new folder.

    Raises:
        AutoMedSAMError: if no image is left, or the folder cannot be written.
    """
    pixels: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.uint8]] = []
    native: list[NDArray[np.uint8]] = []
    rows: list[dict[str, Any]] = []
    bytes_so_far = 0
    for part, image in images:
        framed = [(mask, in_frame) for mask in image.masks if (in_frame := mask_to_frame(mask)).sum() >= MIN_PIXELS]
        height, width = image.pixels.shape[:2]
        content = content_size((height, width))
        scale = np.array([content[1] / width, content[0] / height] * 2)
        boxes = [tight_box(mask) for mask, _ in framed] or [np.array(box) for box in image.boxes]
        if not boxes:
            continue
        packed = PackedImage(
            image.set,
            image.patient,
            image.name,
            part.value,
            content,
            (height, width),
            len(masks),
            len(framed),
            tuple(_four(box * scale) for box in boxes),
            bytes_so_far,
        )
        rows.append(asdict(packed))
        pixels.append(to_frame(image.pixels))
        masks += [np.packbits(in_frame, axis=-1) for _, in_frame in framed]
        native += [np.packbits(mask.ravel()) for mask, _ in framed]
        bytes_so_far += sum(len(bits) for bits in native[len(native) - len(framed) :])
    if not rows:
        message = f"None of the images has an object of at least {MIN_PIXELS} pixels: there is nothing to train on."
        raise AutoMedSAMError(message)
    with atomic_folder(folder) as unfinished:
        np.save(unfinished / "pixels.npy", np.stack(pixels))
        np.save(unfinished / "masks.npy", np.stack(masks) if masks else np.zeros((0, SIDE, SIDE // 8), np.uint8))
        np.save(unfinished / "native.npy", np.concatenate(native) if native else np.zeros(0, np.uint8))
        write_json({"version": _VERSION, "images": rows}, unfinished / "index.json")
    return Pack(folder)


def content_size(native: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture in the frame: the longer side is 256."""
    scale = SIDE / max(native)
    return max(1, int(native[0] * scale + 0.5)), max(1, int(native[1] * scale + 0.5))


def to_frame(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture `(h, w)` or `(h, w, 3)` as `(256, 256, 3)`, with zeros to the right or below."""
    colored = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
    height, width = content_size((pixels.shape[0], pixels.shape[1]))
    framed = np.zeros((SIDE, SIDE, 3), np.uint8)
    resized = resize_linear(np.moveaxis(colored, -1, 0), (height, width))
    framed[:height, :width] = np.moveaxis(np.rint(resized.clip(0, 255)), 0, -1)
    return framed


def mask_to_frame(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask `(h, w)` as `(256, 256)`: the pixels that it covers by half or more."""
    height, width = content_size((mask.shape[0], mask.shape[1]))
    framed = np.zeros((SIDE, SIDE), np.bool_)
    framed[:height, :width] = resize_linear(mask.astype(np.float32), (height, width)) >= 0.5
    return framed


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The half-open `x0, y0, x1, y1` around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def unit_range(framed: NDArray[np.uint8], content: tuple[int, int]) -> NDArray[np.float32]:
    """A picture `(256, 256, 3)` as LiteMedSAM takes it: `(3, 256, 256)`, its content from 0 to 1, 0 around it."""
    height, width = content
    inside = framed[:height, :width].astype(np.float32)
    low, high = inside.min(), inside.max()
    scaled = np.zeros((3, SIDE, SIDE), np.float32)
    scaled[:, :height, :width] = np.moveaxis((inside - low) / max(float(high - low), 1e-8), -1, 0)
    return scaled


def _four(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return x0, y0, x1, y1


def _from_json(row: dict[str, Any]) -> PackedImage:
    pairs = {name: tuple(row[name]) for name in ("content", "native")}
    return PackedImage(**{**row, **pairs, "boxes": tuple(_four(np.array(box)) for box in row["boxes"])})
