"""The buttons below the box table: what each does now, or why it is disabled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _


@dataclass(frozen=True)
class ButtonState:
    """What the buttons depend on.

    Attributes:
        running: whether a run is in progress.
        selected: how many boxes are selected.
        one_row: whether exactly one box's own row is selected.
        any_accepted: whether one of the selected boxes is accepted.
        why_not_add: why no box can be added; empty if one can.
        why_not_propagate: why nothing can be propagated; empty if it can.
        why_propagate: why propagating makes sense although no box has changed; empty if there is no such reason.
        one_object: whether a whole object's row is selected.
    """

    running: bool
    selected: int
    one_row: bool
    any_accepted: bool
    why_not_add: str
    why_not_propagate: str
    why_propagate: str = ""
    one_object: bool = False


class BoxButtons:
    """Enables, names and explains the buttons.

    Args:
        ui: the panel's widgets by name.
        on_add: called with the label value of the box to add; None leaves it to the selection.
    """

    def __init__(self, ui: Any, on_add: Callable[[int | None], None]) -> None:
        self._ui, self._on_add = ui, on_add
        ui.addButton.connect("clicked(bool)", lambda *_: on_add(None))

    def set_segments(self, segments: Iterable[dict[str, Any]]) -> None:
        """Lets Add ask for the label where the model has several."""
        segments = list(segments)
        self._ui.addButton.setMenu(None)
        if len(segments) < 2:
            return
        menu = qt.QMenu(self._ui.addButton)
        for segment in segments:
            menu.addAction(segment["name"]).connect("triggered(bool)", self._adder(segment["value"]))
        self._ui.addButton.setMenu(menu)

    def show(self, state: ButtonState) -> None:
        """Names, explains and enables the buttons for the present state."""
        ui, free = self._ui, not state.running
        taking_back = state.selected > 0 and not state.any_accepted
        ui.thresholdSlider.enabled = ui.thresholdResetButton.enabled = free
        ui.rejectButton.text = _("Use") if taking_back else _("Ignore")
        ui.rejectButton.toolTip = _("Use the selected boxes again (Delete).") if taking_back else _ignore_tip(state)
        ui.rejectButton.enabled = free and state.selected > 0
        ui.editButton.enabled = ui.seedButton.enabled = free and state.one_row
        ui.addButton.enabled = free and not state.why_not_add
        ui.addButton.toolTip = state.why_not_add or _("Add a box where you are looking, then drag it into place.")
        ui.propagateButton.enabled = not state.why_not_propagate
        ui.propagateButton.toolTip = (
            state.why_not_propagate
            or state.why_propagate
            or _(
                "Segment the ticked objects again: only what has changed. Slices that were edited by hand are kept. "
                "Key: P, while this module is open."
            )
        )

    def _adder(self, label: int) -> Callable[..., None]:
        return lambda *_arguments: self._on_add(label)


def _ignore_tip(state: ButtonState) -> str:
    if state.one_object:
        return _("Leave the whole object out of the segmentation (Delete).")
    return _(
        "Do not prompt with the selected boxes (Delete). The object may still be tracked through their slices from "
        "its other boxes; ignore all of them to leave the object out."
    )
