"""To Slicer's Segment Editor and back: slices that were edited by hand become prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.prompt_record import MaskPrompt
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene.edited_slices import Edited, edited_slices
from AutoMedSAMLib.scene.segment_ownership import managed_segments

_EDITOR_TAG = "SegmentEditor"
_SHARE_OF_LOOP_SECONDS = 0.01


def open_segment_editor(segmentation: Any, volume: Any, model_name: str, label: int | None) -> None:
    """Opens the Segment Editor with everything chosen.

    Args:
        segmentation: the node to edit.
        volume: the volume that it is of.
        model_name: the model whose segments are meant.
        label: the label value of the segment; the model's first if None.
    """
    node = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        # As the Segment Editor itself makes it, when it is opened for the first time.
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_EDITOR_TAG)
        node = slicer.mrmlScene.AddNode(node)
    segments = managed_segments(segmentation, model_name, volume, by_name=True)
    own = segments.get(label) if label is not None else None
    own = own or next(iter(segments.values()), None)
    with slicer.util.NodeModify(node):
        node.SetAndObserveSegmentationNode(segmentation)
        node.SetAndObserveSourceVolumeNode(volume)
        if own is not None:
            node.SetSelectedSegmentID(own.id)
    slicer.util.selectModule("SegmentEditor")


class EditedSlices:
    """Looks for slices that were edited by hand, in the event loop.

    Args:
        on_found: called with the edited slices, which may be none.
    """

    def __init__(self, on_found: Callable[[Edited], None]) -> None:
        self._on_found = on_found
        self._steps: Iterator[Edited | None] = iter(())
        self._seen: tuple[Any, ...] | None = None
        self._timer = SingleShot(0, self._step)

    def look(self, segmentation: Any, volume: Any, model_name: str, axis: int) -> None:
        """Looks again, unless nothing has changed since it last looked."""
        now = (segmentation, segmentation.GetSegmentation().GetMTime(), volume, model_name, axis)
        if now != self._seen:
            self._seen = now
            self._steps = edited_slices(segmentation, model_name, volume, axis)
            self._timer.start()

    def stop(self) -> None:
        """Looks no more."""
        self._timer.stop()
        self._steps, self._seen = iter(()), None

    def _step(self) -> None:
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        while time.perf_counter() < until:
            step = next(self._steps, {})
            if step is not None:
                self._on_found(step)
                return
        self._timer.start()


def adopt(table: BoxTable, edited: Edited, chosen: int | None, known: set[str]) -> int:
    """Makes edited slices mask prompts of the objects that they belong to.

    Args:
        table: the box table; it is changed.
        edited: for each label value the edited slices with their masks.
        chosen: the key of the object that was selected for editing, see `ObjectGroup.keys`.
        known: the edits that were adopted before, which are not taken again, so that undo lasts; it is brought up to
            date.

    Returns:
        How many slices were adopted.
    """
    (first, last), before = table.slices, set(known)
    known.clear()
    count = 0
    for label, slices in edited.items():
        groups = [group for group in table.objects() if group.label == label]
        found: dict[int | None, list[MaskPrompt]] = {}
        for at in (at for at in slices if first <= at <= last):
            name = f"{label}/{at}/{MaskPrompt.of(at, slices[at]).data}"
            known.add(name)
            if name not in before:
                home = _home(groups, at, slices[at], chosen, table.axis)
                others = [group for group in groups if group is not home]
                mask = _without(slices[at], others, home, at, table.axis)
                found.setdefault(home.keys[0] if home else None, []).append(MaskPrompt.of(at, mask))
        for key, masks in found.items():
            table.prompts.set_masks(table.group(key), label, masks)
            count += len(masks)
    return count


def _home(
    groups: Sequence[ObjectGroup], at: int, mask: NDArray[np.bool_], chosen: int | None, axis: int
) -> ObjectGroup | None:
    """The object that a slice was edited for: the selected one, else the one whose box covers most of the mask."""
    selected = next((group for group in groups if chosen in group.keys), None)
    if selected is not None or not groups:
        return selected

    def covered(group: ObjectGroup) -> int:
        return int(np.count_nonzero(mask & _inside(mask.shape, group, at, axis)))

    return max(groups, key=covered)


def _without(
    mask: NDArray[np.bool_], others: Sequence[ObjectGroup], home: ObjectGroup | None, at: int, axis: int
) -> NDArray[np.bool_]:
    """A mask without what belongs to other objects: the voxels in their boxes, but not in this one's."""
    own = mask & False if home is None else _inside(mask.shape, home, at, axis)
    for other in others:
        if other.is_used and other.first <= at <= other.last:
            mask = mask & ~(_inside(mask.shape, other, at, axis) & ~own)
    return mask


def _inside(shape: tuple[int, ...], group: ObjectGroup, at: int, axis: int) -> NDArray[np.bool_]:
    """The voxels of a slice within the object's box there, or between those of its neighbors."""
    box = next((box.bounds for box in group.boxes if box.slice == at and box.id in group.accepted), None)
    bounds = box or group.bounds_at(at)
    inside = np.zeros(shape, bool)
    if bounds is not None:
        # Bounds count I, J, K; the mask's axes are K, J, I without the slice axis.
        ranges = [(bounds[2 * n], bounds[2 * n + 1]) for n in (2, 1, 0) if n != 2 - axis]
        inside[tuple(slice(int(low), int(np.ceil(high))) for low, high in ranges)] = True
    return inside
