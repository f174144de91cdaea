"""What is selected in the tree of boxes, looked up in the table as it is now."""

from __future__ import annotations

from collections.abc import Callable

from AutoMedSAMLib.model.box_record import BoxRecord, ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.panel.box_tree import BoxTree


class BoxSelection:
    """Looks up the tree's selected rows in the table as it is now."""

    def __init__(self, tree: BoxTree, table: Callable[[], BoxTable]) -> None:
        self._tree, self._table = tree, table

    def ids(self) -> list[int]:
        """The selected boxes, those of selected objects among them."""
        return self._tree.selected_boxes()

    def any_accepted(self) -> bool:
        """Whether one of the selected boxes is accepted."""
        ids, keys = self.ids(), self._tree.selected_objects()
        objects = self._table().objects()
        whole = any(group.is_used and key in group.keys for group in objects for key in keys)
        return whole or any(group.accepted.intersection(ids) for group in objects)

    def box(self) -> BoxRecord | None:
        """The box of the one selected row; that of the seed where the row is an object's."""
        box_id = self._tree.selected_box()
        if box_id is not None:
            return self._table().get(box_id)
        group, at = self.group(), self._tree.selected_slice()
        return next((box for box in group.boxes if box.slice == at), None) if group else None

    def group(self) -> ObjectGroup | None:
        """The object that the selected row is, or is part of."""
        key = self._tree.selected_group_key()
        return next((group for group in self._table().objects() if key in group.keys), None)
