"""The filter of the table of objects: by state, segment and volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.object_state import ObjectState, states_of
from AutoMedSAMLib.model.run import Message

ALL, TO_CHECK, CHANGED, IGNORED = range(4)
_DECIMALS = 2


class ObjectFilter:
    """The row above the table of objects.

    Args:
        ui: The panel's widgets by name.
        on_chosen: Called when the user has chosen other objects.
    """

    def __init__(self, ui: Any, on_chosen: Callable[[], None]) -> None:
        self._ui = ui
        # Label values and names, where there are several.
        self._segments: list[tuple[int, str]] = []
        self._show_counts([0] * len(_states()))
        ui.objectFilter.connect("currentIndexChanged(int)", lambda *_: on_chosen())
        ui.smallestVolumeBox.connect("valueChanged(double)", lambda *_: on_chosen())

    @property
    def is_on(self) -> bool:
        """Whether it may hide objects."""
        return self._ui.objectFilter.currentIndex != ALL or self._ui.smallestVolumeBox.value > 0

    def chosen(self, measures: Sequence[Message], table: BoxTable) -> list[Message]:
        """The measures to show, and the number of objects in each entry.

        The total of a segment is shown only with all of its objects.

        Args:
            measures: All measures of the last run.
            table: The boxes as they are now.
        """
        objects = [one for one in measures if one["number"] is not None]
        self._offer(measures)
        smallest = round(self._ui.smallestVolumeBox.value, _DECIMALS)
        # As the table shows it: 0.10 ml is not less than 0.10 ml.
        large = [one for one in measures if one["number"] is None or round(one["ml"], _DECIMALS) >= smallest]
        states = states_of(large, table)
        entries = [
            [one for one, state in zip(large, states, strict=True) if shows(one, state)] for shows in self._conditions()
        ]
        self._show_counts([sum(one["number"] is not None for one in entry) for entry in entries])
        found = entries[self._ui.objectFilter.currentIndex]
        if smallest > 0:
            found = [one for one in found if one["number"] is not None]
        shown = sum(one["number"] is not None for one in found)
        text = _("{shown} of {count} shown").format(shown=shown, count=len(objects))
        self._ui.objectCountLabel.text = text if self.is_on and objects else ""
        for widget in (self._ui.objectFilter, self._ui.smallestVolumeBox):
            widget.enabled = bool(measures)
        return found

    def _conditions(self) -> list[Callable[[Message, ObjectState], bool]]:
        """Whether each entry shows a measure."""
        by_state: list[Callable[[Message, ObjectState], bool]] = [
            lambda _one, _state: True,
            lambda _one, state: state.to_check,
            lambda _one, state: state.changed,
            lambda _one, state: state.ignored,
        ]
        return by_state + [_of_label(label) for label, _name in self._segments]

    def _offer(self, measures: Sequence[Message]) -> None:
        """Offers the segments, where there are several; other segments end the choice of one."""
        segments = list({one["label"]: one["segment"] for one in measures}.items())
        segments = segments if len(segments) > 1 else []
        if segments == self._segments:
            return
        self._segments = segments
        box = self._ui.objectFilter
        blocked = box.blockSignals(True)
        if box.currentIndex > IGNORED:
            box.currentIndex = ALL
        while box.count > len(_states()):
            box.removeItem(box.count - 1)
        box.blockSignals(blocked)

    def _show_counts(self, counts: Sequence[int]) -> None:
        box = self._ui.objectFilter
        blocked = box.blockSignals(True)
        texts = [*_states(), *((name, _("The objects of this segment.")) for _label, name in self._segments)]
        for index, ((text, tip), count) in enumerate(zip(texts, counts, strict=True)):
            if index == box.count:
                box.addItem("")
            box.setItemText(index, f"{text} ({count})")
            box.setItemData(index, tip, qt.Qt.ToolTipRole)
        box.blockSignals(blocked)


def _of_label(label: int) -> Callable[[Message, ObjectState], bool]:
    return lambda one, _state: bool(one["label"] == label)


def _states() -> list[tuple[str, str]]:
    """The entries that are always there, with their tool tips."""
    return [
        (_("All"), _("All objects of the last run.")),
        (_("To check"), _("Objects with uncertain slices that you have not accepted.")),
        (_("Changed"), _("Objects with boxes that you drew, moved or ignored, or with points and other prompts.")),
        (_("Ignored"), _("Objects that will not be segmented again, since you ignored all of their boxes.")),
    ]
