"""The strip and the Next uncertain slice button: where to look first when checking a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.panel.confidence_strip import ConfidenceStrip
from AutoMedSAMLib.scene import slice_views


class ConfidencePanel:
    """Connects the strip with the slice views.

    Args:
        ui: the panel's widgets by name.
        table: gives the box table as it is now.
        volume: gives the volume that it belongs to, or None.
        show_status: shows a sentence in the status line.
        clear_status: clears the status line, if it still shows this sentence.
    """

    def __init__(
        self,
        ui: Any,
        table: Callable[[], BoxTable],
        volume: Callable[[], Any],
        show_status: Callable[[str], None],
        clear_status: Callable[[str], None],
    ) -> None:
        self._ui, self._table, self._volume = ui, table, volume
        self._show_status, self._clear_status = show_status, clear_status
        # The slice that the status line describes, until another is looked at.
        self._described: int | None = None
        self._sentence = ""
        self.strip = ConfidenceStrip(ui.stripLabel, self._go_to)
        self._views = slice_views.ViewObserver(self._show_current)
        ui.uncertainButton.connect("clicked(bool)", lambda *_: self._on_next())
        # The strip beside it keeps its width, whatever number the button shows.
        ui.uncertainButton.text = _next_of(888)
        ui.uncertainButton.minimumWidth = ui.uncertainButton.sizeHint.width()
        self.update()

    def update(self) -> None:
        """Shows the slices and the confidence of the table."""
        table = self._table()
        self.strip.start(*table.slices)
        self.strip.show_confidence(table.judgement(_("checked by the user")), _boxed_slices(table))
        count = len(self.strip.uncertain)
        self._ui.uncertainButton.enabled = count > 0
        self._ui.uncertainButton.text = _next_of(count) if count > 1 else _("Next uncertain slice")
        self._show_current()

    def mark_written(self, slices: list[int]) -> None:
        """Shows that these slices were segmented just now."""
        self.strip.mark_written(slices)

    def watch(self) -> None:
        """Follows the slice views, while the panel is open."""
        self._views.start()
        self._show_current()

    def unwatch(self) -> None:
        """Follows the slice views no more."""
        self._views.stop()

    def stop(self) -> None:
        """Stops for good."""
        self._views.stop()
        self.strip.stop()

    def _show_current(self) -> None:
        volume, table = self._volume(), self._table()
        known = volume is not None and table.slices[1] >= table.slices[0]
        current = slice_views.current_slice(volume, table.axis) if known else None
        self.strip.show_current(current)
        if self._described is not None and current != self._described:
            self._clear_status(self._sentence)
            self._described = None

    def _go_to(self, slice_index: int) -> None:
        volume = self._volume()
        if volume is not None:
            slice_views.jump_to_slice(volume, self._table().axis, slice_index)

    def _on_next(self) -> None:
        index = self.strip.next_uncertain()
        if index is not None:
            self._go_to(index)
            self._described, self._sentence = index, self.strip.describe(index) + "."
            self._show_status(self._sentence)


def _next_of(count: int) -> str:
    return _("Next of {count} uncertain").format(count=count)


def _boxed_slices(table: BoxTable) -> set[int]:
    """The slices on which an object has an accepted box."""
    return {box.slice for group in table.objects() for box in group.boxes if box.id in group.accepted}
