"""The button that compares INT8 with FP32 on the chosen volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.comparison import ComparisonOutcome
from AutoMedSAMLib.model.run import Outcome, RunRequest


class CompareButton:
    """Below the backend; while it compares, Apply is Cancel, as during a run.

    Args:
        ui: the panel's widgets by name.
        logic: compares; an `AutoMedSAMLogic`.
        run_panel: shows the progress and the end; a `RunPanel`.
        request: gives what is to be compared; None if nothing is.
        set_running: called with whether a comparison is in progress.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        run_panel: Any,
        request: Callable[[], RunRequest | None],
        set_running: Callable[[bool], None],
    ) -> None:
        self._logic, self._run_panel, self._request, self._set_running = logic, run_panel, request, set_running
        self.widget = qt.QPushButton(_("Compare INT8 and FP32"))
        self.widget.objectName = "compareButton"
        self.widget.enabled = False
        self.widget.connect("clicked(bool)", lambda *_: self._compare())
        ui.inputsForm.addRow("", self.widget)

    def update(self, model: Model | None, missing_input: str) -> None:
        """Enables the button, or gives the reason why not as its tool tip.

        Args:
            model: the chosen model.
            missing_input: what is missing for a run, as a sentence; empty if nothing is.
        """
        tip = missing_input or (model.no_comparison if model is not None else "")
        self.widget.enabled = not tip
        self.widget.toolTip = tip or _(
            "Segment this volume in INT8 and in FP32: a table of agreement, time and memory, and a segmentation of the "
            "voxels in which they differ. Your segmentations are not changed."
        )

    def _compare(self) -> None:
        request = self._request()
        if request is None:
            return
        self._set_running(True)
        self._run_panel.show_running()
        try:
            self._logic.compare(request, self)
        except AutoMedSAMError as error:
            self.on_compared(ComparisonOutcome("failed", str(error), error.details))

    def on_progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and the present step."""
        self._run_panel.show_progress(fraction, text)

    def on_compared(self, outcome: ComparisonOutcome) -> None:
        """The comparison has ended."""
        status: Any = outcome.status
        self._run_panel.show_outcome(Outcome(status, outcome.message, outcome.details))
        self._set_running(False)
