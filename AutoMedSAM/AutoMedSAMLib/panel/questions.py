"""Questions that are asked before something is lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import qt
import slicer

from automedsam.contract.catalog import CatalogModel
from AutoMedSAMLib.model.bundle_info import Model

REPLACE, BESIDE = "Replace", "Write beside"
EMPTY = "Empty it"
UNDO = "Undo run"
ACCEPT, CONTINUE = "Accept", "Continue"
REMOVE = "Remove"


def ask(text: str, choices: tuple[str, ...], default: str | None, parent: Any = None) -> str | None:
    """Shows a question with a button for each choice, and Cancel.

    Args:
        text: the question.
        choices: what can be chosen, as the buttons name it.
        default: the choice of the Return key, and the answer while Slicer runs its tests; None for Cancel.
        parent: the widget that asks.

    Returns:
        The choice; None for Cancel.
    """
    if slicer.app.testingEnabled():
        return default
    box = qt.QMessageBox(parent)
    box.setWindowTitle("AutoMedSAM")
    box.setIcon(qt.QMessageBox.Question)
    box.setText(text)
    buttons = {choice: box.addButton(choice, qt.QMessageBox.AcceptRole) for choice in choices}
    cancel = box.addButton(qt.QMessageBox.Cancel)
    box.setDefaultButton(buttons.get(default, cancel))
    box.setEscapeButton(cancel)
    box.exec_()
    clicked = box.clickedButton()
    chosen = clicked.text if clicked is not None else ""
    box.deleteLater()
    return chosen if chosen in choices else None


def replace_or_beside(volume_name: str, parent: Any = None) -> str | None:
    """Asks whether a run may replace the result that is there: `REPLACE`, `BESIDE`, or None for neither."""
    text = (
        f"Replace the result of {volume_name}?\n\nOnly the slices of this run are replaced, and a segment that was "
        "edited on them by hand is kept. Undo run takes it back."
    )
    return ask(text, (REPLACE, BESIDE), BESIDE, parent)


def may_empty(parent: Any = None) -> bool:
    """Asks whether a result is to be emptied, since no box is left that would be segmented."""
    text = "No object has a ticked box. Propagate again would empty the segmentation on the slices of this run."
    return ask(text, (EMPTY,), None, parent) == EMPTY


def may_undo_edits(slices: int, parent: Any = None) -> bool:
    """Asks whether edits by hand may go with the run that is undone."""
    edited = "1 slice was" if slices == 1 else f"{slices} slices were"
    text = f"{edited} edited by hand after the run. Undo run takes these edits back as well."
    return ask(text, (UNDO,), None, parent) == UNDO


def accepts_terms(model: Model | CatalogModel, parent: Any = None) -> bool:
    """Shows the terms of a model's weights and asks once; while Slicer runs its tests, nothing is asked."""
    if slicer.app.testingEnabled():
        return True
    text = f"The weights of the model {model.name} have these terms:\n\n{model.terms}\n\nDo you accept them?"
    return ask(text, (ACCEPT,), None, parent) == ACCEPT


def may_remove_model(name: str, parent: Any = None) -> bool:
    """Asks whether a downloaded or imported model may be removed."""
    return ask(f"Remove the model {name} from this computer?", (REMOVE,), REMOVE, parent) == REMOVE


def runs_despite(warnings: Iterable[str], parent: Any = None) -> bool:
    """Asks whether to run on an image that does not look like the training images; not while Slicer runs its tests."""
    if slicer.app.testingEnabled():
        return True
    text = "\n\n".join([*warnings, "Results on such an image are often wrong. Continue?"])
    return ask(text, (CONTINUE,), None, parent) == CONTINUE
