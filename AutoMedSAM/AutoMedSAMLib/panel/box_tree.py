"""The box table on the screen: a tree of objects and their boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_record import BoxRecord, ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.panel.prompts.words import prompts_in_words
from AutoMedSAMLib.panel.theme import ThemeWatch, faded_text

SLICE, LABEL, SCORE, NOTE, ACCEPTED = range(5)
_BOX_ID = qt.Qt.UserRole
_SLICE = qt.Qt.UserRole + 1
_KEY = qt.Qt.UserRole + 2
_PROMPTS = qt.Qt.UserRole + 3
_LOOSE = -1
_SWATCH = 11
_PADDING = 10
# How opaque the text of a box is that is not used.
_NOT_USED = 0.6


class BoxTree:
    """Fills a QTreeWidget from a `BoxTable`; what is selected, open and scrolled to stays so from fill to fill.

    Args:
        tree: the QTreeWidget.
        on_selected: called when the user selects other rows, or clicks the selected one again.
        on_ticked: called with the ids of the boxes, whether they are now accepted, and the keys of whole objects.
    """

    def __init__(
        self, tree: Any, on_selected: Callable[[], None], on_ticked: Callable[[list[int], bool, list[int]], None]
    ) -> None:
        self._tree, self._on_selected, self._on_ticked = tree, on_selected, on_ticked
        self._segments: dict[int, dict[str, Any]] = {}
        self._swatches: dict[int, Any] = {}
        self._rejected: frozenset[int] = frozenset()
        # Whether the user opened or closed a group, by one of its boxes.
        self._open: dict[int, bool] = {}
        self._pale = qt.QBrush(faded_text(tree, _NOT_USED))
        self._theme = ThemeWatch(tree, self._recolor)
        self._prepare()
        tree.connect("itemSelectionChanged()", on_selected)
        tree.connect("itemClicked(QTreeWidgetItem*,int)", self._on_clicked)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self._on_changed)
        tree.connect("itemExpanded(QTreeWidgetItem*)", lambda item: self._note_open(item, True))
        tree.connect("itemCollapsed(QTreeWidgetItem*)", lambda item: self._note_open(item, False))

    def set_segments(self, segments: Iterable[dict[str, Any]]) -> None:
        """Names and colours of the labels: `{"value", "name", "color"}`."""
        self._segments = {segment["value"]: segment for segment in segments}
        self._swatches = {value: _swatch(segment["color"]) for value, segment in self._segments.items()}

    def fill(self, table: BoxTable, detecting: bool = False) -> None:
        """Shows the table as it is now.

        Args:
            table: the table.
            detecting: whether its boxes are still coming in: none of them is an object's, or refused, yet.
        """
        selected = {self._id_of(item) for item in self._tree.selectedItems()} - {None}
        keys = {item.data(SLICE, _KEY) for item in self._tree.selectedItems()} - {None}
        prompts = self.selected_prompts()
        current = self._id_of(self._tree.currentItem())
        in_sight = self._is_in_sight(self._tree.currentItem())
        scroll = self._tree.verticalScrollBar().value
        objects = table.objects()
        unassigned = table.unassigned(objects)
        self._rejected = table.rejected

        blocked = self._tree.blockSignals(True)
        self._tree.setSortingEnabled(False)
        self._tree.clear()
        for group in [*objects, *([unassigned] if unassigned else [])]:
            item = self._group_item(group, len(objects), detecting)
            children = [self._box_item(box, group, detecting) for box in group.boxes]
            children += [self._gap_item(gap, group) for gap in group.gaps]
            children += [self._prompts_item(at, group, table.axis) for at in group.prompted]
            for child in children:
                item.addChild(child)
            # Added whole, since the tree looks at each item that is added to one that it shows.
            self._tree.addTopLevelItem(item)
            item.setExpanded(self._is_open(group))
            if keys.intersection(_keys(group)):
                item.setSelected(True)
            for child in children:
                box_id = self._id_of(child)
                if box_id in selected or (group.keys[-1], child.data(SLICE, _PROMPTS)) in prompts:
                    child.setSelected(True)
                if box_id is not None and box_id == current:
                    self._tree.setCurrentItem(child, SLICE, qt.QItemSelectionModel.NoUpdate)
        self._tree.setSortingEnabled(True)
        self._tree.blockSignals(blocked)
        self._tree.verticalScrollBar().value = scroll
        if in_sight and self._tree.currentItem() is not None:
            # Rows above it may have come or gone.
            self._tree.scrollToItem(self._tree.currentItem())

    def selected_boxes(self) -> list[int]:
        """Ids of the boxes in the selected rows; those of the whole object where its own row is selected."""
        ids: list[int] = []
        for item in self._tree.selectedItems():
            rows = [item.child(n) for n in range(item.childCount())] or [item]
            ids += [row.data(SLICE, _BOX_ID) for row in rows if row.data(SLICE, _BOX_ID) is not None]
        return list(dict.fromkeys(ids))

    def selected_box(self) -> int | None:
        """The id of the one selected box; None if none or several are selected."""
        items = self._tree.selectedItems()
        return self._id_of(items[0]) if len(items) == 1 else None

    def selected_objects(self) -> list[int]:
        """The key of each object whose own row is selected."""
        return [item.data(SLICE, _KEY) for item in self._tree.selectedItems() if item.childCount()]

    def selected_prompts(self) -> list[tuple[int, int]]:
        """The last key of the object and the slice of each selected row of points, masks or "no lesion here"."""
        found = []
        for item in self._tree.selectedItems():
            group, at = item.parent(), item.data(SLICE, _PROMPTS)
            if group is not None and at is not None:
                found.append((group.data(SLICE, _PROMPTS), at))
        return found

    def select_object(self, key: int) -> None:
        """Selects an object's own row, and nothing else, unless one of its rows is selected already."""
        for n in range(self._tree.topLevelItemCount):
            group = self._tree.topLevelItem(n)
            if group.data(SLICE, _PROMPTS) == key:
                inside = (item.parent() or item for item in self._tree.selectedItems())
                if not any(item is group or item == group for item in inside):
                    alone = qt.QItemSelectionModel.ClearAndSelect | qt.QItemSelectionModel.Rows
                    self._tree.setCurrentItem(group, SLICE, alone)
                self._tree.scrollToItem(group)
                return

    def is_object_selected(self) -> bool:
        """Whether the one selected row is an object's own."""
        items = self._tree.selectedItems()
        return len(items) == 1 and items[0].childCount() > 0

    def selected_slice(self) -> int | None:
        """The slice of the one selected row: a box's, a gap's first, an object's seed."""
        items = self._tree.selectedItems()
        return items[0].data(SLICE, _SLICE) if len(items) == 1 else None

    def selected_group_key(self) -> int | None:
        """The id of a box in the group that holds the first selected row; None if there is none."""
        items = self._tree.selectedItems()
        if not items:
            return None
        return (items[0].parent() or items[0]).data(SLICE, _KEY)

    def select(self, box_id: int) -> None:
        """Selects the row of one box, and nothing else, and brings it into sight."""
        for n in range(self._tree.topLevelItemCount):
            group = self._tree.topLevelItem(n)
            for m in range(group.childCount()):
                item = group.child(m)
                if item.data(SLICE, _BOX_ID) == box_id:
                    group.setExpanded(True)
                    # Whatever keys are held down: with Shift it would select a range.
                    alone = qt.QItemSelectionModel.ClearAndSelect | qt.QItemSelectionModel.Rows
                    self._tree.setCurrentItem(item, SLICE, alone)
                    self._tree.scrollToItem(item, qt.QAbstractItemView.PositionAtCenter)
                    return

    def select_group(self, boxes: Iterable[int]) -> None:
        """Selects the row of the object that has one of these boxes, and nothing else, and brings it into sight."""
        wanted = set(boxes)
        for n in range(self._tree.topLevelItemCount):
            group = self._tree.topLevelItem(n)
            if any(group.child(m).data(SLICE, _BOX_ID) in wanted for m in range(group.childCount())):
                alone = qt.QItemSelectionModel.ClearAndSelect | qt.QItemSelectionModel.Rows
                self._tree.setCurrentItem(group, SLICE, alone)
                self._tree.scrollToItem(group)
                return

    def show_bounds_changed(self, box: BoxRecord) -> None:
        """Marks the selected box's row as drawn by hand, while it is being dragged."""
        items = self._tree.selectedItems()
        if len(items) == 1 and self._id_of(items[0]) == box.id:
            blocked = self._tree.blockSignals(True)
            items[0].setText(SCORE, "")
            if items[0].text(NOTE) in ("", _("ignored")):
                items[0].setText(NOTE, _("drawn"))
            self._tree.blockSignals(blocked)

    def _prepare(self) -> None:
        tree = self._tree
        headers = [_("Slice"), _("Label"), _("Score"), _("Note"), _("Used")]
        tree.setColumnCount(len(headers))
        tree.setHeaderLabels(headers)
        for column, tip in enumerate(_header_tips()):
            tree.headerItem().setToolTip(column, tip)
        # Names of a model's labels differ at their ends: "Hippocampus, anterior" and "Hippocampus, posterior".
        tree.setTextElideMode(qt.Qt.ElideLeft)
        header = tree.header()
        header.setStretchLastSection(False)
        for column in range(len(headers)):
            mode = qt.QHeaderView.Stretch if column == LABEL else qt.QHeaderView.Interactive
            header.setSectionResizeMode(column, mode)
        metrics = tree.fontMetrics()
        # The label takes what is left. The first column has the tree's branches too.
        widest = {
            SLICE: _("Object {number}").format(number=10) + " > ",
            SCORE: headers[SCORE],
            NOTE: "100-155 >",
            ACCEPTED: headers[ACCEPTED] + "  ",
        }
        for column, text in widest.items():
            header.resizeSection(column, metrics.boundingRect(text).width() + _PADDING)
        tree.sortByColumn(SLICE, qt.Qt.AscendingOrder)

    def _group_item(self, group: ObjectGroup, count: int, detecting: bool) -> Any:
        item = qt.QTreeWidgetItem()
        # Numbers as wide as the widest, so that the tenth object comes after the second when sorted as text.
        number = f"{group.number:>{len(str(count))}}"
        loose = _("Found") if detecting else _("Other boxes")
        item.setText(SLICE, _("Object {number}").format(number=number) if group.number else loose)
        font = item.font(SLICE)
        font.setBold(True)
        for column in (SLICE, LABEL, SCORE):
            item.setFont(column, font)
        self._set_label(item, group.label)
        item.setText(SCORE, _score(group.detector_score))
        item.setText(NOTE, _span(group))
        item.setToolTip(NOTE, _span_in_words(group))
        if group.gaps:
            item.setIcon(NOTE, qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning))
        item.setData(SLICE, _KEY, _keys(group)[0])
        item.setData(SLICE, _PROMPTS, _keys(group)[-1])
        item.setData(SLICE, _SLICE, group.first if group.seed is None else group.seed)
        rejected = len(group.boxes) - len(group.accepted)
        if detecting:
            return item
        states = (qt.Qt.Unchecked, qt.Qt.PartiallyChecked, qt.Qt.Checked)
        item.setCheckState(ACCEPTED, states[group.is_used + (group.is_used and rejected == 0)])
        if not group.number:
            item.setToolTip(
                SLICE, _("Boxes outside any object: too few, too low a score, or ignored. Tick one to use it.")
            )
        return item

    def _box_item(self, box: BoxRecord, group: ObjectGroup, detecting: bool) -> Any:
        item = qt.QTreeWidgetItem()
        item.setData(SLICE, qt.Qt.DisplayRole, box.slice)
        item.setData(SLICE, _BOX_ID, box.id)
        item.setData(SLICE, _SLICE, box.slice)
        # One name for all would only be repeated in each row.
        self._set_label(item, box.label, named=len(self._segments) > 1)
        item.setText(SCORE, _score(None if box.drawn else box.score))
        if detecting:
            return item
        accepted = box.id in group.accepted
        if not accepted:
            self._fade(item)
        notes = [_("seed")] if accepted and box.slice == group.seed else []
        notes += [_("drawn")] if box.drawn else []
        notes += [_("ignored")] if box.id in self._rejected else []
        if notes:
            item.setText(NOTE, ", ".join(notes))
        item.setCheckState(ACCEPTED, qt.Qt.Checked if accepted else qt.Qt.Unchecked)
        return item

    def _fade(self, item: Any) -> None:
        for column in (SLICE, LABEL, SCORE, NOTE):
            item.setForeground(column, self._pale)

    def _recolor(self) -> None:
        """Rows of boxes that are not used get the colors of the theme that was chosen."""
        self._pale = qt.QBrush(faded_text(self._tree, _NOT_USED))
        blocked = self._tree.blockSignals(True)
        groups = [self._tree.topLevelItem(n) for n in range(self._tree.topLevelItemCount)]
        for item in [group.child(n) for group in groups for n in range(group.childCount())]:
            if self._id_of(item) is not None and item.checkState(ACCEPTED) == qt.Qt.Unchecked:
                self._fade(item)
        self._tree.blockSignals(blocked)

    def _gap_item(self, gap: tuple[int, int], group: ObjectGroup) -> Any:
        first, last = gap
        item = qt.QTreeWidgetItem()
        item.setData(SLICE, qt.Qt.DisplayRole, first)
        item.setData(SLICE, _SLICE, first)
        item.setText(LABEL, _("no box"))
        item.setText(NOTE, _("gap to {slice}").format(slice=last) if last > first else _("gap"))
        font = item.font(LABEL)
        font.setItalic(True)
        item.setFont(LABEL, font)
        item.setFont(NOTE, font)
        tip = _("Object {number} has no box here: it is tracked without one. Click Add to draw one.")
        tip = tip.format(number=group.number)
        for column in (SLICE, LABEL, NOTE):
            item.setToolTip(column, tip)
        return item

    def _prompts_item(self, at: int, group: ObjectGroup, axis: int) -> Any:
        item = qt.QTreeWidgetItem()
        item.setData(SLICE, qt.Qt.DisplayRole, at)
        item.setData(SLICE, _SLICE, at)
        item.setData(SLICE, _PROMPTS, at)
        item.setText(LABEL, prompts_in_words(group.prompts, at, axis) if group.prompts else "")
        item.setToolTip(LABEL, item.text(LABEL))
        if at == group.seed and not any(box.slice == at for box in group.boxes):
            item.setText(NOTE, _("seed"))
        return item

    def _set_label(self, item: Any, label: int, *, named: bool = True) -> None:
        if label in self._segments:
            if named:
                item.setText(LABEL, self._segments[label]["name"])
            item.setToolTip(LABEL, self._segments[label]["name"])
            item.setIcon(LABEL, self._swatches[label])

    def _is_in_sight(self, item: Any) -> bool:
        return item is not None and self._tree.viewport().rect.intersects(self._tree.visualItemRect(item))

    def _id_of(self, item: Any) -> int | None:
        return item.data(SLICE, _BOX_ID) if item is not None else None

    def _is_open(self, group: ObjectGroup) -> bool:
        known = (self._open[key] for key in _keys(group) if key in self._open)
        return next(known, group.number == 1)

    def _note_open(self, item: Any, opened: bool) -> None:
        for n in range(item.childCount()):
            self._open.pop(item.child(n).data(SLICE, _BOX_ID), None)
        self._open[item.data(SLICE, _KEY)] = opened

    def _on_clicked(self, item: Any, column: int) -> None:
        if column != ACCEPTED and item.isSelected():
            self._on_selected()

    def _on_changed(self, item: Any, column: int) -> None:
        if column == ACCEPTED:
            rows = [item.child(n) for n in range(item.childCount())] or [item]
            ids = [row.data(SLICE, _BOX_ID) for row in rows if row.data(SLICE, _BOX_ID) is not None]
            keys = [item.data(SLICE, _KEY)] if item.childCount() else []
            self._on_ticked(ids, item.checkState(ACCEPTED) == qt.Qt.Checked, keys)


