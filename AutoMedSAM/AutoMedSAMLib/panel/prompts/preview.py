"""Shows an object's mask on the slice of its latest prompt, before it is propagated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.slice_preview import PreviewMask, PreviewQuestion
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.preview_outline import PreviewOutline


class Preview:
    """Asks for the mask of one object on one slice, and shows it until the object's prompts change.

    Args:
        logic: what is asked; an `AutoMedSAMLogic`.
        show_status: shows a sentence in the status line.
        clear_status: clears the status line, if it still shows this sentence.
    """

    def __init__(self, logic: Any, show_status: Callable[[str], None], clear_status: Callable[[str], None]) -> None:
        self._logic, self._show_status, self._clear_status = logic, show_status, clear_status
        self.outline = PreviewOutline()
        self._asked: tuple[Any, ...] | None = None
        self._sentence = ""

    def warm_up(self, request: RunRequest) -> None:
        """Loads the model before the first prompt is given."""
        self._logic.warm_up(request)

    def ask(self, request: RunRequest, axis: int, group: ObjectGroup, at: int, color: Sequence[float]) -> None:
        """Asks for an object's mask on a slice where it has a prompt.

        Args:
            request: the run that the object belongs to.
            axis: the slice axis of `(K, J, I)`.
            group: the object.
            at: the slice.
            color: the color to show it in, 0 to 1.
        """
        self.hide()
        boxes, tracklet = group.messages()
        self._asked = _what(group)

        def done(answer: PreviewMask) -> None:
            self.outline.show(request.volumes[0], axis, answer.slice, answer.mask, color)
            self._say(_sentence(answer, axis, request.volumes[0].GetSpacing()))

        try:
            self._logic.preview(PreviewQuestion(request, boxes, tracklet, at, done, self._say))
        except AutoMedSAMError as error:
            self._say(str(error))

    def keep_if(self, groups: Sequence[ObjectGroup]) -> None:
        """Hides the mask unless one of the objects is still the one that was asked for."""
        if self._asked is not None and self._asked not in [_what(group) for group in groups]:
            self.hide()

    def hide(self) -> None:
        """Takes the mask out of the views, and waits for no answer any more."""
        self._asked = None
        self._logic.drop_preview()
        self.outline.hide()
        self._clear_status(self._sentence)
        self._sentence = ""

    def _say(self, sentence: str) -> None:
        self._sentence = sentence
        self._show_status(sentence)


def _what(group: ObjectGroup) -> tuple[Any, ...]:
    return (group.label, group.seed, [box for box in group.boxes if box.id in group.accepted], group.prompts)


def _sentence(answer: PreviewMask, axis: int, spacing: Sequence[float]) -> str:
    sides = [spacing[n] for n in range(3) if n != 2 - axis]
    square_mm = np.count_nonzero(answer.mask) * sides[0] * sides[1]
    if not square_mm:
        text = _("Slice {slice}: nothing found at these prompts; add a point or draw a box.")
    else:
        text = _("Slice {slice}: {area} cm², score {score}. P propagates it.")
    return text.format(slice=answer.slice, area=f"{square_mm / 100:.2f}", score=f"{answer.score:.2f}")
