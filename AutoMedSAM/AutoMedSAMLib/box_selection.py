"""What of the box table is selected in its tree."""

from __future__ import annotations

from collections.abc import Callable

from AutoMedSAMLib.box_table import BoxTable
from AutoMedSAMLib.box_tree import BoxTree
from AutoMedSAMLib.table_box import BoxGroup, TableBox


class BoxSelection:
    """Looks up the tree's selected rows in the table as it is now."""

    def __init__(self, tree: BoxTree, table: Callable[[], BoxTable]) -> None:
        self._tree, self._table = tree, table

    def ids(self) -> list[int]:
        """The selected boxes, those of selected objects among them."""
        return self._tree.selected_boxes()

    def any_accepted(self) -> bool:
        """Whether one of the selected boxes is accepted."""
        ids = self.ids()
        return any(group.accepted.intersection(ids) for group in self._table().objects())

    def box(self) -> TableBox | None:
        """The box of the one selected row; that of the seed where the row is an object's."""
        box_id = self._tree.selected_box()
        if box_id is not None:
            return self._table().get(box_id)
        group, at = self.group(), self._tree.selected_slice()
        return next((box for box in group.boxes if box.slice == at), None) if group else None

    def group(self) -> BoxGroup | None:
        """The object that the selected row is, or is part of."""
        key = self._tree.selected_group_key()
        return next((group for group in self._table().objects() if key in {box.id for box in group.boxes}), None)
