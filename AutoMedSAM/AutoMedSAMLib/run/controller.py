"""One run from its start to its end, a little at each turn of the event loop."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.client import EngineClient, PendingRequest, engine_stopped
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
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.run.progress import Progress
from AutoMedSAMLib.scene.closed_surface import surface_steps, wants_surfaces
from AutoMedSAMLib.scene.output_segmentation import OutputNode
from AutoMedSAMLib.scene.provenance import provenance_of
from AutoMedSAMLib.scene.segment_writer import Mode, SegmentWriter
from AutoMedSAMLib.scene.sequences import describe_frame, frame_of

_SHARE_OF_LOOP_SECONDS = 0.02
_WRITE_EVERY_MS = 100


@dataclass(frozen=True)
class RunFiles:
    """The files that a run shares with the engine.

    Attributes:
        copy: the volume's copy, to be written or written already.
        labels: where the engine writes its labels.
    """

    copy: VolumeExport
    labels: Path


@dataclass(frozen=True)
class _Started:
    """What there is once the engine has begun."""

    run: RunInfo
    output: OutputNode
    writer: SegmentWriter


class RunController:
    """Copies the volume, asks the engine, writes its masks as they come, makes the surfaces, and calls a listener.

    Args:
        engine: the engine.
        request: what to segment.
        listener: receives the run's events.
        files: the files that it shares with the engine.
        message: the request to the engine, without the volume; "propagate" writes into the last run's segments,
            unless the request has it write beside them.
        ended: called before the listener's `on_finished`.
    """

    def __init__(
        self,
        engine: EngineClient,
        request: RunRequest,
        listener: RunListener,
        files: RunFiles,
        message: Message,
        ended: Callable[[RunController], None],
    ) -> None:
        self.request, self.files = request, files
        self._engine, self._listener, self._message = engine, listener, message
        self._again = message["op"] == "propagate" and not request.beside
        self._ended: Callable[[RunController], None] | None = ended
        self._asked: PendingRequest | None = None
        self._started: _Started | None = None
        self._slices: Any = None
        self._pending: set[int] = set()
        self._written: set[int] = set()
        self._boxes: list[Message] = list(message.get("boxes", []))
        self._frame = frame_of(request.volumes[0])
        self._notes: list[str] = []
        self._tracklets: list[Message] = []
        self._crops: Message = {}
        self._outcome: Outcome | None = None
        self._surfaces: Iterator[None] = iter(())
        self._progress = Progress(again=message["op"] == "propagate")
        self._began = time.perf_counter()
        self._timer, self._next_step = SingleShot(0, self._run_step), self._export_step
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
        """Ends the run at once; the listener is called before this returns, since the event loop may have ended."""
        if self._outcome is None:
            self._abort(_("The run was stopped."))
        self._notify_finished()

    def _schedule(self, milliseconds: int, todo: Callable[[], None]) -> None:
        self._next_step = todo
        self._timer.start(milliseconds)

    def _run_step(self) -> None:
        self._guard(self._next_step)

    def _guard(self, step: Callable[..., None], *arguments: object) -> None:
        """Calls a step. Qt drops uncaught exceptions, and the run would never end."""
        try:
            step(*arguments)
        except AutoMedSAMError as error:
            self._fail(failed(str(error), error.details))
        except Exception as error:
            logging.exception("AutoMedSAM: a run failed")
            self._fail(failed(_("The run failed ({error}).").format(error=error), traceback.format_exc()))

    def _notify(self, callback: Callable[..., None], *arguments: object) -> None:
        """Calls code that is not the run's own, such as a listener: its failure does not stop the run."""
        try:
            callback(*arguments)
        except Exception:
            logging.exception("AutoMedSAM: a listener failed")

    def _export_step(self) -> None:
        copy = self.files.copy
        if not copy.is_complete and not copy.write_chunk(_SHARE_OF_LOOP_SECONDS):
            self._notify(self._listener.on_progress, self._progress.copied(copy.fraction), self._progress.text)
            self._schedule(0, self._export_step)
            return
        self._progress.enter("load")
        self._report_progress()
        message = {**self._message, "volume": copy.description, "labels": str(self.files.labels)}
        self._asked = self._engine.send(message, lambda event: self._guard(self._on_event, event), self._engine_died)

    def _on_event(self, event: Message) -> None:
        if self._outcome is None:
            getattr(self, f"_on_{event['event']}", self._on_other)(event)

    def _on_started(self, event: Message) -> None:
        output = OutputNode(self.request.segmentation, self.request.volumes[0], self.request.model)
        try:
            started = self._begin_writing(event, output)
        except Exception:
            output.remove_if_new()
            raise
        self._started = started
        self._notify(self._listener.on_started, started.run)
        self._schedule(0, self._write)

    def _begin_writing(self, event: Message, output: OutputNode) -> _Started:
        request, volume = self.request, self.request.volumes[0]
        axis, slices = int(event["axis"]), (int(event["slices"][0]), int(event["slices"][1]))
        mode: Mode = "again" if self._again else "replace" if request.replace else "beside"
        writer = SegmentWriter(output.node, request.model, volume, axis, slices=slices, mode=mode)
        labels = np.load(self.files.labels, mmap_mode="r", allow_pickle=False)
        self._slices = np.moveaxis(labels, axis, 0)
        run = RunInfo(
            request,
            output.node,
            plane=event["plane"],
            axis=axis,
            slices=slices,
            threshold=float(event["threshold"]),
            device=event["device"],
            provenance=provenance_of(request, event, self._frame),
            warnings=event.get("warnings", []),
            segment_ids=writer.segment_ids,
        )
        return _Started(run, output, writer)

    def _on_stage(self, event: Message) -> None:
        self._progress.enter(event["stage"], int(event["total"]))
        self._report_progress()

    def _on_boxes(self, event: Message) -> None:
        self._boxes += event["boxes"]
        self._notify(self._listener.on_boxes, event["boxes"])
        self._on_progress(event)

    def _on_tracklets(self, event: Message) -> None:
        # Files of masks are gone when the run is over.
        self._tracklets = [{name: one[name] for name in one if name != "masks"} for one in event["tracklets"]]
        self._notify(self._listener.on_tracklets, self._tracklets)

    def _on_slice(self, event: Message) -> None:
        if not self._pending:
            self._schedule(_WRITE_EVERY_MS, self._write)
        self._pending.add(int(event["slice"]))
        self._on_progress(event)

    def _on_progress(self, event: Message) -> None:
        self._progress.count(event)
        self._report_progress()

    def _on_finished(self, event: Message) -> None:
        self._crops = event["crops"]
        self._on_tracklets(event)
        # Even if an event was lost, the segmentation holds in the end what the engine holds.
        if self._started is not None:
            # With it, `automedsam replay` makes the result again from a file that Slicer saved.
            self._started.run.provenance["replay"] = event.get("provenance", {})
            first, last = self._started.run.slices
            self._pending.update(range(first, last + 1))
        self._finish_with(finished(event))

    def _on_cancelled(self, event: Message) -> None:
        self._crops = event.get("crops", {})
        self._finish_with(cancelled(len(self._written | self._pending), event.get("confidence", [])))

    def _on_error(self, event: Message) -> None:
        message = event["message"]
        if not event.get("user_error"):
            message = _("The engine failed ({error}).").format(error=message)
        self._finish_with(failed(message, event.get("details", "")))

    def _on_other(self, event: Message) -> None:
        logging.warning("AutoMedSAM: the engine sent an unknown event: %s", event["event"])

    def _engine_died(self, details: str) -> None:
        if self._outcome is None:
            self._guard(self._finish_with, failed(engine_stopped(), details))

    def _finish_with(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._schedule(0, self._write)

    def _write(self) -> None:
        if self._started is None:
            # It ended before it began.
            self._end(self._outcome or cancelled(0))
            return
        writer, will_write = self._started.writer, self._pending or self._outcome is None
        if will_write and not writer.prepare(_SHARE_OF_LOOP_SECONDS):
            self._schedule(0, self._write)
            return
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        changed: list[int] = []
        batch = sorted(self._pending)
        while batch and time.perf_counter() < until:
            some, batch = batch[:8], batch[8:]
            changed += writer.write({number: np.array(self._slices[number]) for number in some})
            self._pending.difference_update(some)
        self._written.update(changed)
        if changed:
            self._notify(self._listener.on_slices, changed)
        if self._pending:
            self._schedule(0, self._write)
        elif self._outcome is not None:
            self._finalize(self._started, self._outcome)

    def _finalize(self, started: _Started, outcome: Outcome) -> None:
        """Everything is written. A run that finished leaves its segments, even if they are empty."""
        if outcome.status == "finished":
            started.writer.install()
        self._write_provenance()
        if outcome.status == "finished" and self._again:
            # The engine's number misses slices that were kept by hand, and those of earlier runs.
            report = outcome.report | {"volume_ml": started.writer.volumes_ml()}
            self._outcome = replace(outcome, report=report)
        self._notes = self._find_notes()
        if self.has_written and wants_surfaces(started.writer):
            self._progress.enter("surface")
            self._report_progress()
            self._surfaces = surface_steps(started.writer)
        self._schedule(0, self._make_surfaces)

    def _write_provenance(self) -> None:
        """Writes where the segments come from: without that, the next run would take them for the user's own."""
        if self._started is not None and self.has_written:
            run, output, writer = self._started.run, self._started.output, self._started.writer
            writer.finish(run.provenance)
            output.describe(run.provenance, self._boxes, self._tracklets, self._crops, again=self._again)

    def _find_notes(self) -> list[str]:
        """What else the user should know about the result, a sentence each."""
        if self._started is None or not self.has_written:
            return []
        kept = kept_by_hand(len(self._started.writer.kept_by_hand))
        return [note for note in (kept, self._started.output.warning(), describe_frame(self._frame)) if note]

    def _make_surfaces(self) -> None:
        until = time.perf_counter() + _SHARE_OF_LOOP_SECONDS
        while time.perf_counter() < until:
            if next(self._surfaces, self) is self:
                self._end(self._outcome or cancelled(0))
                return
        self._schedule(0, self._make_surfaces)

    def _report_progress(self) -> None:
        self._notify(self._listener.on_progress, self._progress.fraction, self._progress.text)

    def _scene_closes(self, _scene: vtk.vtkObject, _event: str) -> None:
        self._abort(_("The scene was closed, so the run was stopped."))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_goes(self, _scene: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if node in self.request.volumes:
            self._abort(_("The volume was deleted, so the run was stopped; finished slices are kept."))
        elif (self._started is not None and node is self._started.output.node) or node is self.request.segmentation:
            self._abort(_("The output segmentation was deleted, so the run was stopped."))

    def _abort(self, message: str) -> None:
        """Nodes are going: nothing more is written."""
        self._fail(Outcome("cancelled", message))

    def _fail(self, outcome: Outcome) -> None:
        if self._asked is not None and self._outcome is None:
            self._engine.discard(self._asked)
        self._notify(self._write_provenance)
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        """Releases everything; the listener is called at the next turn of the event loop."""
        scene = slicer.mrmlScene
        while self._tags:
            scene.RemoveObserver(self._tags.pop())
        changed = len(self._written) if self._again else None
        run = None if self._started is None else self._started.run
        outcome = concluded(outcome, run, time.perf_counter() - self._began, changed)
        self._outcome = replace(outcome, message=" ".join([outcome.message, *self._notes]))
        self._slices = None
        self._pending.clear()
        self._surfaces = iter(())
        self._schedule(0, self._notify_finished)

    def _notify_finished(self) -> None:
        self._timer.stop()
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._started is not None and not self.has_written:
            self._started.output.remove_if_new()
        ended(self)
        self._notify(self._listener.on_finished, self._outcome)

    @property
    def has_written(self) -> bool:
        """Whether the segmentation has segments of this run."""
        return self._started is not None and self._started.writer.is_installed

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The node that is written into; None as long as the engine has not begun."""
        return None if self._started is None else self._started.output.node

    @property
    def can_undo(self) -> bool:
        """Whether what was written is still there to be taken back."""
        return self.has_written and bool(slicer.mrmlScene.IsNodePresent(self.segmentation))

    def edits_at_stake(self) -> int:
        """How many slices of the result were edited since; `undo` takes those edits back as well."""
        return self._started.writer.edits_at_stake() if self._started is not None and self.can_undo else 0

    def undo(self) -> None:
        """Takes back all that this run has written, and nothing else."""
        if self._started is not None:
            self._started.writer.undo()
            self._started.output.restore()
