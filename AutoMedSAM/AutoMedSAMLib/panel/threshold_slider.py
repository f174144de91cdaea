"""The slider of the min score: objects appear and disappear while it moves, without detecting again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.panel.box_steps import BoxSteps
from AutoMedSAMLib.scene.parameters import Parameters


class ThresholdSlider:
    """Connects the slider with the parameter node and the box table.

    Args:
        ui: the panel's widgets by name.
        parameters: where the threshold is kept.
        table: gives the box table.
        steps: where a move is noted as a step.
        changed: called when the table has another threshold, so that it is linked and shown again.
    """

    def __init__(
        self,
        ui: Any,
        parameters: Parameters,
        table: Callable[[], BoxTable],
        steps: BoxSteps,
        changed: Callable[[], None],
    ) -> None:
        self._ui, self._parameters, self._table, self._steps, self._changed = ui, parameters, table, steps, changed
        self._model: Model | None = None
        self._updating = False
        ui.thresholdSlider.connect("valueChanged(double)", self._on_moved)
        ui.thresholdResetButton.connect("clicked(bool)", lambda *_: self._reset())

    def set_model(self, model: Model | None) -> None:
        """Takes the model whose own threshold the slider goes back to."""
        self._model = model

    def show(self) -> None:
        """Sets the slider to the threshold in the parameter node, or the model's own."""
        table, chosen = self._table(), self._parameters.threshold
        value = chosen if chosen is not None else self._model.threshold if self._model else table.threshold
        self._updating = True
        self._ui.thresholdSlider.value = value
        self._updating = False
        if len(table) and abs(value - table.threshold) > 1e-6:
            table.threshold, table.is_linked = value, False
            self._changed()

    def _on_moved(self, value: float) -> None:
        if self._updating:
            return
        table, own = self._table(), None if self._model is None else self._model.threshold
        if len(table):
            self._steps.note(_("min score"), merge=True)
        is_own = own is not None and abs(value - own) < 5e-3
        self._parameters.threshold = None if is_own else value
        table.threshold = value if own is None or not is_own else own
        table.is_linked = False
        self._changed()

    def _reset(self) -> None:
        if self._model:
            self._ui.thresholdSlider.value = self._model.threshold
