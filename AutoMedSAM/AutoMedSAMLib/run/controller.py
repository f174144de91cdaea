"""One run from its start to its end, a little at each turn of the event loop."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from AutoMedSAMLib.engine.client import ENGINE_STOPPED, EngineClient, PendingRequest
from AutoMedSAMLib.engine.shared_files import VolumeExport
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import (
    Message,
    Outcome,
    RunInfo,
    RunListener,
    RunRequest,
    cancelled,
    concluded,
    failed,
    finished,
    kept_by_hand,
)
from AutoMedSAMLib.qt_timers import single_shot
from AutoMedSAMLib.run.progress import Progress
from AutoMedSAMLib.scene.closed_surface import surface_steps, wants_surfaces
from AutoMedSAMLib.scene.output_segmentation import OutputNode
from AutoMedSAMLib.scene.provenance import provenance_of
from AutoMedSAMLib.scene.segment_writer import SegmentWriter
from AutoMedSAMLib.scene.sequences import describe_frame, frame_of

_SHARE_OF_LOOP_SECONDS = 0.02
_WRITE_EVERY_MS = 100


class RunController:
    """Copies the volume, asks the engine, writes its masks as they come, makes the surfaces, and tells a listener.

    Args:
        engine: the engine.
        request: what to segment.
        listener: whom to tell.
        copy: the volume's copy, to be written or written already.
        labels: where the engine puts its labels.
        message: the request to the engine, but for the volume.
        again: write into the last run's segments.
        ended: called after the listener was told of the end.
    """

    def __init__(
        self,
        engine: EngineClient,
        request: RunRequest,
        listener: RunListener,
        copy: VolumeExport,
        labels: Path,
        message: Message,
        *,
        again: bool,
        ended: Callable[[RunController], None],
    ) -> None:
        self.request, self.copy, self.labels = request, copy, labels
        self.output: OutputNode | None = None
        self._engine, self._listener, self._message, self._again, self._ended = engine, listener, message, again, ended
        self._asked: PendingRequest | None = None
        self._run: RunInfo | None = None
        self._writer: SegmentWriter | None = None
        self._slices: Any = None
        self._pending: set[int] = set()
        self._written: set[int] = set()
        self._boxes: list[Message] = list(message.get("boxes", []))
        self._frame = frame_of(request.volumes[0])
        self._tracklets: list[Message] = []
        self._crops: Message = {}
        self._outcome: Outcome | None = None
        self._surfaces: Iterator[None] = iter(())
        self._progress, self._began = Progress(again=again), time.perf_counter()
        self._timer, self._next_step = single_shot(0, self._run_step), self._export_step
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._scene_closes),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._node_goes),
        ]
        self._schedule(0, self._export_step)

    def cancel(self) -> None:
        """Stops the run within a second; the slices that are finished are kept."""
        if self._outcome is not None:
            self._surfaces = iter(())
        elif self._asked is None:
            self._end(cancelled(0))
        else:
            self._engine.cancel(self._asked)

    def close(self) -> None:
        """Ends the run at once and tells the listener before returning: the event loop may not turn again."""
        if self._outcome is None:
            self._abort("The run was stopped.")
        self._notify_finished()

    def _schedule(self, milliseconds: int, todo: Callable[[], None]) -> None:
        self._next_step = todo
        self._timer.setInterval(milliseconds)
        self._timer.start()

    def _run_step(self) -> None:
        self._guard(self._next_step)

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """Qt drops an exception that nobody catches, and the run would go on for ever."""
        try:
            step(*arguments)
        except AutoMedSAMError as error:
            self._fail(failed(str(error), error.details))
        except Exception as error:
            logging.exception("AutoMedSAM: a run failed")
            self._fail(failed(f"The run failed ({error}).", traceback.format_exc()))

    def _notify(self, told: Callable[..., None], *arguments: object) -> None:
        """What is not the run's own, such as a listener, does not stop it by failing."""
        try:
            told(*arguments)
        except Exception:
            logging.exception("AutoMedSAM: a listener failed")

    def _export_step(self) -> None:
        if not self.copy.is_complete and not self.copy.write_chunk(_SHARE_OF_LOOP_SECONDS):
            self._notify(self._listener.on_progress, self._progress.copied(self.copy.fraction), self._progress.text)
            self._schedule(0, self._export_step)
            return
        self._progress.enter("load")
        self._tell_progress()
        message = {**self._message, "volume": self.copy.description, "labels": str(self.labels)}
        self._asked = self._engine.send(message, lambda event: self._guard(self._on_event, event), self._engine_died)

    def _on_event(self, event: Message) -> None:
        if self._outcome is None:
            getattr(self, f"_on_{event['event']}", self._on_other)(event)

    def _on_started(self, event: Message) -> None:
        request, volume = self.request, self.request.volumes[0]
        self.output = OutputNode(request.segmentation, volume, request.model)
        node = self.output.node
        axis, slices = int(event["axis"]), (int(event["slices"][0]), int(event["slices"][1]))
        mode = "again" if self._again else "replace" if request.replace else "beside"
        self._writer = SegmentWriter(node, request.model, volume, axis, slices=slices, mode=mode)
        labels = np.load(self.labels, mmap_mode="r", allow_pickle=False)
        self._slices = np.moveaxis(labels, axis, 0)
        self._run = RunInfo(
            request,
            node,
            plane=event["plane"],
            axis=axis,
            slices=slices,
            threshold=float(event["threshold"]),
            device=event["device"],
            provenance=provenance_of(request, event, self._frame),
            warnings=event.get("warnings", []),
            segment_ids=self._writer.segment_ids,
        )
        self._notify(self._listener.on_started, self._run)
        self._schedule(0, self._write)

    def _on_stage(self, event: Message) -> None:
        self._progress.enter(event["stage"], int(event["total"]))
        self._tell_progress()

    def _on_boxes(self, event: Message) -> None:
        self._boxes += event["boxes"]
        self._notify(self._listener.on_boxes, event["boxes"])
        self._on_progress(event)

    def _on_tracklets(self, event: Message) -> None:
        self._tracklets = event["tracklets"]
        self._notify(self._listener.on_tracklets, self._tracklets)

    def _on_slice(self, event: Message) -> None:
        if not self._pending:
            self._schedule(_WRITE_EVERY_MS, self._write)
        self._pending.add(int(event["slice"]))
        self._on_progress(event)

    def _on_progress(self, event: Message) -> None:
        self._progress.count(event)
        self._tell_progress()

    def _on_finished(self, event: Message) -> None:
        self._crops = event["crops"]
        self._on_tracklets(event)
        # Whatever the events said: in the end the segmentation holds what the engine holds.
        first, last = self._run.slices
        self._pending.update(range(first, last + 1))
        self._finish_with(finished(event))

    def _on_cancelled(self, event: Message) -> None:
        self._crops = event.get("crops", {})
        self._finish_with(cancelled(len(self._written | self._pending), event.get("confidence", [])))

    def _on_error(self, event: Message) -> None:
        message = event["message"] if event.get("user_error") else f"The engine failed ({event['message']})."
        self._finish_with(failed(message, event.get("details", "")))

    def _on_other(self, event: Message) -> None:
        logging.warning("AutoMedSAM: the engine said what nobody understands: %s", event["event"])

    def _engine_died(self, details: str) -> None:
        if self._outcome is None:
            self._guard(self._finish_with, failed(ENGINE_STOPPED, details))

    def _finish_with(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._schedule(0, self._write)

    def _write(self) -> None:
        will_write = self._pending or self._outcome is None
        if will_write and not self._writer.prepare(_SHARE_OF_LOOP_SECONDS):
            self._schedule(0, self._write)
            return
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        changed: list[int] = []
        batch = sorted(self._pending)
        while batch and time.perf_counter() < until:
            some, batch = batch[:8], batch[8:]
            changed += self._writer.write({number: np.array(self._slices[number]) for number in some})
            self._pending.difference_update(some)
        self._written.update(changed)
        if changed:
            self._notify(self._listener.on_slices, changed)
        if self._pending:
            self._schedule(0, self._write)
        elif self._outcome is not None:
            self._finalize()

    def _finalize(self) -> None:
        """Everything is written. A run that finished leaves its segments, even if they are empty."""
        if self._writer is None:
            self._end(self._outcome)
            return
        if self._outcome.status == "finished":
            self._writer.install()
        self._write_provenance()
        self._outcome = replace(self._outcome, message=" ".join([self._outcome.message, *self._notes()]))
        if self.has_written and wants_surfaces(self._writer):
            self._progress.enter("surface")
            self._tell_progress()
            self._surfaces = surface_steps(self._writer)
        self._schedule(0, self._make_surfaces)

    def _write_provenance(self) -> None:
        """Writes where the segments come from: without that, the next run would take them for a person's own."""
        if self.has_written:
            self._writer.finish(self._run.provenance)
            self.output.describe(self._run.provenance, self._boxes, self._tracklets, self._crops, again=self._again)

    def _notes(self) -> list[str]:
        """What else is to be known of the result, a sentence each."""
        if not self.has_written:
            return []
        notes = [kept_by_hand(len(self._writer.kept_by_hand)), self.output.warning(), describe_frame(self._frame)]
        return [note for note in notes if note]

    def _make_surfaces(self) -> None:
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        while time.perf_counter() < until:
            if next(self._surfaces, self) is self:
                self._end(self._outcome)
                return
        self._schedule(0, self._make_surfaces)

    def _tell_progress(self) -> None:
        self._notify(self._listener.on_progress, self._progress.fraction, self._progress.text)

    def _scene_closes(self, _scene: vtk.vtkObject, _event: str) -> None:
        self._abort("The scene was closed, so the run was stopped.")

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_goes(self, _scene: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if node in self.request.volumes:
            self._abort("The volume was deleted, so the run was stopped; finished slices are kept.")
        elif (self.output is not None and node is self.output.node) or node is self.request.segmentation:
            self._abort("The output segmentation was deleted, so the run was stopped.")

    def _abort(self, message: str) -> None:
        """Nodes are going: nothing more is written."""
        self._fail(Outcome("cancelled", message))

    def _fail(self, outcome: Outcome) -> None:
        if self._asked is not None and self._outcome is None:
            self._engine.discard(self._asked)
        self._notify(self._write_provenance)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        """Lets go of everything; the listener hears of it at the next turn of the event loop."""
        scene = slicer.mrmlScene
        while self._tags:
            scene.RemoveObserver(self._tags.pop())
        changed = len(self._written) if self._again else None
        outcome = concluded(outcome, self._run, time.perf_counter() - self._began, changed)
        self._outcome, self._slices = outcome, None
        self._pending.clear()
        self._surfaces = iter(())
        self._schedule(0, self._notify_finished)

    def _notify_finished(self) -> None:
        self._timer.stop()
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._timer.deleteLater()
        if self.output is not None and not self.has_written:
            self.output.remove_if_new()
        ended(self)
        self._notify(self._listener.on_finished, self._outcome)

    @property
    def has_written(self) -> bool:
        """Whether the segmentation has segments of this run."""
        return self._writer is not None and self._writer.is_installed

    @property
    def can_undo(self) -> bool:
        """Whether what was written is still there to be taken back."""
        return self.has_written and bool(slicer.mrmlScene.IsNodePresent(self.output.node))

    def edits_at_stake(self) -> int:
        """How many slices of the result somebody has edited since; `undo` takes those edits back as well."""
        return self._writer.edits_at_stake() if self.can_undo else 0

    def undo(self) -> None:
        """Takes back all that this run has written, and nothing else."""
        self._writer.undo()
        self.output.restore()
