"""Objects followed through the slices: the masks of each are kept, so that only what changed is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.events import SlicePropagated, SliceSegmented, Stage, StageStarted
from automedsam.core.volume import Triple
from automedsam.sam2.propagation import CropBox, Prompt, Sam2Segmenter
from automedsam.tracking.crops import Crop, SliceRange, group_into_crops
from automedsam.tracking.label_rules import LabelRules

if TYPE_CHECKING:
    from automedsam.sam2.networks import Floats, Sam2Networks
    from automedsam.sam2.propagation import SegmenterSettings
    from automedsam.tracking.settings import TrackingSettings


# Objects whose masks are kept, a few hundred kilobytes each, so that an edit that is taken back costs nothing.
_MAX_KNOWN = 256


class ObjectMask(NamedTuple):
    """Where one object is on one slice: logits, cut to where they are above 0.

    Attributes:
        top: first row.
        left: first column.
        logits: `(h, w)` float32; the object is where they are above 0. Empty if the object is not on the slice.
    """

    top: int
    left: int
    logits: Floats

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns that the logits lie on."""
        height, width = self.logits.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def bounds(self) -> Box | None:
        """The mask's bounding box in pixels; None if it is empty."""
        height, width = self.logits.shape
        return Box(self.left, self.top, width, height) if self.logits.size else None

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.logits > 0))


@dataclass(eq=False)
class TrackedObject:
    """An object and its masks.

    Attributes:
        reach: the object, and the slices to which it may be followed.
        region: what of the slices the network sees.
        masks: by slice; a slice to which the object was not followed has none.
        complete: whether it was followed to its end. Only then may the masks be used again.
    """

    reach: SliceRange
    region: CropBox
    masks: dict[int, ObjectMask] = field(default_factory=dict)
    complete: bool = False

    @property
    def tracklet(self) -> Tracklet:
        """The boxes that it was followed by."""
        return self.reach.tracklet


