"""A logic that segments nothing: it notes what the panel asks for, and tells what a test lets it tell."""

from typing import Any

import slicer

from AutoMedSAMLib.model.bundle_info import built_in_models
from AutoMedSAMLib.model.run import Outcome, RunInfo


class RecordedModelRequests:
    """Notes what the window of models asks for; a test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []
        self.removed: list[tuple[str, Any, Any]] = []
        self.transfers: list[tuple[str, str | None]] = []
        self.listener: Any = None
        self.cancelled = 0

    def ask(self, done: Any, failed: Any) -> None:
        self.asked.append((done, failed))

    def remove(self, name: str, done: Any, failed: Any) -> None:
        self.removed.append((name, done, failed))

    def download(self, name: str, detector: str | None, listener: Any) -> None:
        self.transfers.append((name, detector))
        self.listener = listener

    import_file = download

    def cancel(self) -> None:
        self.cancelled += 1


class RecordedResultRequests:
    """Notes what the table of objects asks for; a test answers."""

    def __init__(self) -> None:
        self.comparisons: list[tuple] = []
        self.exports: list[tuple] = []

    def compare(self, *arguments: Any) -> None:
        self.comparisons.append(arguments)

    def export(self, *arguments: Any) -> None:
        self.exports.append(arguments)


class RecordedLogic:
    """Stands in for `AutoMedSAMLogic` where a test is about the panel alone."""

    def __init__(self, _parent: Any = None) -> None:
        self.is_running = self.can_undo = self.closed = False
        self.cancelled = 0
        self.request: Any = None
        self.listener: Any = None
        self.propagated: tuple[list, list] | None = None
        self.links: list[tuple[list, float, Any]] = []
        self.devices: list[str] = []
        self.refusal: Exception | None = None
        # None leaves a check unanswered, until the test answers it.
        self.checks: list[tuple[Any, Any, Any]] = []
        self.warnings: list[dict[str, str]] | None = []
        self.run: Any = None
        self.has_a_result, self.edits = False, 0
        self.model_requests = RecordedModelRequests()
        # The worklist asks the engine itself, and only when it is used.
        self.engine = self.exchange = None
        self.result_requests = RecordedResultRequests()
        # The questions of previews; a test answers with `done` or `failed` of the last.
        self.previews: list[Any] = []
        self.dropped = 0
        self.warmed: list[str] = []

    def preview(self, question: Any) -> None:
        self.previews.append(question)

    def drop_preview(self) -> None:
        self.dropped += 1

    def warm_up(self, request: Any) -> None:
        self.warmed.append(request.model.name)

    def models(self) -> list:
        return built_in_models()

    def start(self, request: Any, listener: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.request, self.listener, self.is_running = request, listener, True

    def propagate(self, request: Any, boxes: list, tracklets: list, listener: Any) -> None:
        self.propagated = (boxes, tracklets)
        self.start(request, listener)

    def link(self, _request: Any, boxes: list, threshold: float, done: Any) -> None:
        self.links.append((boxes, threshold, done))

    def describe_device(self, backend: str, done: Any) -> None:
        self.devices.append(backend)
        done(f"CPU: {backend}")

    def check_input(self, volumes: Any, model: Any, done: Any) -> None:
        self.checks.append((volumes, model, done))
        if self.warnings is not None:
            done(self.warnings)

    def cancel(self) -> None:
        self.cancelled += 1

    def undo(self) -> bool:
        had, self.can_undo = self.can_undo, False
        return had

    def has_result(self, _request: Any) -> bool:
        return self.has_a_result

    def edits_at_stake(self) -> int:
        return self.edits

    def close(self) -> None:
        self.closed = True

    # What a test lets it tell

    def tell_started(self, axis: int = 0, plane: str = "axial", slices: tuple[int, int] = (0, 39)) -> RunInfo:
        node = self.request.segmentation or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
        threshold = self.request.threshold or self.request.model.threshold
        run = RunInfo(self.request, node, plane, axis, slices, threshold, "CPU: told by a test")
        self.run = run
        self.listener.on_started(run)
        return run

    def tell_finished(self, status: str = "finished", message: str = "Done.", confidence: tuple = (), **more: Any):
        self.is_running, self.can_undo = False, True
        if status == "finished":
            self._write_empty_segments()
        self.listener.on_finished(Outcome(status, message, confidence=list(confidence), **more))

    def _write_empty_segments(self) -> None:
        """What a run leaves in the segmentation even where nothing was found."""
        from AutoMedSAMLib.scene.segment_writer import SegmentWriter

        run, request = self.run, self.request
        mode = "again" if self.propagated is not None else "replace"
        run.segmentation.CreateDefaultDisplayNodes()
        writer = SegmentWriter(run.segmentation, request.model, request.volumes[0], run.axis, mode=mode)
        writer.install()
        writer.finish({"model": request.model.name, **run.provenance})


def a_box(number, slice_index, score=0.9, label=1, at=10.0, side=20.0, drawn=False):
    """A square box on an axial slice, as the engine sends it."""
    bounds = [at, at + side, at, at + side, float(slice_index), float(slice_index + 1)]
    return {"id": number, "slice": slice_index, "bounds": bounds, "score": score, "label": label, "drawn": drawn}


def a_tracklet(numbers, seed, label=1):
    """An object that is made up of these boxes, as the engine sends it."""
    return {"label": label, "seed": seed, "score": 0.9, "boxes": list(numbers), "gaps": []}
