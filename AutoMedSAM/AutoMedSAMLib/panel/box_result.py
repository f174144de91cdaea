"""The volume and the segmentation of the box table, and whether the segments still show that table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_history import BoxState
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene.parameters import Parameters
from AutoMedSAMLib.scene.segment_ownership import managed_segments

_VOLUME_ROLE = "BoxesVolume"
_SEGMENTATION_ROLE = "BoxesSegmentation"


def read_table(text: str, show_status: Callable[[str], None]) -> BoxTable:
    """Reads a saved table; an empty one, with a line in the status, if it is damaged."""
    try:
        return BoxTable.from_text(text)
    except ValueError:
        logging.exception("AutoMedSAM: the box table of this scene cannot be read")
        show_status(_("The box table of this scene cannot be read: click Apply to make it again."))
        return BoxTable()


class BoxResult:
    """Keeps volume and segmentation of the box table in the parameter node, and watches the segmentation.

    Args:
        parameters: gives the parameter node.
        on_changed: called soon after segments of the segmentation have come, gone or been renamed.
    """

    def __init__(self, parameters: Parameters, on_changed: Callable[[], None]) -> None:
        self._parameters = parameters
        self._changed_soon = SingleShot(0, on_changed)
        self._watched: Any = None
        self._tags: list[int] = []

    @property
    def volume(self) -> Any:
        """The volume that the boxes belong to; None if there is none, or if it was removed."""
        volume = self._parameters.node.GetNodeReference(_VOLUME_ROLE)
        return volume if volume is not None and volume.GetImageData() is not None else None

    @property
    def segmentation(self) -> Any:
        """The segmentation that shows the boxes; None if there is none, or if it was removed."""
        return self._parameters.node.GetNodeReference(_SEGMENTATION_ROLE)

    @property
    def ids(self) -> tuple[str | None, str | None]:
        """IDs of volume and segmentation."""
        node = self._parameters.node
        return node.GetNodeReferenceID(_VOLUME_ROLE), node.GetNodeReferenceID(_SEGMENTATION_ROLE)

    def restored(self, state: BoxState, present: BoxTable) -> BoxState:
        """An earlier state as it is shown again: the segmentation stays as it is, and so does what it shows."""
        same = state.segmentation_id == self.ids[1]
        gone = slicer.mrmlScene.GetNodeByID(state.segmentation_id or "") is None
        table = state.table.copy()
        if gone or same:
            table.show_result_of(present if same and not gone else None)
        if state.volume_id == self.ids[0] and not present.is_new and len(present):
            # A run has written the objects meanwhile, and writes into the same segments again.
            table.is_new = False
        return BoxState(table, state.volume_id, state.segmentation_id, state.threshold)

    def refer(self, volume_id: str | None, segmentation_id: str | None) -> None:
        """Sets the table's volume and segmentation; a node that was removed counts as none."""
        node, scene = self._parameters.node, slicer.mrmlScene
        with slicer.util.NodeModify(node):
            for role, wanted in ((_VOLUME_ROLE, volume_id), (_SEGMENTATION_ROLE, segmentation_id)):
                known = wanted if wanted and scene.GetNodeByID(wanted) is not None else None
                if node.GetNodeReferenceID(role) != known:
                    node.SetNodeReferenceID(role, known)
        self.watch()

    def watch(self) -> None:
        """Follows the segmentation that is the table's now."""
        segmentation = self.segmentation
        if segmentation is self._watched:
            return
        self.stop()
        if segmentation is not None:
            events = slicer.vtkSegmentation
            self._watched = segmentation
            self._tags = [
                segmentation.AddObserver(event, lambda *_: self._changed_soon.start())
                for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified)
            ]

    def stop(self) -> None:
        """Watches no more."""
        self._changed_soon.stop()
        for tag in self._tags:
            self._watched.RemoveObserver(tag)
        self._watched, self._tags = None, []

    def why_stale(self, table: BoxTable, model: Model) -> str:
        """Why the segments do not show what was last segmented from this table; empty if they do."""
        if not table.was_segmented or table.needs_propagation:
            return ""
        volume, segmentation = self.volume, self.segmentation
        if segmentation is None:
            return _("The segmentation of these boxes was deleted: this makes it again.")
        found = managed_segments(segmentation, model.name, volume, by_name=True)
        if any(label["value"] not in found for label in model.segments):
            return _("A segment of this result was deleted: this makes it again.")
        if table.run and any(own.run != table.run for own in found.values()):
            return _("The segments now show another result: this writes the result of these boxes into them.")
        return ""
