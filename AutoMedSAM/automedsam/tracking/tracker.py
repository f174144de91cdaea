"""Objects followed through the slices: the masks of each are kept, so that only what changed is computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.events import SlicePropagated, SliceSegmented, Stage, StageStarted
from automedsam.core.prompts import Point
from automedsam.core.volume import Triple
from automedsam.sam2.propagation import CropBox, Sam2Segmenter
from automedsam.tracking.crops import Crop, SliceRange, group_into_crops, region_of_interest
from automedsam.tracking.label_rules import LabelRules
from automedsam.tracking.object_mask import ObjectMask, cut_mask
from automedsam.tracking.prompting import (
    Run,
    check_prompts,
    effective,
    keep_parts,
    object_key,
    outline_of,
    prompts_of,
    runs_of,
)

if TYPE_CHECKING:
    from automedsam.sam2.networks import Floats, Sam2Networks
    from automedsam.sam2.propagation import SegmenterSettings
    from automedsam.tracking.settings import TrackingSettings


# Objects whose masks are kept, a few hundred kilobytes each, so that an edit that is taken back costs nothing.
_MAX_KNOWN = 256
# Crops whose image embeddings are kept for the next preview: the whole slice, and two objects.
_MAX_WARM = 3
# In each of them the results of so many slices are kept, a megabyte each at most in most images.
_KEPT_SLICES = 32


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
        return self.reach.outline


class SlicePreview(NamedTuple):
    """An object on one slice.

    Attributes:
        mask: `(H, W)` bool.
        score: the model's own estimate of the mask's quality, 0 to 1; 0 where the object does not reach.
    """

    mask: NDArray[np.bool_]
    score: float


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
        self._warm: dict[tuple[int, CropBox], Sam2Segmenter] = {}
        self._found: dict[str, Box] = {}
        self._previewed: dict[str, CropBox] = {}
        self._asked = 0

    @property
    def crops(self) -> dict[str, CropBox]:
        """What of the slices the network saw of each object, by `object_key`."""
        return {object_key(tracked.reach.tracklet): tracked.region for tracked in self.objects}

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
        reaches = [reach for one in tracklets if (reach := self._slice_range(networks, one)) is not None]
        kept = [tracked for tracked in self._known if tracked.reach in reaches]
        known = [tracked.reach for tracked in kept]
        new = [reach for reach in reaches if reach not in known]
        seen = [(crop, reach) for reach in new if (crop := self._own_crop(reach, crops or {}))]
        shared = group_into_crops(
            [reach for reach in new if reach not in [r for _, r in seen]], self._tracking.fill, self._size
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
        users = any(not one.reach.tracklet.has_only_boxes or one.tracklet.score >= 1 for one in objects)
        label = objects[0].tracklet.label
        segmenter = (
            self._warm_segmenter(networks, region, label)
            if users
            else Sam2Segmenter(networks, self._segmenter, self._image_of(label), region)
        )
        for tracked in objects:
            for run in self._runs(tracked.reach):
                for index, logits in self._follow(segmenter, tracked.reach, run, (run.first, run.last)):
                    tracked.masks[index] = self._cut_to_object(logits, tracked.reach, index)
                    yield tracked, index
            tracked.complete = True
            self._known = [*self._known, tracked][-_MAX_KNOWN:]
            for index in range(tracked.reach.first, tracked.reach.last + 1):
                if index not in tracked.masks:
                    yield tracked, index
        segmenter.drop_embeddings()

    def preview(
        self,
        networks: Sam2Networks,
        tracklet: Tracklet,
        index: int,
        is_cancelled: Callable[[], bool] = lambda: False,
        crops: Mapping[str, CropBox] | None = None,
    ) -> SlicePreview | None:
        """What `track` gives of one object on one slice; `labels` stay as they are.

        The image embeddings stay warm: on the object's seed, a further click costs the decoder alone. To another slice
        the object is tracked from its seed, once: further clicks there cost that slice alone.

        Args:
            networks: As for `track`.
            tracklet: The object.
            index: The slice.
            is_cancelled: Asked between slices.
            crops: As for `track`.

        Returns:
            None if it was cancelled.
        """
        empty = SlicePreview(np.zeros(self._size, np.bool_), 0.0)
        reach = self._slice_range(networks, tracklet)
        run = next((run for run in self._runs(reach) if run.first <= index <= run.last), None) if reach else None
        if reach is None or run is None:
            return empty
        region = self._own_crop(reach, crops or {}) or self._own_region(reach)
        self._previewed[object_key(tracklet)] = region
        segmenter = self._warm_segmenter(networks, region, tracklet.label)
        found = empty
        for at, logits in self._follow(segmenter, reach, run, (min(run.seed, index), max(run.seed, index))):
            if is_cancelled():
                return None
            if at == index:
                mask = self._cut_to_object(logits, reach, index)
                found.mask[mask.window] = mask.logits > 0
                found = SlicePreview(found.mask, segmenter.scores[index])
                break
        return found

    def _follow(
        self, segmenter: Sam2Segmenter, reach: SliceRange, run: Run, slices: tuple[int, int]
    ) -> Iterator[tuple[int, Floats]]:
        self._asked += 1
        knows_points = self._segmenter.knows_points
        score, tracklet = self._tracking.prompt_score, effective(reach.tracklet)
        for index, prompt in prompts_of(tracklet, reach.outline, run, score, knows_points=knows_points).items():
            segmenter.prompt(index, self._asked, prompt)
        try:
            yield from segmenter.propagate(self._asked, run.seed, *slices)
        finally:
            segmenter.forget(self._asked)

    def _runs(self, reach: SliceRange) -> list[Run]:
        return runs_of(effective(reach.tracklet), reach.outline, reach.first, reach.last)

    def _image_of(self, label: int) -> NDArray[np.uint8]:
        """The image that a label is segmented on."""
        return self._rules.slices.get(label, self._slices)

    @property
    def _size(self) -> tuple[int, int]:
        return self._slices.shape[-2], self._slices.shape[-1]

    def _warm_segmenter(self, networks: Sam2Networks, region: CropBox, label: int) -> Sam2Segmenter:
        image = self._image_of(label)
        key = id(image), region
        found = self._warm.pop(key, None)
        if found is None:
            found = Sam2Segmenter(networks, self._segmenter, image, region, kept_slices=_KEPT_SLICES)
        self._warm[key] = found
        while len(self._warm) > _MAX_WARM:
            del self._warm[next(iter(self._warm))]
        return found

    def _own_crop(self, reach: SliceRange, crops: Mapping[str, CropBox]) -> CropBox | None:
        """The crop of an object that shares none: an earlier one, or that of its prompts if they are not only boxes.

        What a user saw in a preview does not depend on the objects beside it.
        """
        key = object_key(reach.tracklet)
        crop = crops.get(key) or self._previewed.get(key)
        return crop or (None if reach.tracklet.has_only_boxes else self._own_region(reach))

    def _own_region(self, reach: SliceRange) -> CropBox:
        return region_of_interest([reach.outline], self._tracking.fill, self._size)

    def _cut_to_object(self, logits: Floats, reach: SliceRange, index: int) -> ObjectMask:
        """Kept near its box; where a user clicked, the parts that are clicked or lie near it; a user's mask whole."""
        whole = Box(0, 0, self._size[1], self._size[0])
        near = reach.outline.box_at(index).grown(self._tracking.margin)
        if index in reach.tracklet.masks:
            return cut_mask(logits, whole)
        if index in reach.tracklet.points:
            return cut_mask(keep_parts(logits, near, reach.tracklet.points[index]), whole)
        return cut_mask(logits, near)

    def _changed(self, indices: Sequence[int] | NDArray[np.int_]) -> Iterator[SliceSegmented]:
        for index in indices:
            if self._paint(int(index)):
                yield SliceSegmented(int(index), self.labels[index].copy())

    def owners(self, index: int) -> NDArray[np.uint16]:
        """Which object each pixel of a slice belongs to.

        Where objects overlap, the inner one takes the pixel, and of equally deep ones the more certain one.

        Args:
            index: The slice.

        Returns:
            `(H, W)`: 1 for the first of `objects`, and so on; 0 for none.
        """
        owners = np.zeros(self.labels.shape[1:], np.uint16)
        numbers = {id(tracked): number for number, tracked in enumerate(self.objects, 1)}
        for objects in self._rules.by_depth(self.objects):
            strongest = np.zeros(self.labels.shape[1:], np.float16)
            for tracked in objects:
                mask = tracked.masks.get(index)
                if mask is not None:
                    wins = mask.logits > strongest[mask.window]
                    owners[mask.window][wins] = numbers[id(tracked)]
                    strongest[mask.window][wins] = mask.logits[wins]
        return owners

    def _paint(self, index: int) -> bool:
        """Writes the objects of a slice. Returns whether its labels changed."""
        values = np.array([0, *(tracked.tracklet.label for tracked in self.objects)], np.uint8)
        painted = values[self.owners(index)]
        if np.array_equal(painted, self.labels[index]):
            return False
        self.labels[index] = painted
        return True

    def _slice_range(self, networks: Sam2Networks, tracklet: Tracklet) -> SliceRange | None:
        """How far a tracklet may be followed: some way beyond its ends, or as far as its limits; None if nowhere."""
        if tracklet.has_only_boxes:
            outline: Tracklet | None = tracklet
        else:
            outline = self._outline(networks, tracklet)
        if outline is None:
            return None
        first, last = outline.first, outline.last
        low, high = self._limits
        if tracklet.limits:
            begin, end = tracklet.limits
        else:
            begin, end = first - self._extension(outline.boxes[first]), last + self._extension(outline.boxes[last])
        clicked = [at for at in effective(tracklet).points if tracklet.limits is None]
        return SliceRange(
            tracklet,
            min(first, max(low, min([begin, *clicked]))),
            max(last, min(high, max([end, *clicked]))),
            None if outline is tracklet else outline,
        )

    def _outline(self, networks: Sam2Networks, tracklet: Tracklet) -> Tracklet | None:
        check_prompts(tracklet, (len(self._slices), *self._size))

        def find_box(index: int, point: Point) -> Box:
            clicked = f"{id(self._image_of(tracklet.label))} {index} {point.x} {point.y}"
            if clicked not in self._found:
                segmenter = self._warm_segmenter(networks, CropBox(0, 0, *self._size), tracklet.label)
                self._found[clicked] = segmenter.find_box(index, (point.x, point.y))
            return self._found[clicked]

        return outline_of(effective(tracklet), find_box)

    def _extension(self, end: Box) -> int:
        """Slices to go on beyond the box at an object's end.

        Where a detector that looked at every slice saw nothing, there is little. A person draws a box on one
        slice of many; a lesion is about as deep as it is wide, and propagation stops where it is gone.
        """
        between, rows, columns = self._spacing
        side = max(end.height * rows, end.width * columns) if end.drawn else 0.0
        low, high = self._limits
        return round(min(max(side, self._tracking.reach_mm) / between, high - low + 1))
