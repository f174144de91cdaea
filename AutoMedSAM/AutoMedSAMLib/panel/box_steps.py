"""Undo and redo of the box table: two small buttons, Ctrl+Z and Ctrl+Shift+Z."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_history import BoxHistory, BoxState


class BoxSteps:
    """Connects a `BoxHistory` with its buttons and keys.

    Args:
        ui: the panel's widgets by name.
        state: gives the box table's present state.
        restore: makes a state the present one.
    """

    def __init__(self, ui: Any, state: Callable[[], BoxState], restore: Callable[[BoxState], None]) -> None:
        self._ui, self._state, self._restore = ui, state, restore
        self._history = BoxHistory()
        ui.undoStepButton.connect("clicked(bool)", lambda *_: self._move(self._history.undo))
        ui.redoStepButton.connect("clicked(bool)", lambda *_: self._move(self._history.redo))
        self._shortcuts = [
            _shortcut(ui.boxesButton, keys, button)
            for keys, button in (("Ctrl+Z", ui.undoStepButton), ("Ctrl+Shift+Z", ui.redoStepButton))
        ]
        self.show(enabled=True)

    def note(self, name: str, *, merge: bool = False, before: BoxState | None = None) -> None:
        """Takes note of a step that is about to be taken; see `BoxHistory.note`."""
        self._history.note(name, before or self._state(), merge=merge)

    def note_run(self, name: str, before: BoxState) -> None:
        """A run has made a new table: a step, unless there was none before."""
        if len(before.table):
            self.note(name, before=before)
        else:
            self.clear()
        self.show(enabled=True)

    def clear(self) -> None:
        """Forgets all steps."""
        self._history.clear()

    def listen(self, listening: bool) -> None:
        """Whether the keys work: while the module is open, wherever in the window the focus is."""
        for shortcut in self._shortcuts:
            shortcut.enabled = listening

    def show(self, enabled: bool) -> None:
        """Enables the buttons where there is a step, and names it."""
        undo, redo = self._history.undo_name, self._history.redo_name
        self._ui.undoStepButton.enabled = enabled and bool(undo)
        self._ui.redoStepButton.enabled = enabled and bool(redo)
        undo_tip = _("Undo: {step} (Ctrl+Z)") if undo else _("Undo a step of the box table (Ctrl+Z)")
        redo_tip = _("Redo: {step} (Ctrl+Shift+Z)") if redo else _("Redo a step of the box table (Ctrl+Shift+Z)")
        self._ui.undoStepButton.toolTip = undo_tip.format(step=undo)
        self._ui.redoStepButton.toolTip = redo_tip.format(step=redo)

    def _move(self, step: Callable[[BoxState], BoxState | None]) -> None:
        state = step(self._state())
        if state is not None:
            self._restore(state)


def _shortcut(parent: Any, keys: str, button: Any) -> Any:
    shortcut = qt.QShortcut(qt.QKeySequence(keys), parent)
    shortcut.setContext(qt.Qt.WindowShortcut)
    shortcut.connect("activated()", button.click)
    return shortcut
