"""The module's panel: connects its parts with the logic and the scene, and receives a run's events."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from AutoMedSAMLib.engine.cohort_requests import CohortRequests
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.logic import AutoMedSAMLogic
from AutoMedSAMLib.model.box_history import BoxState
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message, Outcome, RunInfo, RunRequest
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.panel.boxes import BoxesPanel
from AutoMedSAMLib.panel.calls import PanelCalls
from AutoMedSAMLib.panel.compare_button import CompareButton
from AutoMedSAMLib.panel.confidence import ConfidencePanel
from AutoMedSAMLib.panel.input_warnings import InputWarnings
from AutoMedSAMLib.panel.inputs import InputsPanel
from AutoMedSAMLib.panel.object_table import ObjectTable
from AutoMedSAMLib.panel.prompts.panel import PromptCalls, PromptPanel
from AutoMedSAMLib.panel.run_controls import RunPanel
from AutoMedSAMLib.panel.scene_runs import SceneRuns
from AutoMedSAMLib.panel.worklist import Worklist, WorklistCalls, settings_of
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene import terms
from AutoMedSAMLib.scene.parameters import Parameters


class AutoMedSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Choose a model and an image, click Apply, check the boxes. It is the listener of the runs that it starts."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._is_open = False

    def setup(self) -> None:
        """Slicer calls this once, when the module is opened for the first time. Nothing is computed or installed."""
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/AutoMedSAM.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)

        self.logic = AutoMedSAMLogic()
        self.parameters = Parameters()
        self._run: RunInfo | None = None
        self._propagating = self._scene_gone = False
        # The box table when the present run was started, and when the last one was that wrote; with the run.
        self._before: BoxState | None = None
        self._last_before: BoxState | None = None
        self._wrote = False
        self.run_panel = RunPanel(self.ui, self.onApplyButton, self.onCancelButton, self.onUndoButton)
        show_status = self.run_panel.show_status
        clear_status = self.run_panel.clear_status
        self.inputs = InputsPanel(self.ui, self.parameters, self.logic, show_status, clear_status)
        self.warnings = InputWarnings(self.ui.inputWarningLabel, self.logic, self.inputs.request, show_status)
        calls = PanelCalls(self.inputs.request, self._propagate, show_status, self._on_table_replaced)
        self.boxes = BoxesPanel(self.ui, self.parameters, self.logic, calls)
        self.confidence = ConfidencePanel(
            self.ui, lambda: self.boxes.table, lambda: self.boxes.volume, show_status, clear_status
        )

        self.compare = CompareButton(self.ui, self.logic, self.run_panel, self._comparison_request, self._on_comparing)
        self.objects = ObjectTable(
            self.ui, self.boxes, self.logic.result_requests, lambda: self.inputs.model, show_status
        )
        prompt_calls = PromptCalls(
            self.inputs.request, self.inputs.missing_input, self._accepts_terms, show_status, clear_status
        )
        self.prompts = PromptPanel(self.ui, self.logic, self.boxes, self.confidence.strip, prompt_calls)

        self.cohorts = CohortRequests(self.logic.engine, self.logic.exchange)
        self.scene_runs = SceneRuns(self._run_on, self.run_panel.show_status)
        self.worklist = Worklist(self.ui, self.cohorts, self._worklist_calls())

        self._nodes_changed_soon = SingleShot(0, self._on_nodes_changed)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, lambda *_: self._nodes_changed_soon.start())
        self._finishing = self._reopening = False
        self._unobserve = self.parameters.observe(self.update)
        self.update()

    def enter(self) -> None:
        """The user opens the module."""
        self._is_open = True
        self.inputs.choose_defaults()
        self.update()
        self.warnings.listen(True)
        self.objects.watch_database(True)
        self.confidence.watch()
        self.boxes.steps.listen(True)
        self.prompts.enter()

    def exit(self) -> None:
        """The user goes to another module; a run continues."""
        self._is_open = False
        self.warnings.listen(False)
        self.objects.watch_database(False)
        self.confidence.unwatch()
        self.boxes.steps.listen(False)
        self.prompts.exit()
        self.boxes.hide_box()

    def cleanup(self) -> None:
        """The module is closed or reloaded."""
        self._unobserve()
        self.removeObservers()
        self._nodes_changed_soon.stop()
        self.warnings.stop()
        self.objects.watch_database(False)
        self.prompts.stop()
        self.scene_runs.stop()
        self.cohorts.stop()
        self.logic.close()
        self.confidence.stop()
        self.boxes.stop()

    def onReload(self) -> None:
        """Slicer's Reload: the whole library is read again, not only the file that Slicer itself reads.

        A script that imported the library before keeps what it imported.
        """
        old = [child for child in self.parent.children() if child.isWidgetType()]
        for name in [name for name in sys.modules if _is_reloaded(name)]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        # Slicer only hides them.
        for child in old:
            child.deleteLater()
        if self._is_open:
            slicer.modules.AutoMedSAMWidget.enter()

    def update(self) -> None:
        """Shows the settings of the parameter node."""
        if self._finishing or slicer.mrmlScene.IsBatchProcessing():
            return
        model = self.inputs.model
        self.inputs.update()
        if self.inputs.model is not model:
            self.boxes.set_model(self.inputs.model)
            self.prompts.set_model(self.inputs.model)
        if not self.logic.is_running:
            self.boxes.show_threshold()
            if self.boxes.restore():
                self._show_results()
            self.boxes.update_buttons()
            self.warnings.update()
        self._update_ready()

    def onApplyButton(self) -> None:
        """Looks for boxes and segments what they show."""
        request = self.inputs.request()
        if request is None:
            return
        if not request.model.has_detector:
            self._apply_prompts(request.model)
            return
        if not self._accepts_terms(request.model):
            return
        self.warnings.before_run(request, lambda: self._apply(request))

    def _apply_prompts(self, model: Model) -> None:
        """A model without a detector segments what the user shows it."""
        if self.ui.propagateButton.enabled:
            self.ui.propagateButton.click()
        elif len(self.boxes.table):
            self.run_panel.show_status(self.ui.propagateButton.toolTip)
        else:
            message = _(
                "The model {model} finds nothing by itself: draw a box around an object, or click on it with Points."
            )
            self.run_panel.show_status(message.format(model=model.name))

    def _accepts_terms(self, model: Model) -> bool:
        """Whether the terms of a model are accepted; asks where they were not yet."""
        if not terms.must_be_shown(model):
            return True
        if not questions.accepts_terms(model, self.ui.applyButton.window()):
            message = _("The terms of the model {model} were not accepted: nothing was run.")
            self.run_panel.show_status(message.format(model=model.name))
            return False
        terms.accept(model)
        return True

    def _apply(self, request: RunRequest) -> None:
        if self.logic.has_result(request):
            choice = questions.replace_or_beside(request.volumes[0].GetName(), self.ui.applyButton.window())
            if choice is None:
                return
            request = replace(request, replace=choice == "replace")
        self._begin(lambda: self.logic.start(request, self), propagating=False)

    def onCancelButton(self) -> None:
        """Stops the run; finished slices stay."""
        self.run_panel.show_cancelling()
        self.cohorts.cancel()
        self.logic.cancel()

    def onUndoButton(self) -> None:
        """Takes the last run back, its boxes too."""
        edits, before = self.logic.edits_at_stake(), self._last_before
        if edits and not questions.may_undo_edits(edits, self.ui.undoButton.window()):
            return
        if self.logic.undo() and before is not None:
            self._last_before = None
            self.boxes.undo_run(before)
            self._show_results()
            self.run_panel.show_status(_("The segmentation and the boxes are as they were before the last run."))
        self._update_ready()

    # Events of the run; see `RunListener`

    def on_started(self, run: RunInfo) -> None:
        if self._scene_gone:
            return
        self._run = run
        self.warnings.show_found(run.request, run.warnings)
        self.parameters.segmentation = run.segmentation
        self.ui.deviceLabel.text = run.device
        if not self._propagating:
            self.boxes.start(run)
            self._show_results()

    def on_progress(self, fraction: float, text: str) -> None:
        self.run_panel.show_progress(fraction, text)

    def on_boxes(self, boxes: list[Message]) -> None:
        if not self._scene_gone and not self._propagating:
            self.boxes.receive_boxes(boxes)

    def on_tracklets(self, tracklets: list[Message]) -> None:
        # Propagation only repeats the objects that it was given, without what was rejected from them.
        if not self._scene_gone and not self._propagating and self.boxes.receive_tracklets(tracklets):
            self._show_results()

    def on_slices(self, slices: list[int]) -> None:
        self._wrote = True
        if not self._scene_gone:
            self.confidence.mark_written(slices)

    def on_finished(self, outcome: Outcome) -> None:
        # Each change of the parameter node would update the panel; once at the end is enough.
        self._finishing = True
        try:
            self._show_finished(outcome)
        finally:
            self._finishing = False
        self.update()

    # Within

    def _show_finished(self, outcome: Outcome) -> None:
        self._set_running(False)
        if self._reopening and self._run is not None and outcome.status == "finished":
            self.worklist.note_result(self._run.segmentation)
        self._reopening = False
        self.run_panel.show_outcome(outcome)
        self.scene_runs.finished(self._run, outcome)
        wrote = self._wrote or outcome.status == "finished"
        if self._run is not None and self._before is not None and not self._scene_gone:
            self.boxes.finish(outcome, self._run, self._before, wrote)
            if wrote:
                self._last_before = self._before
                if not self._propagating:
                    self.boxes.steps.note_run(_("Apply"), self._before)
            self._show_results()
            if outcome.status == "finished" and not self._propagating:
                self.boxes.show_best()
        self._run, self._scene_gone = None, False

    def _propagate(self, request: RunRequest, boxes: list[Message], tracklets: list[Message]) -> None:
        self._begin(lambda: self.logic.propagate(request, boxes, tracklets, self), propagating=True)

    def _begin(self, start: Callable[[], None], propagating: bool) -> None:
        self._before, self._propagating, self._wrote = self.boxes.state(), propagating, False
        self._set_running(True)
        self.run_panel.show_running()
        try:
            start()
        except AutoMedSAMError as error:
            self._reopening = False
            self._set_running(False)
            self.run_panel.show_outcome(Outcome("failed", str(error), error.details))
            self._update_ready()

    def _set_running(self, running: bool) -> None:
        self.inputs.set_running(running)
        self.boxes.set_running(running)
        self.prompts.set_running(running)
        self.worklist.update()

    def _worklist_calls(self) -> WorklistCalls:
        def settings() -> Message | None:
            parameters = self.parameters
            return settings_of(self.inputs.model, parameters.backend, parameters.threshold, parameters.plane)

        return WorklistCalls(
            self.inputs.choose_model,
            self._show_case,
            self._run_on_scene,
            lambda: self.logic.is_running or self.cohorts.is_running,
            settings,
            self.run_panel.show_status,
            self.run_panel.show_progress,
            self._on_cohort,
        )

    def _show_case(self, folder: Path, case: str, volumes: list[Any]) -> None:
        for index, volume in enumerate(volumes):
            self.parameters.set_volume(index, volume)
        slicer.util.setSliceViewerLayers(background=volumes[0], fit=True)
        request = self.inputs.request()
        if request is None:
            self.run_panel.show_status(self.inputs.missing_input())
            return
        # As the cohort was run, whatever is set for the next run.
        request = replace(request, threshold=None, plane=None, slices=None)
        self._reopening = True
        self._begin(lambda: self.logic.reopen(request, folder, case, self), propagating=False)

    def _run_on_scene(self) -> None:
        model = self.inputs.model
        if model is not None and model.has_detector and self._accepts_terms(model):
            self.scene_runs.start(model)

    def _run_on(self, volume: Any) -> str:
        """Starts a run on an image of the scene; a sentence if it cannot."""
        self.parameters.slices = None
        self.parameters.set_volume(0, volume)
        request = self.inputs.request()
        if request is None:
            return self.inputs.missing_input()
        self._begin(lambda: self.logic.start(request, self), propagating=False)
        return "" if self.logic.is_running else self.ui.statusLabel.text

    def _on_cohort(self, running: bool, message: str) -> None:
        self._set_running(running)
        if running:
            self.run_panel.show_running()
        else:
            self.run_panel.show_outcome(Outcome("failed" if message else "finished", message))
            self.update()

    def _comparison_request(self) -> RunRequest | None:
        request = self.inputs.request()
        return request if request is not None and self._accepts_terms(request.model) else None

    def _on_comparing(self, running: bool) -> None:
        self._set_running(running)
        if not running:
            self._scene_gone = False
            self.update()

    def _on_table_replaced(self) -> None:
        self._show_results()

    def _show_results(self) -> None:
        self.confidence.update()
        self.objects.update()

    def _update_ready(self) -> None:
        missing = self.inputs.missing_input()
        self.run_panel.show_ready(missing, self.logic.can_undo)
        self.compare.update(self.inputs.model, missing)

    def _on_nodes_changed(self) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self.inputs.choose_defaults()
            self._update_ready()

    def _on_scene_closing(self, *_: Any) -> None:
        if self.logic.is_running:
            self._scene_gone = True
            self.logic.cancel()
        self.run_panel.forget()
        self.prompts.forget()
        self.boxes.clear()
        self._show_results()


def _is_reloaded(module: str) -> bool:
    """Whether a module belongs to the panel: this library, and what the engine shares with it."""
    return module.split(".", maxsplit=1)[0] == "AutoMedSAMLib" or f"{module}.".startswith("automedsam.contract.")
