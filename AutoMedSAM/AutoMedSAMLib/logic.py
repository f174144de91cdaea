"""What the module does, with or without its panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace as replace_fields
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from automedsam.contract.backends import Backend
from AutoMedSAMLib.engine import installation
from AutoMedSAMLib.engine.client import EngineClient
from AutoMedSAMLib.engine.input_check import InputCheck
from AutoMedSAMLib.engine.model_requests import ModelRequests
from AutoMedSAMLib.engine.process import QtEngineProcess, StartProcess
from AutoMedSAMLib.engine.prompt_files import write_masks
from AutoMedSAMLib.engine.questions import EngineQuestions, common_fields
from AutoMedSAMLib.engine.result_requests import ResultRequests
from AutoMedSAMLib.engine.shared_files import SharedFiles, VolumeExport, VolumeIdentity
from AutoMedSAMLib.engine.slice_preview import PreviewQuestion, SlicePreview
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model, built_in_models, find_model
from AutoMedSAMLib.model.run import Message, RunListener, RunRequest
from AutoMedSAMLib.run.blocking import BlockingRun
from AutoMedSAMLib.run.comparison import ComparisonController, ComparisonListener
from AutoMedSAMLib.run.controller import RunController, RunFiles
from AutoMedSAMLib.run.validation import VolumeNodes, check_request, check_volumes, in_order
from AutoMedSAMLib.scene import terms
from AutoMedSAMLib.scene.model_folder import installed_models
from AutoMedSAMLib.scene.provenance import read_boxes
from AutoMedSAMLib.scene.segment_ownership import managed_segments


class AutoMedSAMLogic(ScriptedLoadableModuleLogic):
    """Segments volumes in the engine's own process. One run at a time; nothing here waits, but for `process`.

    From the Python console, or a script:

    ```python
    from AutoMedSAM import AutoMedSAMLogic

    logic = AutoMedSAMLogic()
    segmentation = logic.process([slicer.util.getNode("FLAIR")], model="glioma", backend="INT8")
    slicer.util.saveNode(segmentation, "lesions.seg.nrrd")
    logic.close()
    ```

    Args:
        parent: what Slicer gives a module's logic.
        start_process: starts the engine's process; tests hand in another.
    """

    def __init__(self, parent: object = None, start_process: StartProcess = QtEngineProcess) -> None:
        ScriptedLoadableModuleLogic.__init__(self, parent)
        self.engine, self.exchange = EngineClient(start_process), SharedFiles()
        self._run: RunController | None = None
        self._comparison: ComparisonController | None = None
        self._last: RunController | None = None
        self._questions = EngineQuestions(self.engine)
        self._check = InputCheck(self.engine, self.exchange)
        self._preview = SlicePreview(self.engine, self.exchange)
        self._mask_files: list[Path] = []
        self.model_requests = ModelRequests(self.engine)
        self.result_requests = ResultRequests(self.engine, self.exchange)
        scene = slicer.mrmlScene
        self._scene_tags = [
            scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, lambda *_: self._forget()),
            scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._node_went),
        ]
        slicer.app.connect("aboutToQuit()", self.close)

    def models(self) -> list[Model]:
        """The built-in models, by name, and those that were downloaded or imported."""
        return [*built_in_models(), *installed_models()]

    def start(self, request: RunRequest, listener: RunListener) -> None:
        """Detects and segments. Returns at once; the listener receives the run's events.

        Raises:
            AutoMedSAMError: If the run cannot start: a volume is missing, volumes do not share a grid, a transform is
                not linear, another run is in progress, or something needed was not installed.
        """
        self._begin(request, listener, {"op": "segment", "threshold": request.threshold})

    def propagate(
        self, request: RunRequest, boxes: list[Message], tracklets: list[Message], listener: RunListener
    ) -> None:
        """Segments these objects, and no others, into the last run's segments; only changed slices are rewritten.

        Args:
            request: as for the last run; its threshold does not matter.
            boxes: boxes as the last run's listener received them, without the rejected, with those drawn by hand.
            tracklets: `label`, `seed` and `boxes` (ids) of each object, such as `link` returns; or more prompts, as
                `BoxTable.propagation` gives them.
            listener: receives the run's events.

        Raises:
            AutoMedSAMError: As `start` does.
        """
        # What the engine saw of each object, so that those that have not changed come out as they did.
        known = None if request.beside else request.segmentation
        seen = {} if known is None else read_boxes(known).get("crops", {})
        tracklets, masks = write_masks(tracklets, self.exchange)
        message = {"op": "propagate", "boxes": boxes, "tracklets": tracklets, "crops": seen}
        try:
            self._begin(request, listener, message)
        except AutoMedSAMError:
            self._discard_files(masks)
            raise
        self._mask_files = masks

    def reopen(self, request: RunRequest, folder: Path, case: str, listener: RunListener) -> None:
        """Shows the stored result of a case in a cohort's output folder as a run would; nothing is computed.

        Raises:
            AutoMedSAMError: As `start` does.
        """
        self._begin(request, listener, {"op": "reopen", "folder": str(folder), "case": case})

    def preview(self, question: PreviewQuestion) -> None:
        """Segments one object on one slice; nothing is written into the scene. A newer question drops an older one.

        Raises:
            AutoMedSAMError: If a run is in progress, the volumes do not fit the model, or something needed was not
                installed.
        """
        if self.is_running:
            raise AutoMedSAMError(_another_run())
        check_request(question.request)
        installation.ensure(question.request.backend)
        identity = VolumeIdentity.of(question.request.volumes)
        copy = self._complete_copy(identity) or self._check.complete_copy(identity) or self._check.take_copy(identity)
        self._preview.ask(question, copy)

    def drop_preview(self) -> None:
        """Drops the question of `preview`."""
        self._preview.drop()

    def warm_up(self, request: RunRequest) -> None:
        """Starts the engine with the model of a coming preview; nothing is asked or installed for it."""
        if installation.are_met() and not self.is_running:
            self._questions.load(request.model, request.backend)

    def link(
        self,
        request: RunRequest,
        boxes: list[Message],
        threshold: float | None,
        done: Callable[[list[Message]], None],
    ) -> None:
        """Links boxes to objects without detecting again.

        Args:
            request: the volume, the model and the slices that the boxes belong to.
            boxes: boxes as a listener received them.
            threshold: the score from which a box is accepted; the model's own if None.
            done: gets the tracklets; not called if another call comes first or the engine fails.

        Raises:
            AutoMedSAMError: If there is no volume.
        """
        check_volumes(request.volumes, request.model.modalities)
        self._questions.link(request, boxes, threshold, done)

    def describe_device(self, backend: str, done: Callable[[str], None]) -> None:
        """Calls `done` with one line on what "int8" or "fp32" would compute on, such as "CPU: no CUDA GPU found"."""
        self._questions.describe_device(backend, done)

    def check_input(
        self,
        volumes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: Model,
        done: Callable[[list[Message]], None],
    ) -> None:
        """Compares volumes with what a model was trained on; the window stays free, and the run reuses the copy.

        Args:
            volumes: one volume for each of the model's modalities, in its order.
            model: the model.
            done: called with the warnings, `{"code", "sentence"}` each; with none where the check is not possible,
                and never if another check or a run comes first.

        Raises:
            AutoMedSAMError: If the volumes do not fit together, or there is no room for a copy.
        """
        check_volumes(volumes, model.modalities)
        if not installation.are_met():
            done([])
            return
        self._check.start(volumes, model, self._complete_copy(VolumeIdentity.of(volumes)), done)

    def compare(self, request: RunRequest, listener: ComparisonListener) -> None:
        """Segments in INT8 and in FP32 and compares. Returns at once; adds a table and a segmentation at its end.

        Args:
            request: as for a run; its backend and output do not matter.
            listener: receives the progress, and the outcome with the new nodes.

        Raises:
            AutoMedSAMError: As `start` does, or if the model lacks the files of a precision.
        """
        if self.is_running:
            raise AutoMedSAMError(_another_run())
        model = request.model
        if model.no_comparison:
            raise AutoMedSAMError(model.no_comparison)
        check_request(replace_fields(request, backend=Backend.INT8.value, segmentation=None))
        installation.ensure(model.reference)
        message = common_fields(request) | {"op": "compare", "threshold": request.threshold}
        message["difference"] = str(self.exchange.new_path("difference"))
        copy = self._copy_of(request)
        self._comparison = ComparisonController(self.engine, request, listener, copy, message, self._comparison_ended)

    def cancel(self) -> None:
        """Ends the run or the comparison within a second; slices that are finished stay."""
        for one in (self._run, self._comparison):
            if one is not None:
                one.cancel()

    @property
    def is_running(self) -> bool:
        """Whether a run or a comparison is in progress."""
        return self._run is not None or self._comparison is not None

    @property
    def can_undo(self) -> bool:
        """Whether `undo` would do anything."""
        return not self.is_running and self._last is not None and self._last.can_undo

    def undo(self) -> bool:
        """Takes back what the last run wrote, and nothing else; whether there was anything to take back."""
        last = self._last
        if last is None or not self.can_undo:
            return False
        self._last = None
        last.undo()
        self._discard(last, keep=None)
        return True

    def edits_at_stake(self) -> int:
        """How many slices of the last run's result were edited since; `undo` takes those edits back too."""
        return self._last.edits_at_stake() if self._last is not None and self.can_undo else 0

    def has_result(self, request: RunRequest) -> bool:
        """Whether the output holds a result of this model for this volume, into which `replace` would write."""
        output = request.segmentation
        return output is not None and bool(managed_segments(output, request.model.name, request.volumes[0]))

    def process(  # noqa: PLR0913 (one call from a script: each setting of the panel, by its name)
        self,
        volumes: VolumeNodes,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        model: str | Path | Model = "glioma",
        backend: str = "INT8",
        threshold: float | None = None,
        plane: str | None = None,
        slices: tuple[int, int] | None = None,
        onProgress: Callable[[float, str], None] | None = None,
        replace: bool = False,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segments and waits for the result; the window stays live meanwhile.

        Args:
            volumes: one volume for each of the model's modalities, in its order, or by modality, such as
                `{"FLAIR": flair, "T1ce": t1ce}`; a single one may stand alone.
            segmentation: the node to write into; None makes a new one. Segments of other volumes, of other models
                and the user's own in it are never touched.
            model: a built-in or installed model's name, a bundle's folder, or a model.
            backend: "INT8" or "FP32".
            threshold: the score, above 0 and at most 1, from which a box is accepted; the model's own if None.
            plane: "axial", "coronal" or "sagittal"; that of the volume's acquisition if None.
            slices: first and last slice to look at, voxel indices along the slice axis, inclusive; all if None.
            onProgress: called with the share that is done, 0 to 1, and a line of text.
            replace: write into the segments of this model's result for this volume in `segmentation`, on `slices`,
                unless they were edited by hand there. If False, new segments are added beside it.

        Returns:
            The segmentation. Its segments are empty if nothing was found.

        Raises:
            AutoMedSAMError: If the run cannot start, fails, or is cancelled.
        """
        chosen = model if isinstance(model, Model) else find_model(model, installed_models())
        request = RunRequest(
            volumes=in_order(volumes, chosen.roles),
            segmentation=segmentation,
            model=chosen,
            backend=backend.lower(),
            threshold=threshold,
            plane=plane,
            slices=slices,
            replace=replace,
        )
        terms.log_once(request.model)
        waiting = BlockingRun(onProgress)
        self.start(request, waiting)
        return waiting.wait()

    def close(self) -> None:
        """Cancels the run in progress, ends the engine, and removes the temporary files."""
        if self._run is not None:
            self._run.close()
        if self._comparison is not None:
            self._comparison.close()
        self._check.stop()
        self._preview.stop()
        self.result_requests.stop()
        # Windows removes its files only once it has ended.
        self.engine.kill(wait_ms=1000)
        self._last = None
        self.exchange.close()
        while self._scene_tags:
            slicer.mrmlScene.RemoveObserver(self._scene_tags.pop())
            if not self._scene_tags:
                slicer.app.disconnect("aboutToQuit()", self.close)

    def _begin(self, request: RunRequest, listener: RunListener, message: Message) -> None:
        if self.is_running:
            raise AutoMedSAMError(_another_run())
        check_request(request)
        installation.ensure_run(request.model, request.backend)
        is_same = self._complete_copy(VolumeIdentity.of(request.volumes)) is not None
        copy = self._copy_of(request)
        again = message["op"] == "propagate" and not request.beside
        labels = self._last_labels(request) if again and is_same else None
        files = RunFiles(copy, labels or self.exchange.new_path("labels"))
        scene = slicer.mrmlScene
        if scene.GetUndoFlag():
            scene.SaveStateForUndo()
        message |= {"labels": str(files.labels), "backend": request.backend, **common_fields(request)}
        self._run = RunController(self.engine, request, listener, files, message, self._run_ended)

    def _last_labels(self, request: RunRequest) -> Path | None:
        """The last run's labels, with which an engine that is still running continues; None if there are none."""
        last = self._last
        return last.files.labels if last is not None and last.request.model == request.model and last.can_undo else None

    def _copy_of(self, request: RunRequest) -> VolumeExport:
        """A copy of the volumes: the last run's, a preview's or the input check's, else a new one to be written."""
        identity = VolumeIdentity.of(request.volumes)
        previewed = self._preview.take_copy(identity)
        copy = self._complete_copy(identity) or previewed or self._check.take_copy(identity)
        if previewed is not None and copy is not previewed:
            self.exchange.discard(previewed.path)
        return copy or VolumeExport(request.volumes, self.exchange.new_path("volume"))

    def _complete_copy(self, identity: VolumeIdentity) -> VolumeExport | None:
        """The last run's copy of the volumes, if it is complete and they have not changed since."""
        copy = None if self._last is None else self._last.files.copy
        return copy if copy is not None and copy.is_complete and copy.identity == identity else None

    def _comparison_ended(self, comparison: ComparisonController) -> None:
        self._comparison = None
        kept = None if self._last is None else self._last.files.copy.path
        for path in (comparison.difference, comparison.copy.path):
            if path != kept:
                self.exchange.discard(path)

    def _run_ended(self, run: RunController) -> None:
        """The files of a run that has written something stay for Propagate again, and so does its undo."""
        last, self._run = self._last, None
        self._discard_files(self._mask_files)
        if not run.has_written:
            self._discard(run, keep=last)
            return
        self._last = run
        if last is not None:
            self._discard(last, keep=run)

    def _discard_files(self, paths: list[Path]) -> None:
        while paths:
            self.exchange.discard(paths.pop())

    def _discard(self, run: RunController, keep: RunController | None) -> None:
        kept = () if keep is None else (keep.files.copy.path, keep.files.labels)
        for path in (run.files.copy.path, run.files.labels):
            if path not in kept:
                self.exchange.discard(path)

    def _node_went(self, _scene: vtk.vtkObject, _event: str) -> None:
        if self._last is not None and self._run is None:
            nodes = (*self._last.request.volumes, self._last.segmentation)
            if not all(slicer.mrmlScene.IsNodePresent(node) for node in nodes):
                self._forget()

    def _forget(self) -> None:
        """The scene was closed: there is nothing to undo, and the files are not needed any more."""
        self._check.stop()
        self._preview.stop()
        last, self._last = self._last, None
        if last is not None:
            self._discard(last, keep=None)


def _another_run() -> str:
    return _("Another run is in progress; wait for its end, or cancel it.")
