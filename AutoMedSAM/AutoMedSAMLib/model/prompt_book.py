"""The prompts of all objects of a box table. It imports neither Qt nor Slicer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from AutoMedSAMLib.model.box_record import BoxRecord, ObjectGroup
from AutoMedSAMLib.model.prompt_record import MaskPrompt, ObjectPrompts, PointPrompt


class PromptBook:
    """Prompts by object. Each change makes a new `ObjectPrompts`, so that copies of the book stay what they are.

    Every change takes the object that it is for, a group of `BoxTable.objects()`; None starts a new object. It returns
    the number of the object's prompts.
    """

    def __init__(self) -> None:
        self._prompts: dict[int, ObjectPrompts] = {}

    def copy(self) -> PromptBook:
        """A book of its own with the same content."""
        twin = PromptBook()
        twin._prompts = dict(self._prompts)
        return twin

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Any:
        return iter(self._prompts.values())

    def get(self, number: int) -> ObjectPrompts | None:
        """The prompts of this number, if there are any."""
        return self._prompts.get(number)

    @property
    def newest(self) -> int:
        """The number of the object's prompts that were started last; 0 if there are none."""
        return max(self._prompts, default=0)

    @property
    def boxes(self) -> frozenset[int]:
        """Ids of the boxes that were drawn for an object."""
        return frozenset(box for prompts in self for box in prompts.boxes)

    def attach(self, tracklets: Sequence[Sequence[BoxRecord]]) -> list[tuple[int | None, ObjectPrompts]]:
        """Finds the tracklet of each object's prompts.

        Args:
            tracklets: the boxes of each.

        Returns:
            Each object's prompts with the index of the tracklet that has most of its members, or None if no tracklet
            has one of them, or if another object of the same members came first.
        """
        ids = [{box.id for box in boxes} for boxes in tracklets]
        taken: set[int] = set()
        found: list[tuple[int | None, ObjectPrompts]] = []
        for prompts in self:
            shared = [(len(one & prompts.members), -index) for index, one in enumerate(ids) if index not in taken]
            most, index = max(shared, default=(0, 0))
            found.append((-index if most else None, prompts))
            if most:
                taken.add(-index)
        return found

    # Changes

    def add_point(self, group: ObjectGroup | None, label: int, point: PointPrompt, at: int) -> int:
        """Adds a click on the slice `at`; a positive one there takes back "no lesion here"."""

        def change(old: ObjectPrompts) -> ObjectPrompts:
            empty = old.empty - {at} if point.positive else old.empty
            return replace(old, points=(*old.points, point), empty=empty, limits=_reaching(old.limits, at))

        return self._change(group, label, change)

    def add_box(self, group: ObjectGroup | None, label: int, box: BoxRecord) -> int:
        """Adds a box that was drawn for the object."""

        def change(old: ObjectPrompts) -> ObjectPrompts:
            limits = _reaching(old.limits, box.slice)
            return replace(old, boxes=old.boxes | {box.id}, empty=old.empty - {box.slice}, limits=limits)

        return self._change(group, label, change)

    def set_masks(self, group: ObjectGroup | None, label: int, masks: Iterable[MaskPrompt]) -> int:
        """Sets what was drawn by hand on slices; an empty mask means "no lesion here"."""

        def change(old: ObjectPrompts) -> ObjectPrompts:
            for mask in masks:
                old = old.with_mask(mask) if mask.area else replace(old, empty=old.empty | {mask.slice})
            return old

        return self._change(group, label, change)

    def set_empty(self, group: ObjectGroup, slice_index: int, axis: int, *, empty: bool) -> int:
        """Says that the object is not on a slice, or takes that back."""

        def change(old: ObjectPrompts) -> ObjectPrompts:
            rest = old.without(slice_index, axis)
            return replace(rest, empty=rest.empty | {slice_index}) if empty else rest

        return self._change(group, group.label, change)

    def set_limits(self, group: ObjectGroup, limits: tuple[int, int] | None) -> int:
        """Sets the first and the last slice that the object may be tracked to."""
        return self._change(group, group.label, lambda old: replace(old, limits=limits))

    def set_used(self, group: ObjectGroup, *, used: bool) -> int:
        """Leaves an object out of what is segmented, or takes it back."""
        return self._change(group, group.label, lambda old: replace(old, used=used))

    def remove(self, group: ObjectGroup, slice_index: int, axis: int) -> int:
        """Takes the prompts of a slice back, but for boxes."""
        return self._change(group, group.label, lambda old: old.without(slice_index, axis))

    def _change(self, group: ObjectGroup | None, label: int, change: Callable[[ObjectPrompts], ObjectPrompts]) -> int:
        old = group.prompts if group is not None else None
        number = old.id if old is not None else max(self._prompts, default=0) + 1
        members = frozenset() if group is None else frozenset(box.id for box in group.boxes) - self.boxes
        new = change(replace(old or ObjectPrompts(number, label), members=members))
        if new.is_void:
            self._prompts.pop(number, None)
        else:
            self._prompts[number] = new
        return number

    # The saved scene

    def content(self) -> list[dict[str, Any]]:
        """All of it, as JSON has it."""
        return [prompts.content() for prompts in self]

    @classmethod
    def from_content(cls, content: Iterable[dict[str, Any]]) -> PromptBook:
        """What `content` gave."""
        book = cls()
        for one in content:
            prompts = ObjectPrompts.from_content(one)
            book._prompts[prompts.id] = prompts
        return book


def _reaching(limits: tuple[int, int] | None, at: int) -> tuple[int, int] | None:
    """Limits that let a slice in where the object was just shown."""
    return limits and (min(limits[0], at), max(limits[1], at))


def touches(group: ObjectGroup, slice_index: int, bounds: Sequence[float], axis: int) -> bool:
    """Whether a box that was drawn is likely to be meant for an object, and not for another one.

    Args:
        group: the object.
        slice_index: the box's slice.
        bounds: its bounds `i0, i1, j0, j1, k0, k1` in voxels, half-open.
        axis: the slice axis in `(K, J, I)`.

    Returns:
        Whether it overlaps the object's box on the nearest slice, or holds one of its points.
    """
    drawn = BoxRecord(0, slice_index, tuple(bounds), 1.0, group.label)
    nearest = min(group.boxes, key=lambda box: abs(box.slice - slice_index), default=None)
    if nearest is not None and drawn.iou(nearest, axis) > 0:
        return True
    points = group.prompts.points if group.prompts else ()
    within = [n for n in range(3) if n != 2 - axis]
    return any(all(bounds[2 * n] <= point.position[n] + 0.5 <= bounds[2 * n + 1] for n in within) for point in points)
