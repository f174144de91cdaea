"""Asks the engine to compare a result with a reference, and to write it as DICOM SEG."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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


class ResultRequests:
    """Requests about results; each is answered by `done` or by `failed` with a sentence, one after the other.

    Args:
        engine: The engine.
        files: Where labels are shared with it.
    """

    def __init__(self, engine: EngineClient, files: SharedFiles) -> None:
        self._engine, self._files = engine, files
        self._waiting: deque[_Request] = deque()
        self._timer = SingleShot(0, self._step)

    def compare(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        found: tuple[slicer.vtkMRMLSegmentationNode, Sequence[str]],
        reference: slicer.vtkMRMLSegmentationNode,
        done: Callable[[Message], None],
        failed: Callable[[str], None],
    ) -> None:
        """Dice of some segments with those of a reference.

        Args:
            volume: Its grid is that of both.
            found: The segmentation, and the IDs of its segments that count.
            reference: The other segmentation.
            done: Called with the "evaluated" event.
            failed: Called with a sentence.

        Raises:
            AutoMedSAMError: If one of them is on another grid or has no segments. That segments overlap is found later.
        """
        labels, truth = self._exported(found[0], volume, found[1]), self._exported(reference, volume)
        message = {
            "op": "evaluate",
            "labels": labels.description,
            "segments": labels.segments,
            "reference": truth.description,
            "reference_segments": truth.segments,
        }
        self._start(_Request(message, (labels, truth), done, failed))

    def export(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        found: tuple[slicer.vtkMRMLSegmentationNode, Sequence[str]],
        files: tuple[Sequence[str], Path],
        done: Callable[[Message], None],
        failed: Callable[[str], None],
    ) -> None:
        """Write segments as DICOM SEG.

        Args:
            volume: The volume that was segmented.
            found: The segmentation, and the IDs of its segments that are written.
            files: The DICOM files of the volume, and the file to write.
            done: Called with the "exported" event.
            failed: Called with a sentence.

        Raises:
            AutoMedSAMError: If a segment is on another grid. That segments overlap is found later.
        """
        labels = self._exported(found[0], volume, found[1])
        message = {
            "op": "export",
            "labels": labels.description,
            "segments": labels.segments,
            "files": list(files[0]),
            "output": str(files[1]),
        }
        self._start(_Request(message, (labels,), done, failed))

    def stop(self) -> None:
        """Drops the requests that were not sent yet."""
        self._timer.stop()
        while self._waiting:
            self._discard(self._waiting.popleft())

    def _exported(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        segment_ids: Sequence[str] | None = None,
    ) -> LabelExport:
        return LabelExport(segmentation, volume, self._files.new_path("result"), segment_ids)

    def _start(self, request: _Request) -> None:
        self._waiting.append(request)
        self._timer.start()

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
