"""One comparison of INT8 with FP32, from its start to the nodes that it leaves."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import slicer
import vtk
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.client import EngineClient, PendingRequest, engine_stopped
from AutoMedSAMLib.engine.shared_files import VolumeExport
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.comparison import ComparisonOutcome, as_text, lowest_dice
from AutoMedSAMLib.model.run import Message, RunRequest
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene.comparison_nodes import add_difference, add_table

_SHARE_OF_LOOP_SECONDS = 0.02
_COPY_SHARE = 0.03


class ComparisonListener(Protocol):
    """Receives the progress and the end of a comparison, on the main thread."""

    def on_progress(self, fraction: float, text: str) -> None:
        """How much is done, 0 to 1, and the present step."""

    def on_compared(self, outcome: ComparisonOutcome) -> None:
        """It has ended, however; called exactly once."""


class ComparisonController:
    """Copies the volumes, asks the engine, and adds the nodes. Nothing that was there is changed.

    Args:
        engine: the engine.
        request: what to compare; its backend does not matter.
        listener: receives the progress and the end.
        copy: the volumes' copy, to be written or written already.
        message: the request to the engine, without the volume, with "difference", where the engine writes labels.
        ended: called before the listener's `on_compared`.
    """

    def __init__(
        self,
        engine: EngineClient,
        request: RunRequest,
        listener: ComparisonListener,
        copy: VolumeExport,
        message: Message,
        ended: Callable[[ComparisonController], None],
    ) -> None:
        self.request, self.copy, self.difference = request, copy, Path(message["difference"])
        self._engine, self._listener, self._message = engine, listener, message
        self._ended: Callable[[ComparisonController], None] | None = ended
        self._asked: PendingRequest | None = None
        self._timer = SingleShot(0, lambda: self._guard(self._copy_step))
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._scene_closes),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._node_goes),
        ]
        self._timer.start()

    def cancel(self) -> None:
        """Stops it within a second; nothing is added to the scene."""
        if self._asked is None:
            self._end(_cancelled())
        else:
            self._engine.cancel(self._asked)

    def close(self) -> None:
        """Stops it at once."""
        self._stop(_("The comparison was stopped."))

    def _copy_step(self) -> None:
        copy = self.copy
        if not copy.is_complete and not copy.write_chunk(_SHARE_OF_LOOP_SECONDS):
            self._notify(_COPY_SHARE * copy.fraction, _("Copying the volume"))
            self._timer.start()
            return
        message = {**self._message, "volume": copy.description}
        self._asked = self._engine.send(message, lambda event: self._guard(self._on_event, event), self._died)

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """Calls a step. Qt drops uncaught exceptions, and the comparison would never end."""
        try:
            step(*arguments)
        except AutoMedSAMError as error:
            self._end(ComparisonOutcome("failed", str(error), error.details))
        except Exception as error:
            logging.exception("AutoMedSAM: a comparison failed")
            message = _("The comparison failed ({error}).").format(error=error)
            self._end(ComparisonOutcome("failed", message, traceback.format_exc()))

    def _on_event(self, event: Message) -> None:
        match event["event"]:
            case "comparing":
                done = _COPY_SHARE + (1 - _COPY_SHARE) * float(event["done"])
                self._notify(done, _description(event["stage"], event["backend"]))
            case "compared":
                self._finish(event)
            case "cancelled":
                self._end(_cancelled())
            case "error":
                message = event["message"]
                if not event.get("user_error"):
                    message = _("The engine failed ({error}).").format(error=message)
                self._end(ComparisonOutcome("failed", message, event.get("details", "")))

    def _finish(self, event: Message) -> None:
        volume, model = self.request.volumes[0], self.request.model.name
        difference = add_difference(volume, model, self.difference, event["segments"])
        table = add_table(volume, model, event["rows"])
        message = _("INT8 and FP32 compared: lowest Dice {dice}. Table: {table}. Differing voxels: {difference}.")
        names = {"table": table.GetName(), "difference": difference.GetName()}
        message = message.format(dice=f"{lowest_dice(event['rows']):.3f}", **names)
        self._end(ComparisonOutcome("finished", message, as_text(event["rows"]), table, difference))

    def _died(self, details: str) -> None:
        self._end(ComparisonOutcome("failed", engine_stopped(), details))

    def _notify(self, fraction: float, text: str) -> None:
        try:
            self._listener.on_progress(fraction, text)
        except Exception:
            logging.exception("AutoMedSAM: a listener failed")

    def _scene_closes(self, _scene: vtk.vtkObject, _event: str) -> None:
        self._stop(_("The scene was closed, so the comparison was stopped."))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_goes(self, _scene: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if node in self.request.volumes:
            self._stop(_("The volume was deleted, so the comparison was stopped."))

    def _stop(self, message: str) -> None:
        if self._asked is not None:
            self._engine.discard(self._asked)
        self._end(ComparisonOutcome("cancelled", message))

    def _end(self, outcome: ComparisonOutcome) -> None:
        self._timer.stop()
        while self._tags:
            slicer.mrmlScene.RemoveObserver(self._tags.pop())
        ended, self._ended = self._ended, None
        if ended is None:
            return
        ended(self)
        try:
            self._listener.on_compared(outcome)
        except Exception:
            logging.exception("AutoMedSAM: a listener failed")


def _cancelled() -> ComparisonOutcome:
    return ComparisonOutcome("cancelled", _("The comparison was cancelled; nothing was added."))


def _description(stage: str, backend: str) -> str:
    precision = "INT8" if backend == "int8" else "FP32"
    text = {
        "load": _("{precision}: loading the model"),
        "detect": _("{precision}: detecting"),
        "segment": _("{precision}: segmenting"),
    }[stage]
    return text.format(precision=precision)
