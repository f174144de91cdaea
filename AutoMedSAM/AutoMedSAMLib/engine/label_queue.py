"""Labels for the engine, written in turns of the event loop, and then the requests that need them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import slicer

from AutoMedSAMLib.engine.client import EngineClient
from AutoMedSAMLib.engine.label_export import LabelExport
from AutoMedSAMLib.engine.shared_files import SharedFiles
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.qt_timers import SingleShot

_SHARE_OF_LOOP_SECONDS = 0.02


@dataclass(frozen=True)
class _Request:
    """A request whose labels are being written.

    Attributes:
        message: What is sent then.
        labels: The files that it needs.
        done: Called with the answer.
        failed: Called with a sentence.
    """

    message: Message
    labels: tuple[LabelExport, ...]
    done: Callable[[Message], None]
    failed: Callable[[str], None]


class LabelQueue:
    """Writes the labels of one request after the other, and sends each request once its labels are written.

    Args:
        engine: The engine.
        files: Where labels are shared with it.
    """

    def __init__(self, engine: EngineClient, files: SharedFiles) -> None:
        self._engine, self._files = engine, files
        self._waiting: deque[_Request] = deque()
        self._timer = SingleShot(0, self._step)

    def export(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segments: Sequence[str] | Mapping[str, int] | None = None,
    ) -> LabelExport:
        """Segments as they are now, to be written; see `LabelExport`."""
        return LabelExport(segmentation, volume, self._files.new_path("labels"), segments)

    def send(
        self,
        message: Message,
        labels: Sequence[LabelExport],
        done: Callable[[Message], None],
        failed: Callable[[str], None],
    ) -> None:
        """Sends a request once its labels are written; they are removed after the answer.

        Args:
            message: The request.
            labels: The labels that it names.
            done: Called with the answer.
            failed: Called with a sentence.
        """
        self._waiting.append(_Request(message, tuple(labels), done, failed))
        self._timer.start()

    def stop(self) -> None:
        """Drops the requests that were not sent yet."""
        self._timer.stop()
        while self._waiting:
            self._discard(self._waiting.popleft())

    def _step(self) -> None:
        """Writes for a moment, so that the window stays live; sends the request once all of it is written."""
        request = self._waiting[0]
        try:
            if all(one.write_chunk(_SHARE_OF_LOOP_SECONDS) for one in request.labels):
                self._send(self._waiting.popleft())
        except AutoMedSAMError as error:
            if self._waiting and self._waiting[0] is request:
                self._waiting.popleft()
            self._discard(request)
            request.failed(str(error))
        if self._waiting:
            self._timer.start()

    def _send(self, request: _Request) -> None:
        def done(event: Message) -> None:
            self._discard(request)
            request.done(event)

        def failed(sentence: str) -> None:
            self._discard(request)
            request.failed(sentence)

        self._engine.ask(request.message, done, failed)

    def _discard(self, request: _Request) -> None:
        for one in request.labels:
            self._files.discard(one.path)
