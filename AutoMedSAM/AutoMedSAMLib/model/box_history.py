"""The steps of the box table, for undo and redo. It imports neither Qt nor Slicer."""

from __future__ import annotations

import time
from dataclasses import dataclass

from AutoMedSAMLib.model.box_table import BoxTable

_MAX_STEPS = 200
# Changes of one kind within this time, such as a slider on its way, are one step.
_SAME_STEP_SECONDS = 1.0


@dataclass(frozen=True)
class BoxState:
    """The box table at one moment.

    Attributes:
        table: the table; never changed.
        volume_id: ID of the node of the boxes' volume.
        segmentation_id: ID of the node of the segmentation that shows them.
        threshold: the threshold that was chosen; None for the model's own.
    """

    table: BoxTable
    volume_id: str | None
    segmentation_id: str | None
    threshold: float | None


class BoxHistory:
    """Steps back and forth. A step is named for what was done: "ignore", "edit"."""

    def __init__(self) -> None:
        self._past: list[tuple[str, BoxState]] = []
        self._future: list[tuple[str, BoxState]] = []
        self._last = ("", 0.0)

    @property
    def undo_name(self) -> str:
        """The step that `undo` takes back; empty if there is none."""
        return self._past[-1][0] if self._past else ""

    @property
    def redo_name(self) -> str:
        """The step that `redo` does again; empty if there is none."""
        return self._future[-1][0] if self._future else ""

    def note(self, name: str, before: BoxState, *, merge: bool = False) -> None:
        """Takes note of a step.

        Args:
            name: what is done.
            before: the state before it.
            merge: whether it is part of the last step, if that has the same name and is less than a second old.
        """
        now, (last, then) = time.monotonic(), self._last
        self._last = (name, now)
        if not (merge and self._past and last == name and now - then < _SAME_STEP_SECONDS):
            self._past = [*self._past, (name, before)][-_MAX_STEPS:]
        self._future.clear()

    def undo(self, now: BoxState) -> BoxState | None:
        """The state before the last step; None if there is none. `now` is kept for `redo`."""
        return self._move(self._past, self._future, now)

    def redo(self, now: BoxState) -> BoxState | None:
        """The state after the step that was last taken back; None if there is none."""
        return self._move(self._future, self._past, now)

    def clear(self) -> None:
        """Forgets all steps."""
        self._past.clear()
        self._future.clear()
        self._last = ("", 0.0)

    def _move(
        self, source: list[tuple[str, BoxState]], target: list[tuple[str, BoxState]], now: BoxState
    ) -> BoxState | None:
        if not source:
            return None
        name, state = source.pop()
        target.append((name, now))
        self._last = ("", 0.0)
        return state
