"""The table of objects above the boxes: volume, slices, diameters, agreement, and what leaves Slicer from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.panel.boxes import BoxesPanel
from AutoMedSAMLib.panel.object_columns import DICE, INDEX, LABEL, OBJECT, header_texts, in_order, item_of
from AutoMedSAMLib.panel.object_filter import ObjectFilter
from AutoMedSAMLib.scene import slice_views
from AutoMedSAMLib.scene.dicom_files import DatabaseWatch, add_to_database, dicom_files_of, why_no_database
from AutoMedSAMLib.scene.object_tables import to_csv, to_table_node
from AutoMedSAMLib.scene.segment_ownership import managed_segments

_ROWS = 5


class ObjectTable:
    """Shows the measures of the last result. The engine has computed them.

    Args:
        ui: The panel's widgets by name.
        boxes: Its table has the measures; its tree follows what is selected here.
        requests: What asks the engine; a `ResultRequests`.
        model: Gives the chosen model, or None.
        show_status: Shows a sentence in the status line.
    """

    def __init__(
        self,
        ui: Any,
        boxes: BoxesPanel,
        requests: Any,
        model: Callable[[], Model | None],
        show_status: Callable[[str], None],
    ) -> None:
        self._ui, self._boxes, self._requests, self._model = ui, boxes, requests, model
        self._show_status = show_status
        self._dice: Message = {}
        self._known: list[Message] | None = None
        # The measures in the rows, as they were filled in.
        self._rows: list[Message] = []
        self._filter = ObjectFilter(ui, self._fill)
        self._database = DatabaseWatch(self.show_database)
        tree = ui.objectTree
        headers = header_texts()
        tree.setColumnCount(len(headers))
        tree.setHeaderLabels([text for text, _tip in headers])
        header = tree.header()
        header.setStretchLastSection(False)
        for column, (_text, tip) in enumerate(headers):
            tree.headerItem().setToolTip(column, tip)
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(LABEL, qt.QHeaderView.Stretch)
        header.setSectionsClickable(True)
        header.setSortIndicator(OBJECT, qt.Qt.AscendingOrder)
        header.connect("sortIndicatorChanged(int,Qt::SortOrder)", lambda *_: self._on_order())
        tree.minimumHeight = (_ROWS + 1) * (tree.fontMetrics().lineSpacing() + 5)
        tree.connect("itemSelectionChanged()", self._on_selected)
        ui.toTableButton.connect("clicked(bool)", lambda *_: self._on_table())
        ui.saveCsvButton.connect("clicked(bool)", lambda *_: self._on_csv())
        ui.exportSegButton.connect("clicked(bool)", lambda *_: self._on_export())
        ui.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self._compare())
        boxes.on_updated.append(self._fill)
        self.update()

    @property
    def measures(self) -> list[Message]:
        """All measures, whatever the filter shows: segments first, then objects."""
        found = []
        for one in self._boxes.table.measures:
            key, dices = one["number"], self._dice.get("dice", {})
            dice = dices.get(one["segment"]) if key is None else self._dice.get("objects", {}).get(str(key))
            found.append({**one, "dice": dice})
        return found

    def update(self) -> None:
        """Shows the measures of the box table; those that are shown already stay as they are."""
        measures = self._boxes.table.measures
        if measures is not self._known:
            self._dice = {}
            self._known = measures
            self._fill()
            self._compare()
        known = bool(measures)
        for button in (self._ui.toTableButton, self._ui.saveCsvButton, self._ui.exportSegButton):
            button.enabled = known
        self.show_database()

    def watch_database(self, watching: bool) -> None:
        """Follows Slicer's DICOM database while the panel is open."""
        if watching:
            self._database.start()
            self.show_database()
        else:
            self._database.stop()

    def show_database(self) -> None:
        """Enables the check box of the DICOM database while that is open, or gives the reason why not."""
        why_not = why_no_database()
        self._ui.dicomDatabaseBox.enabled = not why_not
        self._ui.dicomDatabaseBox.toolTip = why_not or _(
            "Copy the DICOM SEG into Slicer's DICOM database as well, where it belongs to the study of the volume."
        )

    def _fill(self) -> None:
        """Shows what the filter lets through; rows that are shown already stay as they are."""
        measures = self._boxes.table.measures
        if measures is not self._known:
            return  # `update` comes.
        rows = [one for one in self._filter.chosen(self.measures, self._boxes.table) if not self._is_repeated(one)]
        tree = self._ui.objectTree
        header = tree.header()
        descending = header.sortIndicatorOrder() == qt.Qt.DescendingOrder
        rows = in_order(rows, header.sortIndicatorSection(), descending=descending)
        one_label = len({one["label"] for one in measures}) < 2
        tree.setColumnHidden(LABEL, one_label)
        stretched = qt.QHeaderView.Stretch if one_label else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(OBJECT, stretched)
        tree.setColumnHidden(DICE, not self._dice)
        if rows == self._rows:
            return
        selected = {_key(self._rows[item.data(OBJECT, INDEX)]) for item in tree.selectedItems()}
        blocked = tree.blockSignals(True)
        tree.clear()
        self._rows = rows
        model = self._model()
        colors = {one["value"]: one["color"] for one in model.segments} if model else {}
        for index, one in enumerate(rows):
            item = item_of(index, one, colors.get(one["label"]))
            tree.addTopLevelItem(item)
            item.setSelected(_key(one) in selected)
        tree.blockSignals(blocked)

    def _on_order(self) -> None:
        header = self._ui.objectTree.header()
        # Qt keeps room for the arrow in every column: it is not shown for the order of the objects.
        usual = header.sortIndicatorSection() == OBJECT and header.sortIndicatorOrder() == qt.Qt.AscendingOrder
        header.setSortIndicatorShown(not usual)
        self._fill()

    def _is_repeated(self, one: Message) -> bool:
        """Whether it is the total of a segment whose only object has the same measures."""
        of_label = [other for other in self._boxes.table.measures if other["label"] == one["label"]]
        return one["number"] is None and sum(other["number"] is not None for other in of_label) == 1

    def _on_selected(self) -> None:
        items, volume = self._ui.objectTree.selectedItems(), self._boxes.volume
        if not items or volume is None:
            return
        one = self._rows[items[0].data(OBJECT, INDEX)]
        if one.get("boxes"):
            self._boxes.tree.select_group(one["boxes"])
        if one["diameter_slice"] is not None:
            slice_views.jump_to_slice(volume, self._boxes.table.axis, one["diameter_slice"])

    def _filter_note(self) -> str:
        """What the notice of a table or a file begins with while the filter hides rows; else empty."""
        count, shown = len(self.measures), len(self._rows)
        if not self._filter.is_on:
            return ""
        return _("All {count} rows, though the filter shows {shown}.").format(count=count, shown=shown) + " "

    def _on_table(self) -> None:
        node = to_table_node(self.measures, f"{self._name()} objects")
        text = _("The table {name} is in the scene.").format(name=node.GetName())
        self._show_status(self._filter_note() + text)

    def _on_csv(self) -> None:
        path = self._ask_path(_("Save the objects"), ".csv", _("CSV (*.csv)"))
        if path is None:
            return
        beside = path.with_name(path.name + ".new")
        try:
            beside.write_text(to_csv(self.measures), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            message = _("{path} cannot be written ({reason}): choose another folder.")
            self._show_status(message.format(path=path, reason=error.strerror))
            return
        self._show_status(self._filter_note() + _("Written: {path}").format(path=path))

    def _on_export(self) -> None:
        volume, segmentation, model = self._boxes.volume, self._boxes.segmentation, self._model()
        if volume is None or segmentation is None or model is None:
            self._show_status(_("Click Apply first: there is no result to export."))
            return
        try:
            files = dicom_files_of(volume)
            path = self._ask_path(_("Export DICOM SEG"), ".dcm", _("DICOM (*.dcm)"))
            if path is not None:
                self._show_status(_("Exporting ..."))
                owned = managed_segments(segmentation, model.name, volume, by_name=True)
                found = segmentation, [owned[value].id for value in sorted(owned)]
                self._requests.export(volume, found, (files, path), self._on_exported, self._show_status)
        except AutoMedSAMError as error:
            self._show_status(str(error))

    def _on_exported(self, event: Message) -> None:
        text = _("Written: {path}")
        self.show_database()
        box = self._ui.dicomDatabaseBox
        if box.enabled and box.checked:
            added = add_to_database(Path(event["path"]))
            text = _("Written, and added to the DICOM database: {path}") if added else _database_failed()
        note = _("All objects, though the filter shows fewer.") + " " if self._filter.is_on else ""
        self._show_status(note + text.format(path=event["path"]))

    def _compare(self) -> None:
        """Asks for the Dice of the result with the chosen reference."""
        reference, segmentation = self._ui.referenceSelector.currentNode(), self._boxes.segmentation
        volume, model = self._boxes.volume, self._model()
        had, self._dice = bool(self._dice), {}
        if had:
            self._fill()
        if reference is None or not self._known or segmentation is None or volume is None or model is None:
            return
        if reference is segmentation:
            self._show_status(_("The reference is the result itself: choose another segmentation."))
            return
        try:
            owned = managed_segments(segmentation, model.name, volume, by_name=True)
            ids = [owned[value].id for value in sorted(owned)]
            asked = reference, self._known
            found = segmentation, ids
            self._requests.compare(
                volume, found, reference, lambda event: self._on_compared(event, *asked), self._show_status
            )
        except AutoMedSAMError as error:
            self._show_status(str(error))

    def _on_compared(self, event: Message, reference: Any, measures: list[Message]) -> None:
        if reference is not self._ui.referenceSelector.currentNode() or measures is not self._known:
            return  # Another reference or another result is shown now.
        self._dice = event
        self._fill()
        lines = [f"{name}: {dice:.3f}" for name, dice in event["dice"].items()]
        text = _("Dice with the reference: {lines}.").format(lines=", ".join(lines))
        if event["missed"]:
            text += " " + _("Parts of the reference that were not found: {count}.").format(count=event["missed"])
        self._show_status(text)

    def _name(self) -> str:
        return str(self._boxes.segmentation.GetName()) if self._boxes.segmentation is not None else "AutoMedSAM"

    def _ask_path(self, title: str, suffix: str, kinds: str) -> Path | None:
        window = self._ui.objectTree.window()
        name = "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in self._name())
        chosen = qt.QFileDialog.getSaveFileName(window, title, name + suffix, kinds)
        chosen = chosen[0] if isinstance(chosen, tuple) else chosen
        if not chosen:
            return None
        return Path(chosen if chosen.lower().endswith(suffix) else chosen + suffix)


def _database_failed() -> str:
    return _("Written, but not added to the DICOM database (see Slicer's log): import {path} in the DICOM module.")


def _key(one: Message) -> tuple[int, int | None]:
    """What a row is recognized by when the table is filled again."""
    return one["label"], one["number"]
