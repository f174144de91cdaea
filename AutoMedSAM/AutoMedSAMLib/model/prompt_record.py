"""The prompts of one object besides its boxes: points, masks, empty slices and limits. No Qt, no Slicer."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PointPrompt:
    """A click.

    Attributes:
        position: voxel indices `(i, j, k)` with fractions; whole numbers are the centers of voxels.
        positive: whether the object is here; False says that it is not.
    """

    position: tuple[float, float, float]
    positive: bool

    def slice(self, axis: int) -> int:
        """The slice that it lies on; `axis` is the slice axis in `(K, J, I)`."""
        return math.floor(self.position[2 - axis] + 0.5)


@dataclass(frozen=True)
class MaskPrompt:
    """The object on one slice, as it was drawn by hand; kept short, since it is saved with the scene.

    Attributes:
        slice: voxel index along the slice axis.
        shape: rows and columns: the volume's axes without the slice axis, in the order of `(K, J, I)`.
        area: how many voxels are set.
        data: the bits, packed, deflated, base64.
    """

    slice: int
    shape: tuple[int, int]
    area: int
    data: str

    @classmethod
    def of(cls, slice_index: int, mask: NDArray[np.bool_]) -> MaskPrompt:
        """The prompt for a mask `(rows, columns)`."""
        data = base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")
        return cls(int(slice_index), (mask.shape[0], mask.shape[1]), int(np.count_nonzero(mask)), data)

    def mask(self) -> NDArray[np.uint8]:
        """The mask `(rows, columns)`, 0 or 1.

        Raises:
            ValueError: If the data are damaged.
        """
        try:
            bits = np.frombuffer(zlib.decompress(base64.b64decode(self.data)), np.uint8)
        except (zlib.error, binascii.Error) as error:
            message = f"not a mask: {error}"  # no tr
            raise ValueError(message) from error
        rows, columns = self.shape
        mask = np.unpackbits(bits)[: rows * columns]
        if mask.size != rows * columns or np.count_nonzero(mask) != self.area:
            message = f"not a mask of {rows} x {columns} voxels"  # no tr
            raise ValueError(message)
        return mask.reshape(self.shape)


@dataclass(frozen=True)
class ObjectPrompts:
    """What the user has shown of one object.

    Attributes:
        id: its number in its table.
        label: the value of its segment.
        members: ids of the linked boxes by which the object is recognized when boxes are linked again; empty for an
            object that was started by hand.
        boxes: ids of the boxes that were drawn for it; they are not linked.
        points: clicks.
        masks: slices as they were drawn by hand, at most one for each slice.
        empty: slices without it; tracking stops there.
        limits: the first and the last slice that it may be tracked to, inclusive; None for no limit.
        used: whether it is segmented.
    """

    id: int
    label: int
    members: frozenset[int] = frozenset()
    boxes: frozenset[int] = frozenset()
    points: tuple[PointPrompt, ...] = ()
    masks: tuple[MaskPrompt, ...] = ()
    empty: frozenset[int] = frozenset()
    limits: tuple[int, int] | None = None
    used: bool = True

    @property
    def can_seed(self) -> bool:
        """Whether tracking can start from these prompts, without a box."""
        return bool(self.masks) or any(point.positive for point in self.points)

    @property
    def is_void(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.boxes or self.points or self.masks or self.empty or self.limits or not self.used)

    def allows(self, slice_index: int) -> bool:
        """Whether the object may be on a slice."""
        first, last = self.limits or (slice_index, slice_index)
        return first <= slice_index <= last and slice_index not in self.empty

    def slices(self, axis: int) -> list[int]:
        """The slices with points, masks or "no lesion here", ascending."""
        points = {point.slice(axis) for point in self.points}
        return sorted(points | {mask.slice for mask in self.masks} | self.empty)

    def seed(self, axis: int) -> int | None:
        """The slice to track from: the largest mask's, else the first positive point's; None if neither is allowed."""
        masks = [mask for mask in self.masks if self.allows(mask.slice)]
        if masks:
            return max(masks, key=lambda mask: mask.area).slice
        points = (point.slice(axis) for point in self.points if point.positive)
        return next((at for at in points if self.allows(at)), None)

    def with_mask(self, mask: MaskPrompt) -> ObjectPrompts:
        """With a mask, in place of another one on its slice."""
        others = [one for one in self.masks if one.slice != mask.slice]
        return replace(self, masks=(*others, mask), empty=self.empty - {mask.slice})

    def without(self, slice_index: int, axis: int) -> ObjectPrompts:
        """Without the points, the mask and "no lesion here" of a slice."""
        return replace(
            self,
            points=tuple(point for point in self.points if point.slice(axis) != slice_index),
            masks=tuple(mask for mask in self.masks if mask.slice != slice_index),
            empty=self.empty - {slice_index},
        )

    def message(self) -> dict[str, Any]:
        """What a tracklet has of them for the engine; each mask as a `MaskPrompt`, to be written to a file.

        Fields that would be empty are left out.
        """
        found = {
            "points": [{"position": list(point.position), "positive": point.positive} for point in self.points],
            "masks": [{"slice": mask.slice, "mask": mask} for mask in self.masks if self.allows(mask.slice)],
            "empty": sorted(self.empty),
            "limits": list(self.limits) if self.limits else None,
        }
        return {name: value for name, value in found.items() if value}

    def content(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "id": self.id,
            "label": self.label,
            "members": sorted(self.members),
            "boxes": sorted(self.boxes),
            "points": [[*point.position, int(point.positive)] for point in self.points],
            "masks": [[mask.slice, *mask.shape, mask.area, mask.data] for mask in self.masks],
            "empty": sorted(self.empty),
            "limits": self.limits,
            "used": self.used,
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> ObjectPrompts:
        """What `content` gave."""
        limits = content["limits"]
        return cls(
            int(content["id"]),
            int(content["label"]),
            _integers(content["members"]),
            _integers(content["boxes"]),
            tuple(PointPrompt((float(i), float(j), float(k)), bool(p)) for i, j, k, p in content["points"]),
            tuple(
                MaskPrompt(int(at), (int(rows), int(columns)), int(area), str(data))
                for at, rows, columns, area, data in content["masks"]
            ),
            _integers(content["empty"]),
            (int(limits[0]), int(limits[1])) if limits else None,
            bool(content["used"]),
        )


def _integers(numbers: Iterable[Any]) -> frozenset[int]:
    return frozenset(int(number) for number in numbers)
