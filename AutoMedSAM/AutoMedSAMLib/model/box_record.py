"""One box of the box table, and the group of boxes that make up one object."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from AutoMedSAMLib.model.prompt_record import ObjectPrompts

# Even an object on a single slice may extend this many slices farther.
_REACH = 3


@dataclass(frozen=True)
class BoxRecord:
    """A rectangle on one slice, as the engine process sends it.

    Attributes:
        id: the box's number in its run.
        slice: voxel index along the slice axis.
        bounds: `i0, i1, j0, j1, k0, k1`, half-open voxel ranges along I, J and K; one voxel along the slice axis.
        score: the detector's score, 0 to 1; 1 if the box was drawn, moved or confirmed by hand.
        label: the value of its segment.
        drawn: whether it was drawn, moved or confirmed by hand.
    """

    id: int
    slice: int
    bounds: tuple[float, ...]
    score: float
    label: int
    drawn: bool = False

    def __post_init__(self) -> None:
        if len(self.bounds) != 6:
            message = f"A box has six bounds, not {len(self.bounds)}."  # no tr
            raise ValueError(message)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> BoxRecord:
        """The box in a message of the engine process."""
        return cls(
            int(message["id"]),
            int(message["slice"]),
            tuple(float(edge) for edge in message["bounds"]),
            float(message["score"]),
            int(message["label"]),
            bool(message["drawn"]),
        )

    def message(self) -> dict[str, Any]:
        """The box as the engine process reads it."""
        return {
            "id": self.id,
            "slice": self.slice,
            "bounds": list(self.bounds),
            "score": self.score,
            "label": self.label,
            "drawn": self.drawn,
        }

    def sides(self, axis: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """The two ranges within the slice, in voxels; `axis` is the slice axis in `(K, J, I)`."""
        ranges = [(self.bounds[2 * n], self.bounds[2 * n + 1]) for n in range(3) if n != 2 - axis]
        return ranges[0], ranges[1]

    def area(self, axis: int) -> float:
        """Size within the slice, in voxels."""
        (a0, a1), (b0, b1) = self.sides(axis)
        return (a1 - a0) * (b1 - b0)

    def iou(self, other: BoxRecord, axis: int) -> float:
        """Intersection over union within the slice, 0 to 1; slices and labels are not looked at."""
        shared = 1.0
        for (low, high), (other_low, other_high) in zip(self.sides(axis), other.sides(axis), strict=True):
            shared *= max(0.0, min(high, other_high) - max(low, other_low))
        union = self.area(axis) + other.area(axis) - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True)
class ObjectGroup:
    """Boxes that are shown together: one object, or those that belong to none.

    Attributes:
        number: 1 for the first object; 0 for the boxes that belong to none.
        label: the value of its segment; 0 if mixed.
        boxes: in slice order, the rejected ones among them.
        accepted: ids of the boxes that will be segmented.
        seed: the slice from which the object is tracked up and down; None if nothing of it is accepted.
        gaps: runs of slices without a box, rejected ones included, between the first and the last accepted one,
            `(first, last)` inclusive.
        prompts: what the user has shown of the object besides; None if nothing.
        prompted: the slices with such prompts, ascending.
    """

    number: int
    label: int
    boxes: tuple[BoxRecord, ...]
    accepted: frozenset[int]
    seed: int | None
    gaps: tuple[tuple[int, int], ...]
    prompts: ObjectPrompts | None = None
    prompted: tuple[int, ...] = ()

    @property
    def keys(self) -> list[int]:
        """What it is recognized by after boxes were linked again: its boxes' ids, and a negative one of its prompts."""
        return [box.id for box in self.boxes] + ([-10 - self.prompts.id] if self.prompts else [])

    @property
    def is_used(self) -> bool:
        """Whether it is segmented."""
        prompts = self.prompts
        return bool(self.accepted) if prompts is None else prompts.used and self.seed is not None

    @property
    def score(self) -> float:
        """The best score of its accepted boxes, or of all if none is accepted; 1 if it has no box."""
        return max((box.score for box in self.boxes if not self.accepted or box.id in self.accepted), default=1.0)

    @property
    def detector_score(self) -> float | None:
        """The best score that the detector gave an accepted box, or any box if none is; None if all are by hand."""
        found = [box for box in self.boxes if not box.drawn]
        accepted = [box.score for box in found if box.id in self.accepted]
        return max(accepted or [box.score for box in found], default=None)

    @property
    def first(self) -> int:
        """The first slice with a box or another prompt."""
        return min([*(box.slice for box in self.boxes[:1]), *self.prompted[:1]])

    @property
    def last(self) -> int:
        """The last slice with a box or another prompt."""
        return max([*(box.slice for box in self.boxes[-1:]), *self.prompted[-1:]])

    def messages(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Its accepted boxes, and the object itself, for the engine; masks are `MaskPrompt`s, not files yet."""
        members = [box for box in self.boxes if box.id in self.accepted]
        tracklet = {"label": self.label, "seed": self.seed, "boxes": [box.id for box in members]}
        return [box.message() for box in members], tracklet | (self.prompts.message() if self.prompts else {})

    def bounds_at(self, slice_index: int) -> tuple[float, ...] | None:
        """Where the object's box would be on a slice that has none.

        Returns:
            Bounds as in `BoxRecord`, between those of the neighbours or like that of the nearer end; None if nothing
            is accepted, if the slice has an accepted box, or if it is farther from the object than this is long.
        """
        kept = [box for box in self.boxes if box.id in self.accepted]
        reach = max(_REACH, self.last - self.first + 1)
        if not self.first - reach <= slice_index <= self.last + reach:
            return None
        before = [box for box in kept if box.slice <= slice_index]
        after = [box for box in kept if box.slice >= slice_index]
        if not kept or (before and after and before[-1] is after[0]):
            return None
        one, other = (before or after[:1])[-1], (after or before[-1:])[0]
        share = (slice_index - one.slice) / (other.slice - one.slice) if one is not other else 0.0
        return tuple(a + share * (b - a) for a, b in zip(one.bounds, other.bounds, strict=True))


def gaps_between(slices: list[int]) -> tuple[tuple[int, int], ...]:
    """Runs of numbers that are missing in an ascending list, as `(first, last)` inclusive."""
    return tuple((low + 1, high - 1) for low, high in pairwise(slices) if high - low > 1)
