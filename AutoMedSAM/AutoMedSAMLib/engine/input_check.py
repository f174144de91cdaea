"""Asks the engine whether volumes look like what a model was trained on, before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from AutoMedSAMLib.engine.client import EngineClient, PendingRequest
from AutoMedSAMLib.engine.shared_files import SharedFiles, VolumeExport, VolumeIdentity
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.qt_timers import SingleShot

_SHARE_OF_LOOP_SECONDS = 0.02
_TAGS = {
    "Modality": "0008,0060",
    "SeriesDescription": "0008,103e",
    "ProtocolName": "0018,1030",
    "SequenceName": "0018,0024",
    "ContrastBolusAgent": "0018,0010",
}


class InputCheck:
    """One check at a time: copies the volumes bit by bit, asks the engine, and keeps the copy for the run that follows.

    Args:
        engine: the engine.
        exchange: where the copy goes.
    """

    def __init__(self, engine: EngineClient, exchange: SharedFiles) -> None:
        self._engine, self._exchange = engine, exchange
        self._copy: VolumeExport | None = None
        self._asked: PendingRequest | None = None
        self._names: list[dict[str, str]] = []
        self._folder = ""
        self._done: Callable[[list[Message]], None] | None = None
        self._timer = SingleShot(0, self._copy_step)

    def start(
        self,
        volumes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: Model,
        copy: VolumeExport | None,
        done: Callable[[list[Message]], None],
    ) -> None:
        """Checks volumes; a check in progress is dropped.

        Args:
            volumes: one scalar volume for each of the model's modalities, on one grid.
            model: the model.
            copy: a complete copy of the volumes, if there is one.
            done: called with the warnings, `{"code", "sentence"}` each; with none if the engine fails.

        Raises:
            AutoMedSAMError: If there is no room for a copy.
        """
        self._drop()
        if copy is None and (self._copy is None or self._copy.identity != VolumeIdentity.of(volumes)):
            self._discard()
            self._copy = VolumeExport(volumes, self._exchange.new_path("volume"))
        self._names, self._folder, self._done = [names_of(volume) for volume in volumes], str(model.folder), done
        if copy is not None:
            self._ask(copy)
        else:
            self._timer.start()

    def complete_copy(self, identity: VolumeIdentity) -> VolumeExport | None:
        """The copy of these volumes, if there is one and it is complete; it stays the check's."""
        copy = self._copy
        return copy if copy is not None and copy.is_complete and copy.identity == identity else None

    def take_copy(self, identity: VolumeIdentity) -> VolumeExport | None:
        """Hands over the copy of these volumes, complete or not, and drops the check; None if there is no copy."""
        if self._copy is None or self._copy.identity != identity:
            return None
        self._drop()
        copy, self._copy = self._copy, None
        return copy

    def stop(self) -> None:
        """Drops the check and its copy."""
        self._drop()
        self._discard()

    def _copy_step(self) -> None:
        copy = self._copy
        if copy is None:
            return
        try:
            complete = copy.is_complete or copy.write_chunk(_SHARE_OF_LOOP_SECONDS)
        except AutoMedSAMError:
            # The run that follows reports what is wrong with the disk.
            self._discard()
            self._answer([])
            return
        if complete:
            self._ask(copy)
        else:
            self._timer.start()

    def _ask(self, copy: VolumeExport) -> None:
        message = {
            "op": "check",
            "volume": copy.description,
            "model": self._folder,
            "names": self._names,
        }
        self._asked = self._engine.send(message, self._on_event, lambda _details: self._answer([]))

    def _on_event(self, event: Message) -> None:
        self._answer(event.get("warnings", []))

    def _answer(self, warnings: list[Message]) -> None:
        self._asked = None
        done, self._done = self._done, None
        if done is not None:
            done(warnings)

    def _drop(self) -> None:
        self._timer.stop()
        asked, self._asked, self._done = self._asked, None, None
        if asked is not None:
            self._engine.discard(asked)

    def _discard(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            self._exchange.discard(copy.path)


def names_of(volume: slicer.vtkMRMLScalarVolumeNode) -> dict[str, str]:
    """What a volume is called: "name", and the DICOM tags that describe its acquisition, where Slicer knows them."""
    instances = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    tags = _dicom_tags(instances[0]) if instances else {}
    return {"name": volume.GetName() or "", **tags}


def _dicom_tags(instance: str) -> dict[str, str]:
    database: Any = getattr(slicer, "dicomDatabase", None)
    if database is None:
        return {}
    try:
        found = {name: database.instanceValue(instance, tag) for name, tag in _TAGS.items()}
    except Exception:
        # The database is closed, or the series was removed from it: the name alone is known.
        return {}
    return {name: str(value) for name, value in found.items() if value}
