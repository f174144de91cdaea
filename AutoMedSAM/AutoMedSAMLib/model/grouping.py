"""Makes objects of boxes, of what the engine linked, and of the user's prompts. It imports neither Qt nor Slicer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from AutoMedSAMLib.model.box_record import BoxRecord, ObjectGroup, gaps_between
from AutoMedSAMLib.model.prompt_book import PromptBook
from AutoMedSAMLib.model.prompt_record import ObjectPrompts


class Grouping:
    """The content of a box table, to be grouped.

    Args:
        boxes: all boxes by their ids.
        rejected: ids of the boxes that the user has rejected.
        seeds: ids of the boxes that the user has chosen as seeds.
        prompts: what the user has shown besides boxes.
        axis: the slice axis in `(K, J, I)`.
    """

    def __init__(
        self,
        boxes: Mapping[int, BoxRecord],
        rejected: AbstractSet[int],
        seeds: AbstractSet[int],
        prompts: PromptBook,
        axis: int,
    ) -> None:
        self._boxes, self._rejected, self._seeds, self._prompts, self.axis = boxes, rejected, seeds, prompts, axis

    def objects(self, linked: Iterable[dict[str, Any]], threshold: float) -> list[ObjectGroup]:
        """The objects from a score on, in the order of the engine's, each with the rejected boxes that overlap it.

        Args:
            linked: the engine's objects: `label`, `seed` and `boxes` (ids).
            threshold: the score, 0 to 1. Objects that the user has shown are there whatever their score.
        """
        tracklets, own = list(linked), self._prompts.boxes
        members = [[box for box in self._members(tracklet) if box.id not in own] for tracklet in tracklets]
        taken = {box.id for boxes in members for box in boxes} | own
        for box in (self._boxes[number] for number in self._rejected if number not in taken):
            self._add_to_overlapping(box, members)
        prompts: dict[int, ObjectPrompts] = {}
        for index, one in self._prompts.attach(members):
            place = len(tracklets) if index is None else index
            if index is None:
                tracklets.append({"label": one.label, "seed": None, "boxes": []})
                members.append([])
            members[place] += [self._boxes[number] for number in sorted(one.boxes) if number in self._boxes]
            prompts[place] = one
        groups: list[ObjectGroup] = []
        for place, (tracklet, boxes) in enumerate(zip(tracklets, members, strict=True)):
            shown = bool(boxes) and max(box.score for box in boxes) >= threshold
            if shown or (place in prompts and prompts[place].can_seed):
                groups.append(self._group(len(groups) + 1, tracklet, boxes, prompts.get(place)))
        return groups

    def _members(self, tracklet: dict[str, Any]) -> list[BoxRecord]:
        return [self._boxes[number] for number in tracklet["boxes"] if number in self._boxes]

    def _add_to_overlapping(self, box: BoxRecord, members: list[list[BoxRecord]]) -> None:
        """Adds a rejected box to the object that it overlaps most on the slice nearest to its own."""
        best, home = 0.0, None
        for boxes in members:
            nearest = min(boxes, key=lambda other: abs(other.slice - box.slice), default=None)
            if nearest is not None and nearest.label == box.label and box.iou(nearest, self.axis) > best:
                best, home = box.iou(nearest, self.axis), boxes
        if home is not None:
            home.append(box)

    def _group(
        self, number: int, tracklet: dict[str, Any], boxes: list[BoxRecord], prompts: ObjectPrompts | None
    ) -> ObjectGroup:
        by_slice: dict[int, BoxRecord] = {}
        for box in boxes:
            other = by_slice.get(box.slice)
            better = other is None or (box.drawn, box.score) > (other.drawn, other.score)
            allowed = prompts is None or prompts.allows(box.slice)
            if box.id not in self._rejected and better and allowed:
                by_slice[box.slice] = box
        kept = frozenset(box.id for box in by_slice.values())
        seed = self._seed(tracklet["seed"], by_slice, prompts)
        prompted = prompts.slices(self.axis) if prompts else []
        # A slice whose box was rejected has a row of its own already, and so has one with other prompts.
        within = range(min(by_slice, default=0), max(by_slice, default=0))
        rows = {*(box.slice for box in boxes), *prompted}
        gaps = gaps_between(sorted({*by_slice, *(at for at in rows if at in within)}))
        ordered = tuple(in_slice_order(boxes))
        return ObjectGroup(number, tracklet["label"], ordered, kept, seed, gaps, prompts, tuple(prompted))

    def _seed(self, linked: int, by_slice: dict[int, BoxRecord], prompts: ObjectPrompts | None) -> int | None:
        chosen = next((at for at, box in by_slice.items() if box.id in self._seeds), None)
        if chosen is None and prompts is not None and (prompts.masks or not by_slice):
            chosen = prompts.seed(self.axis)
        if chosen is not None or not by_slice:
            return chosen
        if linked in by_slice:
            return linked
        # As the engine chooses: where the object is both sure and large.
        return max(by_slice, key=lambda at: by_slice[at].score ** 2 * by_slice[at].area(self.axis))


def in_slice_order(boxes: Iterable[BoxRecord]) -> list[BoxRecord]:
    """Boxes by slice, the best of a slice first."""
    return sorted(boxes, key=lambda box: (box.slice, -box.score))
