"""The amber line below the volumes: the input check's warnings, and the question that Apply asks because of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from AutoMedSAMLib.engine.shared_files import VolumeIdentity
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message, RunRequest
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.panel.whole_text import WholeText
from AutoMedSAMLib.qt_timers import SingleShot

# Dark on amber: to be read on a light and on a dark panel alike.
_STYLE = "background: #ffd27f; color: #3d2a00; border-radius: 3px; padding: 4px;"  # no tr
_SETTLE_MS = 200


class InputWarnings:
    """Checks the chosen volumes in the engine, and shows the warnings.

    Args:
        label: the amber line.
        logic: checks; an `AutoMedSAMLogic`.
        request: what a run would be asked for now; None while something is missing.
        show_status: shows a sentence in the status line.
    """

    def __init__(
        self, label: Any, logic: Any, request: Callable[[], RunRequest | None], show_status: Callable[[str], None]
    ) -> None:
        self._label, self._logic, self._request, self._show_status = label, logic, request, show_status
        self._key: object = None
        self._warnings: list[Message] | None = None
        self._accepted: set[object] = set()
        self._then: Callable[[], None] | None = None
        self._listening = False
        self._settled = SingleShot(_SETTLE_MS, self._check)
        self._whole_text = WholeText([label])
        label.setStyleSheet(_STYLE)
        self._show([])

    @property
    def are_known(self) -> bool:
        """Whether what is chosen has been checked."""
        return self._warnings is not None

    def listen(self, listening: bool) -> None:
        """Checks what is chosen while the panel is open, and nothing while it is not."""
        self._listening = listening
        self.update()

    def update(self) -> None:
        """Another volume or model may have been chosen: it is checked a moment later."""
        request = self._request()
        if _key(request) != self._key:
            self._forget()
            if request is not None and self._listening:
                self._settled.start()

    def before_run(self, request: RunRequest, run: Callable[[], None]) -> None:
        """Runs once the check is done; asks before, if it warns and the user has not accepted these warnings yet."""
        self._settled.stop()
        if _key(request) != self._key:
            self._check()
        if self._warnings is None:
            self._then = run
            self._show_status(_("Comparing the image with the model's training images ..."))
            return
        self._decide(request, run)

    def show_found(self, request: RunRequest, warnings: list[Message]) -> None:
        """A run has checked its volumes itself."""
        if _key(request) == _key(self._request()):
            self._key, self._warnings = _key(request), warnings
            self._show(warnings)

    def stop(self) -> None:
        """Stops for good."""
        self._listening = False
        self._settled.stop()
        self._forget()

    def _check(self) -> None:
        request = self._request()
        self._forget()
        if request is None or self._logic.is_running:
            return
        key = self._key = _key(request)

        def answered(warnings: list[Message]) -> None:
            if key == self._key:
                self._answered(warnings)

        try:
            self._logic.check_input(request.volumes, request.model, answered)
        except AutoMedSAMError:
            # The run itself reports why these volumes cannot be segmented.
            answered([])

    def _answered(self, warnings: list[Message]) -> None:
        self._warnings = warnings
        self._show(warnings)
        run, self._then = self._then, None
        if run is not None:
            self._show_status("")
            request = self._request()
            if request is not None:
                self._decide(request, run)

    def _decide(self, request: RunRequest, run: Callable[[], None]) -> None:
        sentences = [warning["sentence"] for warning in self._warnings or []]
        choice = (*(volume.GetID() for volume in request.volumes), request.model.hash)
        if sentences and choice not in self._accepted:
            if not questions.runs_despite(sentences, self._label.window()):
                return
            self._accepted.add(choice)
        run()

    def _forget(self) -> None:
        self._key = self._warnings = None
        if self._then is not None:
            self._then = None
            self._show_status("")
        self._show([])

    def _show(self, warnings: list[Message]) -> None:
        self._whole_text.set(self._label, "\n".join(warning["sentence"] for warning in warnings))
        self._label.setVisible(bool(warnings))


def _key(request: RunRequest | None) -> object:
    """What the check's answer depends on."""
    if request is None or any(volume.GetImageData() is None for volume in request.volumes):
        return None
    names = tuple(volume.GetName() for volume in request.volumes)
    return VolumeIdentity.of(request.volumes), names, request.model.hash
