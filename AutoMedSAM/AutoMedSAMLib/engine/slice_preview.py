"""Asks the engine for an object's mask on one slice, while its prompts are being given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from AutoMedSAMLib.engine.client import EngineClient, PendingRequest, engine_stopped
from AutoMedSAMLib.engine.input_check import names_of
from AutoMedSAMLib.engine.prompt_files import write_masks
from AutoMedSAMLib.engine.shared_files import SharedFiles, VolumeExport, VolumeIdentity
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message, RunRequest
from AutoMedSAMLib.qt_timers import SingleShot

_SHARE_OF_LOOP_SECONDS = 0.02


@dataclass(frozen=True)
class PreviewMask:
    """An object on one slice.

    Attributes:
        slice: voxel index along the slice axis.
        mask: `(rows, columns)`: the volume's axes without the slice axis, in the order of `(K, J, I)`.
        score: the model's own estimate of the mask's quality, 0 to 1.
        seconds: how long the engine took.
    """

    slice: int
    mask: NDArray[np.bool_]
    score: float
    seconds: float


@dataclass(frozen=True)
class PreviewQuestion:
    """What is asked.

    Attributes:
        request: the volumes, the model and the plane.
        boxes: the object's boxes, as the engine has them.
        tracklet: the object; masks are `MaskPrompt`s.
        slice: voxel index along the slice axis.
        done: called with the answer; never if another question comes first.
        failed: called with a sentence instead.
    """

    request: RunRequest
    boxes: list[Message]
    tracklet: Message
    slice: int
    done: Callable[[PreviewMask], None]
    failed: Callable[[str], None]


class SlicePreview:
    """One question at a time: a newer one takes the place of an older one. Volumes are copied bit by bit first.

    Args:
        engine: the engine.
        exchange: where voxels are exchanged.
    """

    def __init__(self, engine: EngineClient, exchange: SharedFiles) -> None:
        self._engine, self._exchange = engine, exchange
        self._copy: VolumeExport | None = None
        self._question: PreviewQuestion | None = None
        self._asked: PendingRequest | None = None
        self._files: list[Path] = []
        self._timer = SingleShot(0, self._copy_step)

    def ask(self, question: PreviewQuestion, copy: VolumeExport | None) -> None:
        """Asks.

        Args:
            question: what.
            copy: a copy of the volumes, complete or not, if there is one; it stays its owner's if it is complete.

        Raises:
            AutoMedSAMError: If there is no room for a copy.
        """
        self.drop()
        identity = VolumeIdentity.of(question.request.volumes)
        if copy is not None and copy.is_complete:
            self._send(question, copy)
            return
        if copy is not None:
            self._discard()
            self._copy = copy
        elif self._copy is None or self._copy.identity != identity:
            self._discard()
            self._copy = VolumeExport(question.request.volumes, self._exchange.new_path("volume"))
        self._question = question
        self._timer.start()

    def take_copy(self, identity: VolumeIdentity) -> VolumeExport | None:
        """Hands over the copy of these volumes, complete or not, and drops the question; None if there is none."""
        self.drop()
        if self._copy is None or self._copy.identity != identity:
            return None
        copy, self._copy = self._copy, None
        return copy

    def drop(self) -> None:
        """Drops the question: nothing is called any more."""
        self._timer.stop()
        self._question = None
        asked, self._asked = self._asked, None
        if asked is not None:
            self._engine.discard(asked)
        self._remove_files()

    def stop(self) -> None:
        """Drops the question and the copy."""
        self.drop()
        self._discard()

    def _copy_step(self) -> None:
        copy, question = self._copy, self._question
        if copy is None or question is None:
            return
        try:
            if copy.is_complete or copy.write_chunk(_SHARE_OF_LOOP_SECONDS):
                self._question = None
                self._send(question, copy)
            else:
                self._timer.start()
        except AutoMedSAMError as error:
            self._discard()
            self.drop()
            question.failed(str(error))

    def _send(self, question: PreviewQuestion, copy: VolumeExport) -> None:
        (tracklet,), self._files = write_masks([question.tracklet], self._exchange)
        mask = self._exchange.new_path("preview")
        self._files.append(mask)
        request = question.request
        message = {
            "op": "preview",
            "volume": copy.description,
            "model": str(request.model.folder),
            "backend": request.backend,
            "device": "auto",
            "plane": request.plane,
            "slices": request.slices,
            "names": [names_of(volume) for volume in request.volumes],
            "boxes": question.boxes,
            "tracklets": [tracklet],
            "slice": question.slice,
            "mask": str(mask),
        }

        def answered(event: Message) -> None:
            self._asked = None
            self._on_event(question, event)
            self._remove_files()

        def died(_details: str) -> None:
            self._asked = None
            self._remove_files()
            question.failed(engine_stopped())

        self._asked = self._engine.send(message, answered, died)

    def _on_event(self, question: PreviewQuestion, event: Message) -> None:
        if event["event"] == "error":
            question.failed(event["message"])
        elif event["event"] == "preview":
            mask = np.load(event["mask"], allow_pickle=False) > 0
            question.done(PreviewMask(int(event["slice"]), mask, float(event["score"]), float(event["seconds"])))

    def _remove_files(self) -> None:
        while self._files:
            self._exchange.discard(self._files.pop())

    def _discard(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            self._exchange.discard(copy.path)