def _keys(group: ObjectGroup) -> list[int]:
    """Keys of a group: its boxes, so that it is recognized when some of them have left it."""
    return group.keys if group.number else [_LOOSE]


def _score(score: float | None) -> str:
    # As wide for all, so that they sort as text.
    return "" if score is None else f"{score:.2f}"


def _span(group: ObjectGroup) -> str:
    if not group.number:
        return ""
    return f"{group.first}-{group.last}" if group.last > group.first else str(group.first)


def _span_in_words(group: ObjectGroup) -> str:
    if not group.number:
        return ""
    missing = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in group.gaps)
    text = _("Slices {first} to {last}; no box on {missing}") if missing else _("Slices {first} to {last}")
    return text.format(first=group.first, last=group.last, missing=missing)


def _header_tips() -> list[str]:
    return [
        _("Click a row: the slice views go there."),
        _("The segment that the box belongs to."),
        _(
            "The detector's score, from 0 to 1; an object's is that of its best box. Boxes drawn by hand have none: "
            "they are used whatever the min score."
        ),
        _(
            "seed: the object is tracked up and down from here.\ndrawn: drawn, moved or confirmed by hand.\n"
            "ignored: found, but not used.\ngap: no box here; the object is tracked without one."
        ),
        _("Ticked boxes prompt the segmentation. Untick what is not a lesion, then click Propagate again."),
    ]


def _swatch(color: Sequence[float]) -> Any:
    pixmap = qt.QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(qt.QColor.fromRgbF(*color))
    return qt.QIcon(pixmap)
