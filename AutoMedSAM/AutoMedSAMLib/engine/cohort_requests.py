"""Asks the engine about cohorts: to run one, for its cases, for the image of one, and to save a decision."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import slicer
from slicer.i18n import tr as _

from AutoMedSAMLib.engine import installation
from AutoMedSAMLib.engine.client import EngineClient, PendingRequest, engine_stopped
from AutoMedSAMLib.engine.label_queue import LabelQueue
from AutoMedSAMLib.engine.shared_files import SharedFiles, no_room
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.scene.new_volume import new_volume

Answer = Callable[[Message], None]
Failure = Callable[[str], None]


class CohortListener(Protocol):
    """Receives the progress of a cohort; the last call is one of the last two."""

    def on_case(self, event: Message) -> None:
        """A case has ended; see `CaseDoneEvent` of the protocol."""

    def on_cohort(self, event: Message) -> None:
        """All cases are done; see `CohortEvent` of the protocol."""

    def on_cohort_failed(self, message: str) -> None:
        """It was stopped or failed, for the reason in this sentence; cases that are done are kept."""


class CohortRequests:
    """Requests about cohorts; each is answered by `done` or by `failed` with a sentence.

    Args:
        engine: The engine.
        files: Where voxels are shared with it.
    """

    def __init__(self, engine: EngineClient, files: SharedFiles) -> None:
        self._engine, self._files = engine, files
        self._queue = LabelQueue(engine, files)
        self._running: PendingRequest | None = None

    @property
    def is_running(self) -> bool:
        """Whether a cohort is in progress."""
        return self._running is not None

    def cases(self, folder: Path, done: Answer, failed: Failure) -> None:
        """The cases of an output folder; `done` gets the "worklist" event."""
        self._ask({"op": "worklist", "folder": str(folder)}, done, failed)

    def load(self, folder: Path, case: str, done: Callable[[Message, list[Any]], None], failed: Failure) -> None:
        """Adds the image of a case to the scene.

        Args:
            folder: The output folder.
            case: The name of the case.
            done: Called with the "case" event, and the new volume of each modality.
            failed: Called with a sentence.

        Raises:
            AutoMedSAMError: If there is no room for the image.
        """
        into = self._files.new_path("case").with_suffix("")
        try:
            into.mkdir()
        except OSError as error:
            raise no_room(error) from error

        def loaded(event: Message) -> None:
            try:
                arrays = [np.load(one["path"], allow_pickle=False) for one in event["volumes"]]
            except (OSError, ValueError):
                failed(_("The image of {case} did not arrive: open the case again.").format(case=case))
                return
            finally:
                shutil.rmtree(into, ignore_errors=True)
            volumes = [new_volume(array, one, one["name"]) for array, one in zip(arrays, event["volumes"], strict=True)]
            done(event, volumes)

        def lost(sentence: str) -> None:
            shutil.rmtree(into, ignore_errors=True)
            failed(sentence)

        self._ask({"op": "case", "folder": str(folder), "case": case, "into": str(into)}, loaded, lost)

    def decide(self, folder: Path, case: str, decision: str, note: str, done: Answer, failed: Failure) -> None:
        """Saves a decision, "accept", "fix", "reject" or ""; `done` gets the case's line."""
        message = {"op": "decide", "folder": str(folder), "case": case, "decision": decision, "note": note}
        self._ask(message, lambda event: done(event["case"]), failed)

    def save(
        self,
        folder: Path,
        case: str,
        result: tuple[slicer.vtkMRMLSegmentationNode, Mapping[str, int]],
        volume: slicer.vtkMRMLScalarVolumeNode,
        done: Answer,
        failed: Failure,
    ) -> None:
        """Puts segments in the place of a case's segmentation, and accepts it; `done` gets the case's line.

        Args:
            folder: The output folder.
            case: The name of the case.
            result: The segmentation, and the model's value of each segment by its ID, outer segments first.
            volume: Its grid is that of the labels.
            done: Called with the case's line.
            failed: Called with a sentence.

        Raises:
            AutoMedSAMError: If a segment is on another grid. That there is no room for the labels is found later.
        """
        installation.ensure("int8")
        labels = self._queue.export(result[0], volume, result[1])
        message = {
            "op": "save_case",
            "folder": str(folder),
            "case": case,
            "labels": {**labels.description, "name": case},
            "segments": labels.segments,
        }
        self._queue.send(message, (labels,), lambda event: done(event["case"]), failed)

    def stop(self) -> None:
        """Drops what was not sent yet."""
        self._queue.stop()

    def run(self, message: Message, listener: CohortListener) -> None:
        """Segments all cases of a folder.

        Args:
            message: "input", "folder", "model", and perhaps "backend", "threshold" and "plane".
            listener: Receives the progress.

        Raises:
            AutoMedSAMError: If something needed was not installed.
        """
        installation.ensure(message.get("backend", "int8"))

        def heard(event: Message) -> None:
            if event["event"] == "case_done":
                listener.on_case(event)
                return
            self._running = None
            match event["event"]:
                case "cohort":
                    listener.on_cohort(event)
                case "cancelled":
                    listener.on_cohort_failed(_stopped())
                case _:
                    listener.on_cohort_failed(event["message"])

        def died(_details: str) -> None:
            self._running = None
            listener.on_cohort_failed(engine_stopped())

        self._running = self._engine.send({"op": "cohort", **message}, heard, died)

    def cancel(self) -> None:
        """Stops the cohort within a second; cases that are done are kept."""
        if self._running is not None:
            self._engine.cancel(self._running)

    def _ask(self, message: Message, done: Answer, failed: Failure) -> None:
        installation.ensure("int8")
        self._engine.ask(message, done, failed)


def _stopped() -> str:
    return _("Stopped. Cases that are done are kept: run on the same folders to continue.")
