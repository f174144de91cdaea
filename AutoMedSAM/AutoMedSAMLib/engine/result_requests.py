"""Asks the engine to compare a result with a reference, and to write it as DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from AutoMedSAMLib.engine.client import EngineClient
from AutoMedSAMLib.engine.label_queue import LabelQueue
from AutoMedSAMLib.engine.shared_files import SharedFiles
from AutoMedSAMLib.model.run import Message


class ResultRequests:
    """Requests about results; each is answered by `done` or by `failed` with a sentence, one after the other.

    Args:
        engine: The engine.
        files: Where labels are shared with it.
    """

    def __init__(self, engine: EngineClient, files: SharedFiles) -> None:
        self._queue = LabelQueue(engine, files)

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
        labels = self._queue.export(found[0], volume, found[1])
        truth = self._queue.export(reference, volume)
        message = {
            "op": "evaluate",
            "labels": labels.description,
            "segments": labels.segments,
            "reference": truth.description,
            "reference_segments": truth.segments,
        }
        self._queue.send(message, (labels, truth), done, failed)

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
        labels = self._queue.export(found[0], volume, found[1])
        message = {
            "op": "export",
            "labels": labels.description,
            "segments": labels.segments,
            "files": list(files[0]),
            "output": str(files[1]),
        }
        self._queue.send(message, (labels,), done, failed)

    def stop(self) -> None:
        """Drops the requests that were not sent yet."""
        self._queue.stop()
