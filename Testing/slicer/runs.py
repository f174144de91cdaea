"""What the tests of runs share: a listener that remembers, an engine that says what a test tells it, and looks."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import slicer

from AutoMedSAMLib.model.bundle_info import find_model
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.scene.shared_labelmap import segment_mask_on_grid


class Recorder:
    """A listener that remembers all it is told. `reactions` are called as things happen, by the name of the call."""

    def __init__(self, **reactions: Callable[..., None]) -> None:
        self.run: Any = None
        self.outcomes: list[Any] = []
        self.progress: list[tuple[float, str]] = []
        self.boxes: list[dict[str, Any]] = []
        self.tracklets: list[dict[str, Any]] = []
        self.slices: list[int] = []
        self._reactions = reactions

    @property
    def outcome(self) -> Any:
        return self.outcomes[0] if self.outcomes else None

    def on_started(self, run: Any) -> None:
        self.run = run
        self._react("started", run)

    def on_progress(self, fraction: float, text: str) -> None:
        self.progress.append((fraction, text))
        self._react("progress", text)

    def on_boxes(self, boxes: list[dict[str, Any]]) -> None:
        self.boxes += boxes
        self._react("boxes", boxes)

    def on_tracklets(self, tracklets: list[dict[str, Any]]) -> None:
        self.tracklets = tracklets
        self._react("tracklets", tracklets)

    def on_slices(self, slices: list[int]) -> None:
        self.slices += slices
        self._react("slices", slices)

    def on_finished(self, outcome: Any) -> None:
        self.outcomes.append(outcome)
        self._react("finished", outcome)

    def _react(self, what: str, told: Any) -> None:
        if what in self._reactions:
            self._reactions[what](told)


class ScriptedEngine:
    """Stands for the engine's process: keeps what it is sent, and says what a test has it say.

    Hand `ScriptedEngine.start` to what starts engines; each start appends itself to `started`.
    """

    started: ClassVar[list["ScriptedEngine"]] = []

    def __init__(self, on_line: Callable[[str], None], on_ended: Callable[[str], None]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.killed = False
        self._on_line, self.die = on_line, on_ended
        ScriptedEngine.started.append(self)
        self.say(event="ready", protocol=1, version="0.1.0", pid=1)

    @property
    def asked(self) -> dict[str, Any]:
        """The last request, cancelling left out."""
        return [message for message in self.sent if message["op"] != "cancel"][-1]

    def say(self, **event: Any) -> None:
        self._on_line(json.dumps(event))

    def answer(self, **event: Any) -> None:
        self.say(id=self.asked["id"], **event)

    def begin(self, shape: tuple[int, int, int], axis: int = 0) -> np.ndarray:
        """Begins the run that was asked for, and returns the labels (K, J, I), all zero, to be filled."""
        labels = np.lib.format.open_memmap(self.asked["labels"], mode="w+", dtype=np.uint8, shape=shape)
        self.answer(
            event="started",
            plane="axial",
            axis=axis,
            slices=[0, shape[axis] - 1],
            threshold=0.4,
            device="CPU: INT8 needs no PyTorch",
            model={"name": "glioma", "version": "0.1.0", "hash": "abc"},
            engine="0.1.0",
        )
        self.answer(event="stage", stage="segment", total=shape[axis])
        return labels

    def finish(self, objects: int = 1, tracklets: Any = ()) -> None:
        report = {"seconds": {}, "slices": 1, "segmented_slices": 1, "objects": objects, "volume_ml": {}}
        report |= {"peak_memory_mb": 1.0, "device": "CPU"}
        self.answer(event="finished", report=report, tracklets=list(tracklets), confidence=[], crops={})

    def write(self, line: str) -> None:
        self.sent.append(json.loads(line))

    def kill(self, wait_ms: int = 0) -> None:
        self.killed = True


def segment_slices(engine: Any, *slices: int) -> None:
    """Has a scripted engine finish these slices."""
    for number in slices:
        engine.labels[number, 4:9, 5:11] = 1
        engine.answer(event="slice", slice=number)


def request_for(volume: Any, segmentation: Any = None, model: str = "glioma", **settings: Any) -> RunRequest:
    return RunRequest((volume,), segmentation, find_model(model), **settings)


def ijk_to_ras(volume: Any) -> np.ndarray:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def labels_in(segmentation: Any, volume: Any, segment_ids: dict[int, str]) -> np.ndarray:
    """The segments' voxels on the volume's grid (K, J, I), as label values; the two must be in one space."""
    labels = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for value, segment_id in segment_ids.items():
        content = segment_mask_on_grid(
            segmentation.GetSegmentation().GetSegment(segment_id), labels.shape, ijk_to_ras(volume)
        )
        assert content is not None, "the segment is not on the volume's grid"
        labels[content] = value
    return labels


def everything_in(segmentation: Any) -> dict[str, Any]:
    """All that a person would miss: names, colours, tags, voxels and surfaces of every segment, in their order."""
    from vtk.util.numpy_support import vtk_to_numpy

    found: dict[str, Any] = {}
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        image = segment.GetRepresentation("Binary labelmap")
        voxels = None if image is None or image.IsEmpty() else vtk_to_numpy(image.GetPointData().GetScalars()).copy()
        surface = segment.GetRepresentation("Closed surface")
        display = segmentation.GetDisplayNode()
        found[segment_id] = {
            "name": segment.GetName(),
            "color": segment.GetColor(),
            "label": segment.GetLabelValue(),
            "extent": image and image.GetExtent(),
            "voxels": None if voxels is None else (voxels == segment.GetLabelValue()).tobytes(),
            "surface": surface and surface.GetNumberOfPoints(),
            "visible": display and display.GetSegmentVisibility(segment_id),
            "opacity": display and display.GetSegmentOpacity3D(segment_id),
        }
    return found
