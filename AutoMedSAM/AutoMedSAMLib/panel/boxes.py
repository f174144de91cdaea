"""The Boxes part of the panel: what was found, the user's corrections, and what is then segmented again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_history import BoxState
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.run import Message, Outcome, RunInfo, RunRequest
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.panel.box_buttons import BoxButtons, ButtonState
from AutoMedSAMLib.panel.box_editor import BoxEditor
from AutoMedSAMLib.panel.box_linker import BoxLinker
from AutoMedSAMLib.panel.box_placement import place_of_new_box
from AutoMedSAMLib.panel.box_result import BoxResult, read_table
from AutoMedSAMLib.panel.box_selection import BoxSelection
from AutoMedSAMLib.panel.box_steps import BoxSteps
from AutoMedSAMLib.panel.box_summary import summary, why_not_propagate
from AutoMedSAMLib.panel.box_tree import BoxTree
from AutoMedSAMLib.panel.calls import PanelCalls
from AutoMedSAMLib.panel.threshold_slider import ThresholdSlider
from AutoMedSAMLib.qt_timers import SingleShot
from AutoMedSAMLib.scene import slice_views
from AutoMedSAMLib.scene.parameters import Parameters
from AutoMedSAMLib.scene.planes import display_name

_PLAIN = (1.0, 0.85, 0.2)


class BoxesPanel:
    """Connects the box table, its tree, the box in the slice views and the score slider.

    Args:
        ui: the panel's widgets by name.
        parameters: where the table and the threshold are kept.
        logic: what links boxes; an `AutoMedSAMLogic`.
        calls: the rest of the panel.
    """

    def __init__(self, ui: Any, parameters: Parameters, logic: Any, calls: PanelCalls) -> None:
        self._ui, self._parameters, self._logic = ui, parameters, logic
        # Called after boxes, what is selected, or what can be done with it, have changed.
        self.on_updated: list[Callable[[], None]] = []
        self._request, self._propagate = calls.request, calls.propagate
        self._show_status, self.on_replaced = calls.show_status, calls.on_replaced
        self.model: Model | None = None
        self._text = ""
        self.running = self._dragging = False
        self.table = BoxTable()
        # The table of a run that has not linked its boxes yet, with its volume and segmentation.
        self._incoming: BoxState | None = None
        self._result = BoxResult(parameters, self.update_buttons)
        self.tree = BoxTree(ui.boxTree, self._on_selected, self._on_ticked)
        self.selection = BoxSelection(self.tree, lambda: self._shown)
        self._buttons = BoxButtons(ui, self._on_add)
        self.editor = BoxEditor(self._on_box_moved, self._on_box_dropped)
        self.steps = BoxSteps(ui, self.state, self._restore)
        # Ticks arrive from within the tree's own events, where it must not be refilled.
        self._refresh_soon = SingleShot(0, self.refresh)
        self._slider = ThresholdSlider(ui, parameters, lambda: self.table, self.steps, self._link_and_refresh)
        self._linker = BoxLinker(logic, self._link_input, self._on_linked, calls.show_status)
        self._connect()
        self.refresh()

    # From the widget

    @property
    def volume(self) -> Any:
        """The volume that the boxes belong to; None if there is none, or if it was removed."""
        return self._result.volume

    @property
    def segmentation(self) -> Any:
        """The segmentation that shows the boxes; None if there is none, or if it was removed."""
        return self._result.segmentation

    def state(self) -> BoxState:
        """The table as it is now, with what belongs to it."""
        return BoxState(self.table.copy(), *self._result.ids, self._parameters.threshold)

    def set_model(self, model: Model | None) -> None:
        """Takes the names and colours of the labels from the model, and its own threshold."""
        self.model = model
        self._slider.set_model(model)
        segments = model.segments if model else []
        self.tree.set_segments(segments)
        self._buttons.set_segments(segments)
        self.show_threshold()
        self.refresh()

    def show_threshold(self) -> None:
        """Sets the slider to the threshold in the parameter node, or the model's own."""
        self._slider.show()

    def restore(self) -> bool:
        """Shows the table that the parameter node holds; False if it is the one that is shown already."""
        text = self._parameters.boxes
        if text == self._text:
            return False
        self.table, self._text = read_table(text, self._show_status), text
        self.steps.clear()
        self._result.watch()
        self.hide_box()
        self.refresh()
        return True

    def adopt(self, table: BoxTable, request: RunRequest) -> None:
        """Shows a new table for a request that no run has answered yet; the earlier one can be had back by undo."""
        output = request.segmentation
        volume_id, output_id = request.volumes[0].GetID(), None if output is None else output.GetID()
        self._take(BoxState(table, volume_id, output_id, request.threshold), copied=False)

    def clear(self) -> None:
        """Forgets the boxes, but not those that are kept in the parameter node."""
        self.table, self._text, self._incoming = BoxTable(), "", None
        self.steps.clear()
        self._result.stop()
        self._linker.stop()
        self.hide_box()
        self.refresh()

    def start(self, run: RunInfo) -> None:
        """A run with detection begins: its table replaces the present one when its boxes are linked."""
        self.hide_box()
        request = run.request
        table = BoxTable(run.axis, run.plane, run.slices, request.model.hash, run.threshold)
        self._incoming = BoxState(table, request.volumes[0].GetID(), run.segmentation.GetID(), request.threshold)
        if not len(self.table):
            self._result.refer(self._incoming.volume_id, None)
        self.refresh()

    def receive_boxes(self, boxes: list[Message]) -> None:
        """Boxes of one more slice."""
        if self._incoming is not None:
            self._incoming.table.receive_boxes(boxes)
            if not self._refresh_soon.active:
                self._refresh_soon.start()

    def receive_tracklets(self, tracklets: list[Message]) -> bool:
        """Sets which boxes make up which object; returns whether the run's table is shown from now on."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            self.table = incoming.table
            self._result.refer(incoming.volume_id, incoming.segmentation_id)
        self.table.receive_tracklets(tracklets)
        self._refresh_soon.start()
        return incoming is not None

    def set_running(self, running: bool) -> None:
        """While a run is in progress, the boxes cannot be changed."""
        self.running = running
        if running:
            self._linker.stop()
            self._ui.editButton.checked = False
        self.update_buttons()

    def finish(self, outcome: Outcome, run: RunInfo, before: BoxState, wrote: bool) -> None:
        """A run is over: what was segmented is noted, and saved.

        Args:
            outcome: how it ended.
            run: the run.
            before: the state when it was started.
            wrote: whether it has changed the segmentation; if not, the table is again what it was.
        """
        self._incoming = None
        if not wrote:
            self._take(before)
            return
        self.table.is_new = False
        if outcome.confidence or outcome.status == "finished":
            self.table.judge(outcome.confidence)
            self.table.measures = outcome.objects
        self._result.refer(self._result.ids[0], run.segmentation.GetID())
        if outcome.status == "finished":
            self.table.mark_segmented(str(run.provenance.get("run", "")))
        self.save()
        self.refresh()

    def undo_run(self, before: BoxState) -> None:
        """The last run was taken back from the segmentation: the table of before it comes back, as one more step."""
        self.steps.note(_("Undo run"))
        self._take(before)

    def show_best(self) -> None:
        """Goes to the object of the highest score, unless the views show one already."""
        volume = self.volume
        at = None if volume is None else slice_views.current_slice(volume, self.table.axis)
        best = self.table.best_box(at)
        if best is not None and volume is not None:
            self.tree.select(best)

    def hide_box(self) -> None:
        """Takes the box out of the slice views."""
        self._dragging = False
        self._ui.editButton.checked = False
        self.editor.hide()

    def stop(self) -> None:
        """Stops for good."""
        self.on_updated.clear()
        self._refresh_soon.stop()
        self._linker.stop()
        self._result.stop()
        self.steps.listen(False)
        self.editor.hide()

    def refresh(self) -> None:
        """Fills the tree and updates the line below it."""
        self.tree.fill(self._shown, detecting=self._shown is not self.table)
        incoming = None if self._incoming is None else self._incoming.table
        self._ui.boxHintLabel.text = summary(self.table, incoming)
        self.update_buttons()

    def update_buttons(self) -> None:
        """Enables the buttons for the present choice of volume and model, and explains them."""
        self.steps.show(enabled=not self.running)
        state = ButtonState(
            running=self.running,
            selected=len(self.selection.ids()) + len(self.tree.selected_objects()) + len(self.tree.selected_prompts()),
            one_row=self.tree.selected_box() is not None,
            any_accepted=self.selection.any_accepted() or bool(self.tree.selected_prompts()),
            why_not_add="" if self.volume is not None and self.model else _("Click Apply first."),
            why_not_propagate=self._why_not_propagate(),
            why_propagate=self._why_propagate(),
            one_object=self.tree.is_object_selected(),
        )
        self._buttons.show(state)
        for call in self.on_updated:
            call()

    def _connect(self) -> None:
        ui = self._ui
        ui.rejectButton.connect("clicked(bool)", lambda *_: self._on_reject())
        ui.editButton.connect("toggled(bool)", lambda *_: self._show_selected())
        delete = qt.QShortcut(qt.QKeySequence(qt.QKeySequence.Delete), ui.boxTree)
        delete.setContext(qt.Qt.WidgetShortcut)
        delete.connect("activated()", ui.rejectButton.click)
        ui.seedButton.connect("clicked(bool)", lambda *_: self._on_seed())
        ui.propagateButton.connect("clicked(bool)", lambda *_: self._on_propagate())

    def _on_selected(self) -> None:
        volume, box, at = self.volume, self.selection.box(), self.tree.selected_slice()
        if volume is not None and box is not None:
            slice_views.jump_to_box(volume, box.bounds, self.table.axis)
        elif volume is not None and at is not None:
            slice_views.jump_to_slice(volume, self.table.axis, at)
        self._show_selected()
        self.update_buttons()

    def _on_ticked(self, ids: list[int], accepted: bool, keys: list[int]) -> None:
        if not self.running:
            self._change(ids, accepted, keys)
        self._refresh_soon.start()

    def _on_reject(self) -> None:
        prompts = self.tree.selected_prompts()
        accepted = not self.selection.any_accepted() and not prompts
        self._change(self.selection.ids(), accepted, self.tree.selected_objects(), prompts)
        self.refresh()

    def _change(self, ids: list[int], accepted: bool, keys: list[int], prompts: Sequence[tuple[int, int]] = ()) -> None:
        self.steps.note(_("use") if accepted else _("ignore"))
        self.table.use_prompts(keys, used=accepted)
        self.table.remove_prompts(prompts)
        if accepted:
            self.table.accept(ids)
            self._linker.link_soon()
        else:
            self.table.reject(ids)
        self.save()

    def _on_box_moved(self, bounds: list[float]) -> None:
        box = self.selection.box()
        if box is not None:
            if not self._dragging:
                self.steps.note(_("edit"))
                self._dragging = True
            self.table.edit(box.id, bounds)
            self.tree.show_bounds_changed(self.table[box.id])
            self.update_buttons()

    def _on_box_dropped(self) -> None:
        self._dragging = False
        self.save()

    def _on_seed(self) -> None:
        box_id = self.tree.selected_box()
        if box_id is not None:
            self.steps.note(_("seed"))
            self.table.choose_seed(box_id)
            self.save()
            self.refresh()

    def _on_add(self, label: int | None) -> None:
        volume = self.volume
        if volume is None or self.model is None:
            return
        label, group, at, bounds = place_of_new_box(volume, self.table.axis, self.selection, self.tree, label)
        label = label or self.model.segments[0]["value"]
        if bounds is None or at is None:
            message = _("Open a view of {plane} slices first, then add the box there.")
            self._show_status(message.format(plane=display_name(self.table.plane)))
            return
        self.steps.note(_("add"))
        box = self.table.add(at, bounds, label, group)
        self.save()
        self._linker.link_soon()
        self.refresh()
        self.tree.select(box.id)
        self._ui.editButton.checked = True

    def _on_propagate(self) -> None:
        request = self.own_request()
        if request is not None:
            boxes, tracklets = self.table.propagation()
            if not tracklets and not questions.may_empty(self._ui.propagateButton.window()):
                return
            self._propagate(replace(request, beside=self.table.is_new), boxes, tracklets)

    @property
    def _shown(self) -> BoxTable:
        """The table that is shown: the boxes of a run as they come, where there were none before."""
        return self._incoming.table if self._incoming is not None and not len(self.table) else self.table

    def _restore(self, state: BoxState) -> None:
        self._take(self._result.restored(state, self.table))

    def _take(self, state: BoxState, *, copied: bool = True) -> None:
        self.hide_box()
        self._linker.stop()
        self.table = state.table.copy() if copied else state.table
        self._result.refer(state.volume_id, state.segmentation_id)
        self.save()
        self._parameters.threshold = state.threshold
        self.show_threshold()
        if len(self.table) and not self.table.is_linked:
            self._linker.link_soon()
        self.refresh()
        self.on_replaced()

    def _link_input(self) -> tuple[BoxTable, RunRequest] | None:
        """What is to be linked; None during a run, or if the boxes belong to another volume or model."""
        request = self.own_request()
        return None if request is None or self.running or not len(self.table) else (self.table, request)

    def _link_and_refresh(self) -> None:
        self._refresh_soon.start()
        self._linker.link_soon()

    def _on_linked(self) -> None:
        self.save()
        self.refresh()

    def own_request(self) -> RunRequest | None:
        """A request for the run that these boxes come from, with the other settings as they are now."""
        request = self._request()
        if request is None or self._is_from_other_run(request):
            return None
        table, output = self.table, self._result.segmentation or request.segmentation
        return replace(request, segmentation=output, plane=table.plane, slices=table.slices, threshold=table.threshold)

    def _is_from_other_run(self, request: RunRequest) -> bool:
        return request.model.hash != self.table.model or request.volumes[0] != self.volume

    def save(self) -> None:
        self._text = self.table.to_text() if len(self.table) else ""
        self._parameters.boxes = self._text

    def _show_selected(self) -> None:
        """Outlines the selected box in the slice views, with handles while Edit is down."""
        volume, box = self.volume, self.selection.box()
        if volume is None or box is None:
            self.editor.hide()
            return
        color = self.color_of(box.label)
        editing = bool(self._ui.editButton.checked) and self.tree.selected_box() is not None
        self.editor.show(volume, self.table.axis, box.bounds, color, editing)

    def color_of(self, label: int) -> Sequence[float]:
        """The color of a label's segment, 0 to 1."""
        segments = self.model.segments if self.model else []
        return next((one["color"] for one in segments if one["value"] == label), _PLAIN)

    def _why_not_propagate(self) -> str:
        if self.running:
            return _("Wait until the run is finished, or cancel it.")
        request = self._request()
        foreign = request is not None and self._is_from_other_run(request)
        return why_not_propagate(self.table, request is not None, foreign, bool(self._why_propagate()))

    def _why_propagate(self) -> str:
        """Why propagating makes sense although no box has changed; empty if it does not, or if one has."""
        return "" if self.model is None or self.volume is None else self._result.why_stale(self.table, self.model)
