"""A picture of any shape in a frame of fixed size, its sides kept in proportion, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError


@dataclass(frozen=True)
class Letterbox:
    """The place of an image in a detector's input, and how large it is there.

    Two frames of pixels, both with 0 at the left (top) edge of the first column (row): the native one, and the
    input of `size`. The picture fills the input along one axis at least; what it leaves free is 0.

    Attributes:
        scale: input pixels a native pixel, before the picture's sides were rounded to whole pixels.
        left: free columns to the left of the picture.
        top: free rows above the picture.
        native: height and width of the picture as it is stored.
        size: height and width of the input.
    """

    scale: float
    left: int
    top: int
    native: tuple[int, int]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        whole = min(*self.native, *self.size) >= 1 and math.isfinite(self.scale) and self.scale > 0
        if not whole or not all(
            free >= 0 and free + side <= whole_side
            for free, side, whole_side in zip((self.top, self.left), self.resized, self.size, strict=True)
        ):
            message = (
                f"A picture of {self.native[0]} x {self.native[1]} pixels, scaled by {self.scale:g}, does not lie in "
                f"{self.size[0]} x {self.size[1]} at row {self.top}, column {self.left}; fit it anew."
            )
            raise AutoMedSAMError(message)

    @classmethod
    def fit(cls, native: tuple[int, int], size: tuple[int, int]) -> Letterbox:
        """The largest place for a picture in the middle of an input.

        Args:
            native: height and width of the picture, in pixels.
            size: height and width of the input, in pixels.

        Returns:
            The letterbox; where the free rows or columns are odd, the picture lies half a pixel to the top or left.

        Raises:
            AutoMedSAMError: if a side is below 1.
        """
        if min(*native, *size) < 1:
            message = f"A picture of {native[0]} x {native[1]} pixels does not fit {size[0]} x {size[1]}: a side is 0."
            raise AutoMedSAMError(message)
        scale = min(size[0] / native[0], size[1] / native[1])
        height, width = _resized(native, scale)
        return cls(scale, (size[1] - width) // 2, (size[0] - height) // 2, native, size)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Letterbox:
        """Undoes `to_json`: reads the letterbox of an image in a prepared dataset's COCO file.

        Args:
            entry: the image's entry; further keys are not looked at.

        Raises:
            AutoMedSAMError: if a value is missing or is no number, or the picture does not lie in the input.
        """
        try:
            native, placed = entry["native"], entry["letterbox"]
            return cls(
                scale=float(placed["scale"]),
                left=int(placed["left"]),
                top=int(placed["top"]),
                native=(int(native["height"]), int(native["width"])),
                size=(int(entry["height"]), int(entry["width"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"The entry of {_called(entry)} has no sound letterbox ({error!r}); prepare the dataset again."
            raise AutoMedSAMError(message) from error

    def to_json(self) -> dict[str, Any]:
        """The keys of a COCO image entry that hold the place of the image: `width`, `height`, `native`, `letterbox`."""
        return {
            "width": self.size[1],
            "height": self.size[0],
            "native": {"width": self.native[1], "height": self.native[0]},
            "letterbox": {"scale": self.scale, "left": self.left, "top": self.top},
        }

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width of the picture in the input, in whole pixels."""
        return _resized(self.native, self.scale)

    @property
    def ratio(self) -> tuple[float, float]:
        """Input pixels a native pixel along rows and columns: `scale`, but for the rounding to whole pixels."""
        return self.resized[0] / self.native[0], self.resized[1] / self.native[1]

    def box_to_input(self, box: Box) -> Box:
        """A box in native pixels as one in the input's; its score and label stay."""
        down, across = self.ratio
        return replace(
            box,
            x=box.x * across + self.left,
            y=box.y * down + self.top,
            width=box.width * across,
            height=box.height * down,
        )

    def box_to_native(self, box: Box) -> Box:
        """Undoes `box_to_input`, whatever of the box lies beside the picture included."""
        down, across = self.ratio
        return replace(
            box,
            x=(box.x - self.left) / across,
            y=(box.y - self.top) / down,
            width=box.width / across,
            height=box.height / down,
        )

    def image(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture in its place, resized with linear weights that widen where it shrinks.

        Args:
            picture: `(h, w)` or `(h, w, 3)` uint8, of the native size.

        Returns:
            `(H, W)` or `(H, W, 3)` uint8, 0 beside the picture.

        Raises:
            ValueError: if the picture is not of the native size.
        """
        self._require(picture.shape[:2], self.native)
        placed = np.zeros(self.size + picture.shape[2:], dtype=np.uint8)
        placed[self._inside] = picture if self.resized == self.native else _resize(picture, self.resized)
        return placed

    def mask(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Labels in their place: each input pixel takes the label that its centre falls on.

        Args:
            labels: `(h, w)` of the native size, any type of number or bool.

        Returns:
            `(H, W)` of the same type, 0 beside the picture.

        Raises:
            ValueError: if the labels are not of the native size.
        """
        self._require(labels.shape, self.native)
        placed = np.zeros(self.size, dtype=labels.dtype)
        placed[self._inside] = labels[np.ix_(*map(_nearest, self.native, self.resized))]
        return placed

    def restore_mask(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Undoes `mask`: each native pixel takes the label that its centre falls on in the input.

        After `mask` the labels are the native ones, voxel for voxel, where the picture did not shrink; where it did,
        each is that of a native point no further than half an input pixel away along either axis.

        Args:
            labels: `(H, W)` of the input's size.

        Returns:
            `(h, w)` of the same type.

        Raises:
            ValueError: if the labels are not of the input's size.
        """
        self._require(labels.shape, self.size)
        inside: NDArray[Any] = labels[self._inside]
        return inside[np.ix_(*map(_nearest, self.resized, self.native))]

    @property
    def _inside(self) -> tuple[slice, slice]:
        height, width = self.resized
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @staticmethod
    def _require(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
        if shape != wanted:
            message = f"An array of shape {shape} is not of this letterbox's {wanted}."
            raise ValueError(message)


def _resized(native: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in native)
    return height, width


def _resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """`resize_linear` of a picture whose channels, if it has any, come last; rounded to whole grey levels."""
    planes = resize_linear(picture if picture.ndim == 2 else np.moveaxis(picture, -1, 0), size)
    rounded = np.rint(planes, out=planes).astype(np.uint8)
    return rounded if picture.ndim == 2 else np.moveaxis(rounded, 0, -1)


def _nearest(old: int, new: int) -> NDArray[np.intp]:
    """For each of `new` pixels the one of `old` that its centre falls on, in whole numbers lest a tie be rounded."""
    return np.asarray((2 * np.arange(new) + 1) * old // (2 * new), dtype=np.intp)


def _called(entry: Any) -> str:
    return str(entry.get("file_name", "an image")) if isinstance(entry, Mapping) else "an image"
