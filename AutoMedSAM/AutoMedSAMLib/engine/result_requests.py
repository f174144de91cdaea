"""Asks the engine to compare a result with a reference, and to write it as DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from AutoMedSAMLib.engine.client import EngineClient, engine_stopped
from AutoMedSAMLib.engine.shared_files import SharedFiles
from AutoMedSAMLib.model.run import Message
from AutoMedSAMLib.scene.geometry import grid_of
from AutoMedSAMLib.scene.label_map import label_map


class ResultRequests:
    """Requests about results; each is answered by `done` or by `failed` with a sentence.

    Args:
        engine: The engine.
        files: Where labels are shared with it.
    """

    def __init__(self, engine: EngineClient, files: SharedFiles) -> None:
        self._engine, self._files = engine, files

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
            AutoMedSAMError: If one of them is on another grid, or its segments overlap.
        """
        labels, segments = label_map(found[0], volume, found[1])
        truth, others = label_map(reference, volume)
        message = {
            "op": "evaluate",
            "labels": self._shared(labels, volume, found[0].GetName()),
            "segments": segments,
            "reference": self._shared(truth, volume, reference.GetName()),
            "reference_segments": others,
        }
        self._ask(message, "evaluated", done, failed)

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
            AutoMedSAMError: If a segment is on another grid, or segments overlap.
        """
        labels, segments = label_map(found[0], volume, found[1])
        message = {
            "op": "export",
            "labels": self._shared(labels, volume, found[0].GetName()),
            "segments": segments,
            "files": list(files[0]),
            "output": str(files[1]),
        }
        self._ask(message, "exported", done, failed)

    def _shared(self, labels: NDArray[np.uint8], volume: slicer.vtkMRMLScalarVolumeNode, name: str) -> Message:
        path = self._files.new_path("result")
        np.save(path, labels, allow_pickle=False)
        return {"path": str(path), "name": name, **grid_of(volume)}

    def _ask(
        self, message: Message, answer: str, done: Callable[[Message], None], failed: Callable[[str], None]
    ) -> None:
        paths = [Path(message[key]["path"]) for key in ("labels", "reference") if key in message]

        def ended(event: Message) -> None:
            for path in paths:
                self._files.discard(path)
            if event["event"] == answer:
                done(event)
            elif event["event"] == "error":
                failed(event["message"])

        self._engine.send(message, ended, lambda _: failed(engine_stopped()))
