"""The box table: what the detector found, and the user's corrections. It imports neither Qt nor Slicer."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from AutoMedSAMLib.model.box_record import BoxRecord, ObjectGroup
from AutoMedSAMLib.model.grouping import Grouping, in_slice_order
from AutoMedSAMLib.model.prompt_book import PromptBook
from AutoMedSAMLib.model.saved_content import checked_measures, prompts_in

_FORMAT = 1


class BoxTable:
    """Boxes, the objects that they were linked to, and the user's corrections.

    What is accepted is what is segmented: `propagation()` sends exactly the accepted boxes of the objects shown.
    Rejections and edits do not change the objects. A new threshold, a new box or a box taken back may change which
    boxes belong together, which only the engine can find out: send `link_boxes()` and pass the answer to
    `receive_tracklets`.

    Attributes:
        axis: the slice axis in `(K, J, I)`.
        plane: its plane: "axial", "coronal" or "sagittal".
        slices: the first and the last slice that were looked at, inclusive.
        model: the hash of the model that found the boxes; empty if there was no run.
        threshold: the score, 0 to 1, from which objects are shown and segmented.
        measures: volume, slices and diameters of segments and objects, as the engine's "finished" event has them.
        confidence: the engine's judgement of each segmented slice: `{"slice", "confidence", "reason"}`.
        run: the ID of the run that the segmentation shows; empty if unknown.
        prompts: what the user has shown of the objects besides boxes.
        is_linked: whether the objects are those of the present boxes and threshold.
        is_new: whether it was started by hand, and no run has written anything of it yet.
    """

    def __init__(
        self,
        axis: int = 0,
        plane: str = "axial",
        slices: tuple[int, int] = (0, -1),
        model: str = "",
        threshold: float = 0.5,
    ) -> None:
        self.axis, self.plane, self.slices = axis, plane, slices
        self.model, self.threshold = model, threshold
        self.confidence: list[dict[str, Any]] = []
        self.measures: list[dict[str, Any]] = []
        self._boxes: dict[int, BoxRecord] = {}
        self._tracklets: list[dict[str, Any]] = []
        self._rejected: set[int] = set()
        self._seeds: set[int] = set()
        # Where boxes were before they were moved by hand: they are linked at these places.
        self._anchors: dict[int, tuple[float, ...]] = {}
        self._checked: set[int] = set()
        self._segmented = ""
        self.run = ""
        self.prompts = PromptBook()
        self.is_linked = self.is_new = False

    def copy(self) -> BoxTable:
        """A table of its own with the same content."""
        twin = copy(self)
        twin._boxes, twin._anchors = dict(self._boxes), dict(self._anchors)
        twin._tracklets = [{**one, "boxes": list(one["boxes"])} for one in self._tracklets]
        twin._rejected, twin._seeds, twin._checked = set(self._rejected), set(self._seeds), set(self._checked)
        twin.confidence, twin.prompts = list(self.confidence), self.prompts.copy()
        return twin

    def __len__(self) -> int:
        """How many boxes and objects with other prompts there are."""
        return len(self._boxes) + len(self.prompts)

    def __getitem__(self, box_id: int) -> BoxRecord:
        return self._boxes[box_id]

    def get(self, box_id: int) -> BoxRecord | None:
        """The box of this id, if there is one."""
        return self._boxes.get(box_id)

    @property
    def rejected(self) -> frozenset[int]:
        """Ids of the boxes that the user has rejected."""
        return frozenset(self._rejected)

    @property
    def checked(self) -> frozenset[int]:
        """The slices that the user has accepted."""
        return frozenset(self._checked)

    # From the engine

    def receive_boxes(self, messages: Iterable[dict[str, Any]]) -> None:
        """Adds detected boxes; one that was changed by hand stays as it is."""
        for message in messages:
            box = BoxRecord.from_message(message)
            if box.id not in self._boxes or not self._boxes[box.id].drawn:
                self._boxes[box.id] = box

    def receive_tracklets(self, messages: Iterable[dict[str, Any]]) -> None:
        """Sets which boxes make up which object, the best object first."""
        self._tracklets = [
            {"label": int(one["label"]), "seed": int(one["seed"]), "boxes": [int(number) for number in one["boxes"]]}
            for one in messages
        ]
        self.is_linked = True

    # From the user

    def reject(self, box_ids: Iterable[int]) -> None:
        """Leaves boxes out of what is segmented."""
        self._rejected.update(self._known(box_ids))

    def accept(self, box_ids: Iterable[int]) -> None:
        """Takes boxes back; one that belongs to no object is confirmed, as if drawn by hand. Link again.

        An object has one box a slice: the box that is taken back replaces the other.
        """
        objects, self.is_linked = self.objects(), False
        boxes = [self._boxes[number] for number in self._known(box_ids)]
        for box in sorted(boxes, key=lambda box: (box.drawn, box.score)):
            group = next((group for group in objects if box in group.boxes), None)
            self._rejected.discard(box.id)
            if group is None:
                self._boxes[box.id] = replace(box, score=1.0, drawn=True)
            else:
                self._rejected.update(o.id for o in group.boxes if o.slice == box.slice and o.id != box.id)
                self._join(box.id, group)

    def use_prompts(self, keys: Iterable[int], *, used: bool) -> None:
        """Leaves objects with prompts out of what is segmented, or takes them back; keys as in `ObjectGroup.keys`."""
        for group in filter(None, [self.group(key) for key in keys]):
            if group.prompts is not None:
                self.prompts.set_used(group, used=used)

    def remove_prompts(self, places: Iterable[tuple[int, int]]) -> None:
        """Takes back the points, the mask and "no lesion here" of slices, given with the object's key."""
        for key, at in places:
            group = self.group(key)
            if group is not None:
                self.prompts.remove(group, at, self.axis)

    def edit(self, box_id: int, bounds: Sequence[float]) -> None:
        """Moves a box within its slice; it stays with its object, wherever it is moved.

        Args:
            box_id: which box.
            bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open; the range along the slice axis is not looked at.
        """
        box = self._boxes[box_id]
        if not box.drawn:
            self._anchors.setdefault(box_id, box.bounds)
        self._boxes[box_id] = replace(box, bounds=self._on_slice(box.slice, bounds), score=1.0, drawn=True)
        self._rejected.discard(box_id)

    def add(self, slice_index: int, bounds: Sequence[float], label: int, group: ObjectGroup | None = None) -> BoxRecord:
        """Adds a box drawn by hand. Link again to find its object; until then it is in `group`.

        Args:
            slice_index: voxel index along the slice axis.
            bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open; the range along the slice axis is not looked at.
            label: the value of its segment.
            group: the object that it is added to; an object of its own if None.
        """
        number = max(self._boxes, default=0) + 1
        box = BoxRecord(number, slice_index, self._on_slice(slice_index, bounds), 1.0, label, drawn=True)
        self._boxes[number] = box
        self.is_linked = False
        if group is None:
            self._tracklets.append({"label": label, "seed": slice_index, "boxes": [number]})
        else:
            self._anchors[number] = box.bounds
            self._join(number, group)
        return box

    def draw(self, slice_index: int, bounds: Sequence[float], label: int, group: ObjectGroup | None) -> BoxRecord:
        """Adds a box that was drawn for an object, or starts an object; it belongs there, however boxes are linked.

        Args:
            slice_index: voxel index along the slice axis.
            bounds: `i0, i1, j0, j1, k0, k1` in voxels, half-open; the range along the slice axis is not looked at.
            label: the value of its segment.
            group: the object; None starts one.
        """
        number = max(self._boxes, default=0) + 1
        box = BoxRecord(number, slice_index, self._on_slice(slice_index, bounds), 1.0, label, drawn=True)
        if group is not None:
            self._rejected.update(other.id for other in group.boxes if other.slice == slice_index)
        self._boxes[number] = box
        self.prompts.add_box(group, label, box)
        return box

    def choose_seed(self, box_id: int) -> None:
        """Makes a box the one from which its object is tracked."""
        mates = next((group.boxes for group in self.objects() if self._boxes[box_id] in group.boxes), ())
        self._seeds.difference_update(box.id for box in mates)
        self._seeds.add(box_id)
        self._rejected.discard(box_id)

    def check(self, slice_index: int) -> None:
        """Says that a slice was checked by the user, and is right."""
        self._checked.add(slice_index)

    def judge(self, confidence: Iterable[dict[str, Any]]) -> None:
        """Takes the engine's judgement of a new result; a slice that is judged otherwise is no longer checked."""
        before = {one["slice"]: one for one in self.confidence}
        self.confidence = list(confidence)
        self._checked = {one["slice"] for one in self.confidence if before.get(one["slice"]) == one} & self._checked

    def judgement(self, reason: str) -> list[dict[str, Any]]:
        """The confidence in each slice, which is full where the user has checked it, for the reason given."""
        return [
            {**one, "confidence": 1.0, "reason": reason} if one["slice"] in self._checked else one
            for one in self.confidence
        ]

    # What is shown

    def objects(self) -> list[ObjectGroup]:
        """The objects at the threshold, best first, each with the rejected boxes that overlap it."""
        grouping = Grouping(self._boxes, self._rejected, self._seeds, self.prompts, self.axis)
        return grouping.objects(self._tracklets, self.threshold)

    def group(self, key: int | None) -> ObjectGroup | None:
        """The object that has this key, see `ObjectGroup.keys`; None if there is none."""
        return next((group for group in self.objects() if key in group.keys), None)

    def best_box(self, at: int | None) -> int | None:
        """The seed's box of the best object; None if there is none, or if the slice `at` crosses an object already."""
        objects = [group for group in self.objects() if group.seed is not None and group.boxes]
        if not objects or at is None or any(group.first <= at <= group.last for group in objects):
            return None
        best = objects[0]
        return next((box.id for box in best.boxes if box.slice == best.seed and box.id in best.accepted), None)

    def unassigned(self, objects: Sequence[ObjectGroup] | None = None) -> ObjectGroup | None:
        """The boxes at the threshold or rejected that belong to no object, if there are any."""
        shown = {box.id for group in (self.objects() if objects is None else objects) for box in group.boxes}
        rest = [
            box
            for box in self._boxes.values()
            if box.id not in shown and (box.score >= self.threshold or box.id in self._rejected)
        ]
        if not rest:
            return None
        labels = {box.label for box in rest}
        label = labels.pop() if len(labels) == 1 else 0
        return ObjectGroup(0, label, tuple(in_slice_order(rest)), frozenset(), None, ())

    # For the engine

    def link_boxes(self) -> list[dict[str, Any]]:
        """The boxes for the engine to link: all but the rejected, and those drawn for an object.

        One moved by hand is at the place where it was found.
        """
        left_out = self._rejected | self.prompts.boxes
        boxes = (box for box in self._boxes.values() if box.id not in left_out)
        return [replace(box, bounds=self._anchors.get(box.id, box.bounds)).message() for box in boxes]

    def propagation(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The accepted boxes and their objects, for the engine to segment; masks are `MaskPrompt`s."""
        boxes: list[dict[str, Any]] = []
        tracklets: list[dict[str, Any]] = []
        for group in self.objects():
            if group.is_used:
                members, tracklet = group.messages()
                boxes += members
                tracklets.append(tracklet)
        return boxes, tracklets

    def mark_segmented(self, run: str = "") -> None:
        """Notes that the segmentation now shows what is accepted, written by the run of this ID."""
        self._segmented, self.run = self._signature(), run

    def show_result_of(self, other: BoxTable | None) -> None:
        """Takes over what another table knows of the segmentation; None if there is no segmentation any more."""
        known = other or BoxTable()
        self._segmented, self.run, self.confidence = known._segmented, known.run, list(known.confidence)
        self.measures = known.measures

    @property
    def was_segmented(self) -> bool:
        """Whether a segmentation was made of this table."""
        return bool(self._segmented)

    @property
    def needs_propagation(self) -> bool:
        """Whether another propagation would give a different result."""
        return len(self) > 0 and self._segmented != self._signature()

    # The saved scene

    def to_text(self) -> str:
        """The table as JSON, for the parameter node."""
        boxes = [[b.id, b.slice, *b.bounds, b.score, b.label, int(b.drawn)] for b in self._boxes.values()]
        content = {
            "format": _FORMAT,
            "axis": self.axis,
            "plane": self.plane,
            "slices": self.slices,
            "model": self.model,
            "threshold": self.threshold,
            "confidence": self.confidence,
            "measures": self.measures,
            "boxes": boxes,
            "tracklets": self._tracklets,
            "rejected": sorted(self._rejected),
            "seeds": sorted(self._seeds),
            "segmented": self._segmented,
            "run": self.run,
            "anchors": [[number, *bounds] for number, bounds in self._anchors.items()],
            "prompts": self.prompts.content(),
            "new": self.is_new,
            "checked": sorted(self._checked),
        }
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> BoxTable:
        """The table that `to_text` wrote.

        Raises:
            ValueError: if the text is not such a table.
        """
        if not text:
            return cls()
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise KeyError
            first, last = content["slices"]
            table = cls(
                int(content["axis"]),
                str(content["plane"]),
                (int(first), int(last)),
                str(content["model"]),
                float(content["threshold"]),
            )
            table.confidence = [
                {"slice": int(e["slice"]), "confidence": float(e["confidence"]), "reason": str(e["reason"])}
                for e in content["confidence"]
            ]
            for number, slice_index, *bounds, score, label, drawn in content["boxes"]:
                edges = tuple(float(edge) for edge in bounds)
                box = BoxRecord(int(number), int(slice_index), edges, float(score), int(label), bool(drawn))
                table._boxes[box.id] = box
            table.receive_tracklets(content["tracklets"])
            table._rejected = table._known(content["rejected"])
            table._seeds = table._known(content["seeds"])
            table._segmented = str(content["segmented"])
            # A table of an older version has none of these.
            table.measures = checked_measures(content.get("measures", []))
            table.prompts = PromptBook.from_content(content.get("prompts", []))
            table.is_new = bool(content.get("new", False))
            table._checked = {int(at) for at in content.get("checked", [])}
            table.run = str(content.get("run", ""))
            for number, *bounds in content.get("anchors", []):
                table._anchors[int(number)] = tuple(float(edge) for edge in bounds)
        except (KeyError, TypeError, ValueError) as error:
            message = f"not a box table: {error!r}"  # no tr
            raise ValueError(message) from error
        return table

    # Within

    def _known(self, box_ids: Iterable[int]) -> set[int]:
        return {int(number) for number in box_ids if int(number) in self._boxes}

    def _on_slice(self, slice_index: int, bounds: Sequence[float]) -> tuple[float, ...]:
        edges = [float(edge) for edge in bounds]
        along = 2 * (2 - self.axis)
        edges[along : along + 2] = [float(slice_index), float(slice_index + 1)]
        return tuple(edges)

    def _join(self, box_id: int, group: ObjectGroup) -> None:
        """Makes a box that was only shown with an object a member of it."""
        mates = {box.id for box in group.boxes}
        tracklet = next((one for one in self._tracklets if mates.intersection(one["boxes"])), None)
        if tracklet is None:
            # An object that was started by hand.
            self.prompts.add_box(group, group.label, self._boxes[box_id])
        elif box_id not in tracklet["boxes"] and box_id not in self.prompts.boxes:
            tracklet["boxes"].append(box_id)

    def _signature(self) -> str:
        boxes, tracklets = self.propagation()
        places = {box["id"]: (box["slice"], box["bounds"]) for box in boxes}
        parts = sorted(
            (one["label"], one["seed"], [places[n] for n in one["boxes"]], *prompts_in(one)) for one in tracklets
        )
        return f"{zlib.crc32(json.dumps(parts).encode()):08x}-{len(parts)}"
