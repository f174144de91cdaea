"""Links boxes to objects in the engine, a moment after the last change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.run import Message, RunRequest
from AutoMedSAMLib.qt_timers import SingleShot

# Long enough that a moving slider links once, short enough that nobody waits.
_AFTER_MS = 100


class BoxLinker:
    """Links a table's boxes with its present threshold; the engine's latest answer counts.

    Args:
        logic: what links boxes; an `AutoMedSAMLogic`.
        question: the table and the request of its run; None while nothing can be linked.
        on_linked: called after the table has received its new objects.
        show_status: shows a sentence in the status line.
    """

    def __init__(
        self,
        logic: Any,
        question: Callable[[], tuple[BoxTable, RunRequest] | None],
        on_linked: Callable[[], None],
        show_status: Callable[[str], None],
    ) -> None:
        self._logic, self._link_input, self._on_linked, self._show_status = logic, question, on_linked, show_status
        self._timer = SingleShot(_AFTER_MS, self._ask)

    def link_soon(self) -> None:
        """Asks in a moment, once for all changes until then."""
        self._timer.start()

    def stop(self) -> None:
        """Does not ask after all."""
        self._timer.stop()

    def _ask(self) -> None:
        question = self._link_input()
        if question is None:
            return
        table, request = question

        def done(tracklets: list[Message]) -> None:
            now = self._link_input()
            if now is not None and now[0] is table:
                table.receive_tracklets(tracklets)
                self._on_linked()

        try:
            self._logic.link(request, table.link_boxes(), table.threshold, done)
        except AutoMedSAMError as error:
            self._show_status(str(error))
