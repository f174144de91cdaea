"""The effect's options in the Segment Editor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.panel.prompts.draw_tool import Mode


@dataclass(frozen=True)
class OptionCalls:
    """What the options call.

    Attributes:
        on_mode: with the mode that was chosen.
        on_model: after another model or structure was chosen.
        on_propagate: when Propagate is clicked; during a run it cancels.
        on_clear: when the prompts are to be cleared.
    """

    on_mode: Callable[[Mode], None]
    on_model: Callable[[], None]
    on_propagate: Callable[[], None]
    on_clear: Callable[[], None]


class EffectOptions:
    """Makes the widgets.

    Args:
        effect: the `qSlicerSegmentEditorScriptedEffect` that shows them.
        models: the models to choose from.
        calls: what they call.
    """

    def __init__(self, effect: Any, models: Sequence[Model], calls: OptionCalls) -> None:
        self._models, self._calls = list(models), calls
        self.model_selector = qt.QComboBox()
        for model in self._models:
            self.model_selector.addItem(f"{model.name.capitalize()} {model.version}")
        self.model_selector.toolTip = _("The model that segments. Its own finding of objects is not used here.")
        effect.addLabeledOptionsWidget(_("Model:"), self.model_selector)
        self.structure_selector = qt.QComboBox()
        self.structure_selector.toolTip = _("What the segment shows, for models that know several structures.")
        effect.addLabeledOptionsWidget(_("Structure:"), self.structure_selector)

        self.box_button = _tool(_("Box"), _("Drag boxes around the object, on one slice or several."))
        self.point_button = _tool(
            _("Points"), _("Click on the object in any slice view; click with Shift where it is not.")
        )
        self.box_button.checked = True
        modes = qt.QHBoxLayout()
        modes.addWidget(self.box_button)
        modes.addWidget(self.point_button)
        effect.addLabeledOptionsWidget(_("Prompts:"), modes)

        self.propagate_button = qt.QPushButton(_("Propagate"))
        self.clear_button = qt.QPushButton(_("Clear prompts"))
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.propagate_button)
        buttons.addWidget(self.clear_button)
        effect.addOptionsWidget(buttons)
        self.status = qt.QLabel()
        self.status.setWordWrap(True)
        effect.addOptionsWidget(self.status)

        self.box_button.connect("toggled(bool)", lambda on: calls.on_mode("box" if on else "point"))
        self.propagate_button.connect("clicked(bool)", lambda *_: calls.on_propagate())
        self.clear_button.connect("clicked(bool)", lambda *_: calls.on_clear())
        self.model_selector.connect("currentIndexChanged(int)", lambda *_: self._on_model())
        self.structure_selector.connect("currentIndexChanged(int)", lambda *_: calls.on_model())
        self._fill_structures()
        self.show(prompted=False, running=False)

    @property
    def model(self) -> Model | None:
        """The chosen model."""
        index = self.model_selector.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    @property
    def label(self) -> int:
        """The label value of the chosen structure."""
        model = self.model
        return model.segments[max(self.structure_selector.currentIndex, 0)]["value"] if model else 1

    def show(self, prompted: bool, running: bool) -> None:
        """Enables the buttons.

        Args:
            prompted: whether there is something to propagate.
            running: whether a run is in progress.
        """
        self.propagate_button.text = _("Cancel") if running else _("Propagate")
        self.propagate_button.enabled = running or prompted
        self.propagate_button.toolTip = _(
            "Track the object through the volume, and add it to the selected segment, within the editor's mask."
        )
        self.clear_button.enabled = prompted and not running
        for widget in (self.model_selector, self.structure_selector, self.box_button, self.point_button):
            widget.enabled = not running

    def say(self, sentence: str) -> None:
        """Shows a sentence."""
        self.status.text = sentence

    def unsay(self, sentence: str) -> None:
        """Clears the line, if it still shows this sentence."""
        if sentence and self.status.text == sentence:
            self.status.text = ""

    def _on_model(self) -> None:
        self._fill_structures()
        self._calls.on_model()

    def _fill_structures(self) -> None:
        blocked = self.structure_selector.blockSignals(True)
        self.structure_selector.clear()
        for segment in self.model.segments if self.model else []:
            self.structure_selector.addItem(segment["name"])
        self.structure_selector.blockSignals(blocked)


def _tool(text: str, tip: str) -> Any:
    button = qt.QPushButton(text)
    button.setCheckable(True)
    button.setAutoExclusive(True)
    button.toolTip = tip
    return button