class ObjectTracker:
    """The second half of a run: tracklets in, labels out.

    Args:
        slices: `(N, H, W)` uint8 gray levels, or `(N, 3, H, W)` where each input channel has its own image.
        spacing: between slices, rows and columns in mm.
        segmenter: how the model is run.
        tracking: how tracklets become prompts.
        limits: the first and the last slice to which objects without a box there may be followed.
        rules: which labels lie inside others, and which are segmented on other images.

    Attributes:
        labels: `(N, H, W)` uint8, what is segmented so far.
        objects: the objects of the last call of `track`.
    """

    def __init__(
        self,
        slices: NDArray[np.uint8],
        spacing: Triple,
        segmenter: SegmenterSettings,
        tracking: TrackingSettings,
        limits: tuple[int, int],
        rules: LabelRules | None = None,
    ) -> None:
        self._slices, self._spacing, self._limits = slices, spacing, limits
        self._segmenter, self._tracking, self._rules = segmenter, tracking, rules or LabelRules()
        self.labels = np.zeros((len(slices), *slices.shape[-2:]), np.uint8)
        self.objects: list[TrackedObject] = []
        self._known: list[TrackedObject] = []

    @property
    def crops(self) -> dict[str, CropBox]:
        """What of the slices the network saw of each object, by `object_key`."""
        return {object_key(tracked.tracklet): tracked.region for tracked in self.objects}

    def track(
        self, networks: Sam2Networks, tracklets: Sequence[Tracklet], crops: Mapping[str, CropBox] | None = None
    ) -> Iterator[StageStarted | SliceSegmented | SlicePropagated]:
        """Segments these objects and no others; those that are as they were in an earlier call cost nothing.

        They keep their masks to the voxel, even where a neighbour in their view has changed or gone: nobody expects
        another outline of what they have not touched. Objects that are new share views among themselves, but for
        those whose crop is in `crops`, of an earlier tracker: they come out as they did there.

        An empty slice fills as the objects reach it. A slice that shows something keeps it until all that is new
        there is known, and yields an event only if its labels change. Stopping early leaves every slice
        sound: as it was, as it shall be, or, where it was empty, with the objects that have reached it.

        Yields:
            The stage with the slices to be computed at most, for an object may end before its reach does; then one
            event for each that is computed, and one `SliceSegmented` for each other slice that changed.
        """
        untouched = not self._known and not self.labels.any()
        size = (self._slices.shape[-2], self._slices.shape[-1])
        reaches = [self._slice_range(tracklet) for tracklet in tracklets]
        kept = [tracked for tracked in self._known if tracked.reach in reaches]
        known = [tracked.reach for tracked in kept]
        new = [reach for reach in reaches if reach not in known]
        seen = [(crop, reach) for reach in new if (crop := (crops or {}).get(object_key(reach.tracklet)))]
        shared = group_into_crops(
            [reach for reach in new if reach not in [r for _, r in seen]], self._tracking.fill, size
        )
        shared += [Crop(crop, tuple(r for v, r in seen if v == crop)) for crop in dict.fromkeys(v for v, _ in seen)]
        plan = [
            (crop.region, [TrackedObject(reach, crop.region) for reach in group])
            for crop in shared
            for group in self._rules.by_image(crop.objects)
        ]
        self.objects = kept + [tracked for _, objects in plan for tracked in objects]

        empty = [not shown.any() for shown in self.labels]
        waiting = np.zeros(len(self._slices), int)
        for tracked in self.objects:
            if not tracked.complete:
                waiting[tracked.reach.first : tracked.reach.last + 1] += 1
        yield StageStarted(Stage.SEGMENT, int(waiting.sum()))
        if not untouched:
            yield from self._changed(np.flatnonzero(waiting == 0))

        for region, objects in plan:
            for tracked, index in self._compute(networks, region, objects):
                waiting[index] -= 1
                ready = empty[index] or waiting[index] == 0
                if (ready and self._paint(index)) or (untouched and index in tracked.masks):
                    yield SliceSegmented(index, self.labels[index].copy())
                elif index in tracked.masks:
                    yield SlicePropagated(index)

    def _compute(
        self, networks: Sam2Networks, region: CropBox, objects: Sequence[TrackedObject]
    ) -> Iterator[tuple[TrackedObject, int]]:
        """Computes the objects of a view; yields each slice of an object's reach once, those left out last."""
        slices = self._rules.slices.get(objects[0].tracklet.label, self._slices)
        segmenter = Sam2Segmenter(networks, self._segmenter, slices, region)
        for number, tracked in enumerate(objects):
            reach, tracklet = tracked.reach, tracked.tracklet
            for index, box in tracklet.boxes.items():
                if index == tracklet.seed or box.score >= self._tracking.prompt_score:
                    segmenter.prompt(index, number, Prompt(box=box))
            for index, logits in segmenter.propagate(number, tracklet.seed, reach.first, reach.last):
                tracked.masks[index] = _cut(logits, tracklet.box_at(index).grown(self._tracking.margin))
                yield tracked, index
            tracked.complete = True
            self._known = [*self._known, tracked][-_MAX_KNOWN:]
            for index in range(reach.first, reach.last + 1):
                if index not in tracked.masks:
                    yield tracked, index

    def _changed(self, indices: Sequence[int] | NDArray[np.int_]) -> Iterator[SliceSegmented]:
        for index in indices:
            if self._paint(int(index)):
                yield SliceSegmented(int(index), self.labels[index].copy())

    def _paint(self, index: int) -> bool:
        """Where objects overlap, the inner one takes the pixel, and of equally deep ones the more certain one.

        Returns:
            Whether the slice's labels changed.
        """
        painted = np.zeros(self.labels.shape[1:], np.uint8)
        for objects in self._rules.by_depth(self.objects):
            strongest = np.zeros(self.labels.shape[1:], np.float16)
            for tracked in objects:
                mask = tracked.masks.get(index)
                if mask is not None:
                    wins = mask.logits > strongest[mask.window]
                    painted[mask.window][wins] = tracked.tracklet.label
                    strongest[mask.window][wins] = mask.logits[wins]
        if np.array_equal(painted, self.labels[index]):
            return False
        self.labels[index] = painted
        return True

    def _slice_range(self, tracklet: Tracklet) -> SliceRange:
        """How far a tracklet may be followed: some way beyond its first and last box."""
        first, last = tracklet.first, tracklet.last
        low, high = self._limits
        return SliceRange(
            tracklet,
            min(first, max(low, first - self._extension(tracklet.boxes[first]))),
            max(last, min(high, last + self._extension(tracklet.boxes[last]))),
        )

    def _extension(self, end: Box) -> int:
        """Slices to go on beyond the box at an object's end.

        Where a detector that looked at every slice saw nothing, there is little. A person draws a box on one
        slice of many; a lesion is about as deep as it is wide, and propagation stops where it is gone.
        """
        between, rows, columns = self._spacing
        side = max(end.height * rows, end.width * columns) if end.drawn else 0.0
        low, high = self._limits
        return round(min(max(side, self._tracking.reach_mm) / between, high - low + 1))


def object_key(tracklet: Tracklet) -> str:
    """Identifies an object in a later run: equal for equal boxes, to a thousandth of a pixel, and an equal seed."""
    boxes = [(at, [round(edge, 3) for edge in box.corners], box.drawn) for at, box in sorted(tracklet.boxes.items())]
    return hashlib.sha256(repr((tracklet.label, tracklet.seed, boxes)).encode()).hexdigest()[:16]


def _cut(logits: Floats, near: Box) -> ObjectMask:
    """The logits where they are above 0; outside the object's grown box nothing is."""
    left, top, right, bottom = (max(0, round(edge)) for edge in near.corners)
    inside = logits[top:bottom, left:right]
    above = inside > 0
    rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not len(rows):
        return ObjectMask(top, left, np.zeros((0, 0), np.float32))
    tight = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ObjectMask(top + int(rows[0]), left + int(columns[0]), tight.astype(np.float32))
