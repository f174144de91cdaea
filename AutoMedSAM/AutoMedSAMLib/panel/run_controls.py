"""The part of the panel from Apply to Details: starts and cancels a run, and shows its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from AutoMedSAMLib.model.run import Outcome

_STATUS_LINES = 3
_DOUBLE_CLICK_SECONDS = 0.5


class RunPanel:
    """One button that applies or cancels, a progress bar, a status line, and the Details.

    Args:
        ui: the panel's widgets by name.
        on_apply: called when Apply is clicked.
        on_cancel: called when the same button is clicked during a run.
        on_undo: called when Undo is clicked.
    """

    def __init__(
        self, ui: Any, on_apply: Callable[[], None], on_cancel: Callable[[], None], on_undo: Callable[[], None]
    ) -> None:
        self._ui, self._on_apply, self._on_cancel = ui, on_apply, on_cancel
        self._running, self._changed = False, -math.inf
        # Why a run failed stays beside what is missing for the next one.
        self._kept = self._ready_line = ""
        # The panel below must not jump when a run begins.
        policy = ui.progressBar.sizePolicy
        policy.setRetainSizeWhenHidden(True)
        ui.progressBar.sizePolicy = policy
        ui.progressBar.hide()
        ui.detailsText.hide()
        # Nor when a sentence takes another line.
        ui.statusLabel.minimumHeight = _STATUS_LINES * ui.statusLabel.fontMetrics().lineSpacing()
        ui.applyButton.connect("clicked(bool)", lambda *_: self._on_clicked())
        ui.undoButton.connect("clicked(bool)", lambda *_: on_undo())
        ui.detailsButton.connect("toggled(bool)", ui.detailsText.setVisible)

    def show_ready(self, missing_input: str, can_undo: bool) -> None:
        """Enables Apply, or shows what is missing; does nothing during a run."""
        if self._running:
            return
        ui = self._ui
        line = " ".join(part for part in (self._kept, missing_input) if part)
        if missing_input or ui.statusLabel.text == self._ready_line:
            ui.statusLabel.text = self._ready_line = line
        ui.applyButton.enabled = not missing_input
        tip = _("Find and segment. Slicer stays responsive, and the result grows slice by slice.")
        ui.applyButton.toolTip = missing_input or tip
        ui.undoButton.enabled = can_undo

    def show_running(self) -> None:
        """A run was started."""
        self._running, self._changed = True, time.monotonic()
        ui = self._ui
        ui.applyButton.text = _("Cancel")
        ui.applyButton.toolTip = _("Stop within a second. The slices that are finished are kept.")
        ui.applyButton.enabled = True
        ui.progressBar.value = 0
        ui.progressBar.show()
        ui.undoButton.enabled = False
        self._set_details("")
        self.show_status(_("Getting ready ..."))

    def show_progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and the present step."""
        self._ui.progressBar.value = round(100 * fraction)
        self.show_status(text)

    def show_cancelling(self) -> None:
        """Cancel was clicked: it takes up to a second."""
        self._ui.applyButton.enabled = False
        self.show_status(_("Cancelling ..."))

    def show_outcome(self, outcome: Outcome) -> None:
        """The run is over."""
        self._running, self._changed = False, time.monotonic()
        self._ui.applyButton.text = _("Apply")
        self._ui.progressBar.hide()
        self._set_details("\n".join(part for part in (_report(outcome.report), outcome.details) if part))
        self.show_status(outcome.message)
        if outcome.status != "finished":
            self._kept = self._ready_line = outcome.message

    def show_status(self, sentence: str) -> None:
        """Shows a sentence in the status line."""
        self._kept = self._ready_line = ""
        self._ui.statusLabel.text = sentence

    def clear_status(self, sentence: str) -> None:
        """Clears the status line, if it still shows this sentence, whose cause is gone."""
        if sentence and self._ui.statusLabel.text == sentence:
            self.show_status("")

    def forget(self) -> None:
        """The scene was closed: clears what is shown of its last run; does nothing during a run."""
        if not self._running:
            self._set_details("")
            self.show_status("")

    def _on_clicked(self) -> None:
        # The second click of a double click is not meant for the button's new function.
        now = time.monotonic()
        if now - self._changed < _DOUBLE_CLICK_SECONDS:
            return
        if self._running:
            self._on_cancel()
        else:
            self._on_apply()

    def _set_details(self, text: str) -> None:
        self._ui.detailsText.plainText = text
        self._ui.detailsButton.enabled = bool(text)
        if not text:
            self._ui.detailsButton.checked = False


def _report(report: dict[str, Any]) -> str:
    """The report of a run, one line for each fact."""
    if not report:
        return ""
    lines = [f"{name}: {volume:.2f} ml" for name, volume in report["volume_ml"].items()]
    seconds = ", ".join(f"{stage} {time:.1f} s" for stage, time in report["seconds"].items())
    lines.append(_("Objects: {number}").format(number=report["objects"]))
    slices = _("Slices: {segmented} segmented of {all}")
    lines.append(slices.format(segmented=report["segmented_slices"], all=report["slices"]))
    lines.append(_("Time: {stages}").format(stages=seconds))
    lines.append(_("Memory: {megabytes} MB").format(megabytes=f"{report['peak_memory_mb']:.0f}"))
    lines.append(_("Device: {device}").format(device=report["device"]))
    return "\n".join(lines)
