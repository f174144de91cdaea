"""Images of a prepared dataset as a detector learns them: grey on three channels, boxes moved with the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from automedsam.core.resize import resize_linear
from automedsam_lab.data.augmentation import change_intensities
from automedsam_lab.data.prepared.dataset import PreparedImage

# Less than this of a box's sides, and what is left of it after a move is not what it was.
_LEFT_OF_SIDES = 0.4
MIN_SIDE = 2.0


@dataclass(frozen=True)
class Movement:
    """How far training moves a picture; a box stays exact under all of it, unlike under rotation.

    Attributes:
        log_scale: the standard deviation of the logarithm of the zoom.
        shift: the most that it moves, as a share of its side.
        flip: mirror columns in half of the images: only for what looks alike from both sides.
    """

    log_scale: float = 0.12
    shift: float = 0.1
    flip: bool = False


class DetectionImages(Dataset[tuple[NDArray[np.float32], NDArray[np.float32]]]):
    """Items `(3, S, S)` float32 in 0..1, and `(n, 5)` float32 rows of class and centre x, y, width, height in pixels.

    The engine shows a detector without context one grey slice on all three channels, colours as luminance: so does
    this.

    Args:
        images: of one part.
        labels: the label value of each class, in the order of the scores.
        size: side S in pixels.
        movement: how images are varied; None leaves them as they are.
        seed: of the variations; each item of each epoch has its own.
    """

    def __init__(
        self,
        images: Sequence[PreparedImage],
        labels: Sequence[int],
        size: int,
        movement: Movement | None = None,
        seed: int = 0,
    ) -> None:
        self._images, self._size, self._movement, self._seed = images, size, movement, seed
        self._classes = {label: index for index, label in enumerate(labels)}
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        cv2.setNumThreads(1)
        item = self._images[index]
        gray, boxes = self._gray(item), self._boxes(item)
        image: NDArray[np.float32] = np.repeat(gray[..., None].astype(np.float32) / 255, 3, axis=2)
        if self._movement is not None:
            rng = np.random.default_rng((self._seed, self.epoch, index))
            image, boxes = move(rng, image, boxes, self._movement)
            image = change_intensities(rng, image)
        center, sides = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), np.hstack([boxes[:, :1], center, sides])

    def _gray(self, item: PreparedImage) -> NDArray[np.uint8]:
        pixels: Any = item.read()
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if pixels.shape != (self._size, self._size):
            pixels = np.rint(resize_linear(pixels, (self._size, self._size)))
        return np.asarray(pixels, np.uint8)

    def _boxes(self, item: PreparedImage) -> NDArray[np.float32]:
        """Rows `(n, 5)` of class and corners in pixels of the item."""
        height, width = item.letterbox.size
        scale = np.array([self._size / width, self._size / height] * 2)
        rows = [(self._classes[box.label], *(np.array(box.corners) * scale)) for box in item.boxes]
        return np.array(rows, np.float32).reshape(-1, 5)


def move(
    rng: np.random.Generator, image: NDArray[np.float32], boxes: NDArray[np.float32], movement: Movement
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Zooms, shifts and mirrors a picture with its boxes.

    Args:
        rng: the source of randomness.
        image: `(S, S, 3)`.
        boxes: `(n, 5)` rows of class and corners in pixels, half-open.
        movement: how far.

    Returns:
        The same, moved: boxes are cut at the picture's edge, and those of which too little is left are gone.
    """
    side = image.shape[0]
    zoom = float(np.exp(rng.normal(0, movement.log_scale)))
    shift = rng.uniform(-movement.shift, movement.shift, 2) * side
    mirror = -1.0 if movement.flip and rng.random() < 0.5 else 1.0
    # Half-open pixels: the middle of the picture stays where it is, then all is shifted.
    scale, offset = np.array([zoom * mirror, zoom]), side / 2 * (1 - np.array([zoom * mirror, zoom])) + shift
    # warpAffine counts from the centres of pixels.
    matrix = np.array([[scale[0], 0, offset[0] + scale[0] / 2 - 0.5], [0, scale[1], offset[1] + scale[1] / 2 - 0.5]])
    moved = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    corners = boxes[:, 1:].reshape(-1, 2, 2) * scale + offset
    whole = np.concatenate([corners.min(1), corners.max(1)], 1)
    cut = np.clip(whole, 0, side)
    sides, before = cut[:, 2:] - cut[:, :2], whole[:, 2:] - whole[:, :2]
    kept = ((sides >= MIN_SIDE) & (sides >= _LEFT_OF_SIDES * before)).all(1)
    return np.asarray(moved, np.float32), np.hstack([boxes[:, :1], cut])[kept].astype(np.float32)
