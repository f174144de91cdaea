"""Questions to the user before something is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from automedsam.contract.catalog import CatalogModel
from AutoMedSAMLib.model.bundle_info import Model


def ask(text: str, choices: Mapping[str, str], default: str | None, parent: Any = None) -> str | None:
    """Shows a question with a button for each choice, and Cancel.

    Args:
        text: the question.
        choices: the text of each choice's button.
        default: the choice of the Return key, and the answer while Slicer runs its tests; None for Cancel.
        parent: the widget that asks.

    Returns:
        The choice, a key of `choices`; None for Cancel.
    """
    if slicer.app.testingEnabled():
        return default
    box = qt.QMessageBox(parent)
    box.setWindowTitle("AutoMedSAM")  # no tr: a name
    box.setIcon(qt.QMessageBox.Question)
    box.setText(text)
    buttons = {choice: box.addButton(label, qt.QMessageBox.AcceptRole) for choice, label in choices.items()}
    cancel = box.addButton(qt.QMessageBox.Cancel)
    box.setDefaultButton(buttons[default] if default else cancel)
    box.setEscapeButton(cancel)
    box.exec_()
    clicked = box.clickedButton()
    chosen = next((choice for choice, button in buttons.items() if button == clicked), None)
    box.deleteLater()
    return chosen


def replace_or_beside(volume_name: str, parent: Any = None) -> str | None:
    """Asks whether a run may replace the existing result: "replace", "beside", or None for neither."""
    text = _(
        "Replace the result of {volume}?\n\nOnly the slices of this run are replaced, and a segment that was edited on "
        "them by hand is kept. Undo run restores the earlier result."
    )
    choices = {"replace": _("Replace"), "beside": _("Write beside")}
    return ask(text.format(volume=volume_name), choices, "beside", parent)


def may_empty(parent: Any = None) -> bool:
    """Asks whether to empty a result, since no box is left to be segmented."""
    text = _("No object has a ticked box. Propagate again would empty the segmentation on the slices of this run.")
    return ask(text, {"empty": _("Empty it")}, None, parent) == "empty"


def may_undo_edits(slices: int, parent: Any = None) -> bool:
    """Asks whether to undo edits by hand together with the run."""
    if slices == 1:
        text = _("1 slice was edited by hand after the run. Undo run takes this edit back as well.")
    else:
        text = _("{slices} slices were edited by hand after the run. Undo run takes these edits back as well.")
    return ask(text.format(slices=slices), {"undo": _("Undo run")}, None, parent) == "undo"


def accepts_terms(model: Model | CatalogModel, parent: Any = None) -> bool:
    """Shows the terms of a model's weights and asks once; while Slicer runs its tests, nothing is asked."""
    if slicer.app.testingEnabled():
        return True
    text = _("The weights of the model {model} have these terms:\n\n{terms}\n\nDo you accept them?")
    text = text.format(model=model.name, terms=model.terms)
    return ask(text, {"accept": _("Accept")}, None, parent) == "accept"


def may_remove_model(name: str, parent: Any = None) -> bool:
    """Asks whether a downloaded or imported model may be removed."""
    text = _("Remove the model {name} from this computer?").format(name=name)
    return ask(text, {"remove": _("Remove")}, "remove", parent) == "remove"


def runs_despite(warnings: Iterable[str], parent: Any = None) -> bool:
    """Asks whether to run on an image that does not look like the training images; not while Slicer runs its tests."""
    if slicer.app.testingEnabled():
        return True
    text = "\n\n".join([*warnings, _("Results on such an image are often wrong. Continue?")])
    return ask(text, {"continue": _("Continue")}, None, parent) == "continue"
