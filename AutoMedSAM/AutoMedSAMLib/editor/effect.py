"""Boxes and points on the selected segment of the Segment Editor, propagated through the volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from AutoMedSAMLib.editor.modifier import add_to_segment
from AutoMedSAMLib.editor.options import EffectOptions, OptionCalls
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.logic import AutoMedSAMLogic
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.prompt_record import PointPrompt
from AutoMedSAMLib.model.run import Outcome, RunInfo, RunRequest, SilentListener
from AutoMedSAMLib.panel import questions
from AutoMedSAMLib.panel.prompts.draw_tool import DrawnBox, DrawTool
from AutoMedSAMLib.panel.prompts.new_table import is_prompted, new_table
from AutoMedSAMLib.panel.prompts.preview import Preview
from AutoMedSAMLib.scene import terms
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.hidden_markup import remove_with_display
from AutoMedSAMLib.scene.planes import display_name
from AutoMedSAMLib.scene.prompt_points import PromptPoints
from AutoMedSAMLib.scene.shared_labelmap import segment_mask_on_grid
from AutoMedSAMLib.scene.slice_mouse import mouse_event

_ICON = Path(__file__).resolve().parents[2] / "Resources" / "Icons" / "AutoMedSAM.png"


class AutoMedSAMEffect(SilentListener):
    """The effect, but for what Slicer's base class does. It listens to the runs that it starts.

    The object that is prompted is a box table of its own. A run writes into a segmentation node that nobody sees; its
    result is then handed to the editor, which honors its masking settings.
    """

    def set_up(self, effect: Any) -> None:
        """Called by the constructor; the editor makes several of these, of which only one is ever used."""
        effect.name = "AutoMedSAM"  # no tr: a name
        effect.title = "AutoMedSAM"  # no tr: a name
        effect.perSegment = True
        effect.requireSegments = True
        self._effect = effect
        self._logic: Any = None
        self._preview: Any = None
        self._options: Any = None
        self._table: BoxTable | None = None
        self._hidden: Any = None
        self._run: RunInfo | None = None
        self._target: tuple[Any, str] | None = None
        self._points = PromptPoints()
        self._tool = DrawTool(self._volume, self._on_box, self._on_point)
        self._active = False

    # Called by the Segment Editor

    def icon(self) -> Any:
        return qt.QIcon(str(_ICON))

    def helpText(self) -> str:
        return _(
            "<html>Segment with boxes and points<br><ul>"
            "<li>Drag a box around the object, or click on it with Points.</li>"
            "<li>Click with Shift where it is not.</li>"
            "<li>Propagate tracks it through the volume and adds it to the selected segment.</li>"
            "</ul><p>Research software. Not for clinical use.</p></html>"
        )

    def setupOptionsFrame(self) -> None:
        self._logic = AutoMedSAMLogic()
        models = [model for model in self._logic.models() if len(model.modalities) == 1 and model.precisions]
        calls = OptionCalls(self._tool.choose, self._clear, self._on_propagate, self._clear)
        self._options = EffectOptions(self._effect, models, calls)
        self._preview = Preview(self._logic, self._options.say, self._options.unsay)

    def activate(self) -> None:
        self._active = True
        self._tool.choose("box" if self._options.box_button.checked else "point")

    def deactivate(self) -> None:
        self._active = False
        self._tool.choose("")
        if self._logic is not None:
            self._logic.cancel()
            self._clear()

    def cleanup(self) -> None:
        self.deactivate()
        if self._logic is not None:
            self._logic.close()

    def sourceVolumeNodeChanged(self) -> None:
        if self._options is not None and self._run is None:
            self._clear()

    def createCursor(self, _widget: Any) -> Any:
        return qt.QCursor(qt.Qt.CrossCursor)

    def setMRMLDefaults(self) -> None:
        """There are no settings in the scene."""

    def updateGUIFromMRML(self) -> None:
        """Another segment may have been selected: prompts are for one."""
        if self._options is not None and self._target is not None and self._target != self._selected():
            self._clear()

    def updateMRMLFromGUI(self) -> None:
        """There are no settings in the scene."""

    def processInteractionEvents(self, interactor: Any, event_id: int, widget: Any) -> bool:
        """Takes the left button in slice views; True keeps the event from others."""
        if widget.className() != "qMRMLSliceWidget" or self._is_running:
            return False
        event = mouse_event(interactor, event_id, widget, self._tool.is_down)
        if event is None:
            return False
        self._tool.handle(event)
        return True

    # Prompts

    def _on_box(self, drawn: DrawnBox) -> None:
        table = self._table_for(drawn.axis)
        if table is None:
            return
        if table.axis != drawn.axis:
            message = _("Draw boxes on {plane} slices, as the first; points can be set in any view.")
            self._options.say(message.format(plane=display_name(table.plane)))
            return
        table.draw(drawn.slice, drawn.bounds, self._options.label, next(iter(table.objects()), None))
        self._changed(table, drawn.slice)

    def _on_point(self, voxel: NDArray[np.float64], positive: bool) -> None:
        volume = self._volume()
        inside = all(-0.5 <= at < count - 0.5 for at, count in zip(voxel, reversed(shape_of(volume)), strict=True))
        if not inside:
            return
        if not positive and self._table is None:
            self._options.say(_("Click on the object first; then a click with Shift shows where it is not."))
            return
        table = self._table_for(None)
        if table is not None:
            i, j, k = (round(float(at), 2) for at in voxel)
            point = PointPrompt((i, j, k), positive)
            at = point.slice(table.axis)
            table.prompts.add_point(next(iter(table.objects()), None), self._options.label, point, at)
            self._changed(table, at)

    def _table_for(self, axis: int | None) -> BoxTable | None:
        request = self._request()
        if request is None:
            self._options.say(_("Choose a source volume and a segment first."))
            return None
        confirmed = self._effect.confirmCurrentSegmentVisible()
        if confirmed == slicer.qSlicerSegmentEditorAbstractEffect.NotConfirmed or not _terms_accepted(request):
            return None
        if self._table is None:
            self._table, self._target = new_table(request, axis), self._selected()
        return self._table

    def _changed(self, table: BoxTable, at: int) -> None:
        group, request = next(iter(table.objects()), None), self._request()
        self._points.show(self._volume(), group.prompts.points if group and group.prompts else ())
        self._options.show(prompted=group is not None and group.is_used, running=False)
        if group is not None and request is not None and group.is_used and is_prompted(group, at):
            self._preview.ask(request, table.axis, group, at, self._color())

    def _clear(self) -> None:
        if self._is_running:
            return
        self._table = self._target = None
        self._points.hide()
        if self._preview is not None:
            self._preview.hide()
            self._options.show(prompted=False, running=False)

    # The run

    def _on_propagate(self) -> None:
        if self._is_running:
            self._logic.cancel()
            return
        request, table = self._request(), self._table
        if request is None or table is None:
            return
        self._preview.hide()
        self._hidden = _hidden_segmentation(request.volumes[0])
        request = RunRequest(
            request.volumes, self._hidden, request.model, request.backend, plane=table.plane, beside=True
        )
        boxes, tracklets = table.propagation()
        try:
            self._logic.propagate(request, boxes, tracklets, self)
        except AutoMedSAMError as error:
            self._remove_hidden()
            self._options.say(str(error))
            return
        self._options.show(prompted=True, running=True)

    def on_started(self, run: RunInfo) -> None:
        self._run = run

    def on_progress(self, _fraction: float, text: str) -> None:
        self._options.say(text)

    def on_finished(self, outcome: Outcome) -> None:
        run, self._run = self._run, None
        if outcome.status == "finished" and run is not None and self._active and self._target == self._selected():
            self._hand_over(run)
        self._remove_hidden()
        self._options.say(outcome.message)
        self._options.show(prompted=self._table is not None, running=False)
        if not self._active:
            self._clear()

    def _hand_over(self, run: RunInfo) -> None:
        volume, node = run.request.volumes[0], run.segmentation
        segment = node.GetSegmentation().GetSegment(run.segment_ids.get(self._options.label, ""))
        if segment is not None:
            mask = segment_mask_on_grid(segment, shape_of(volume), ijk_to_segmentation(volume, node))
            if mask is not None and mask.any():
                add_to_segment(self._effect, volume, mask)
        self._clear()

    def _remove_hidden(self) -> None:
        node, self._hidden = self._hidden, None
        remove_with_display(node)

    # Within

    @property
    def _is_running(self) -> bool:
        return self._logic is not None and self._logic.is_running

    def _volume(self) -> Any:
        node = self._effect.parameterSetNode()
        return None if node is None else node.GetSourceVolumeNode()

    def _selected(self) -> tuple[Any, str] | None:
        """The segmentation, and the ID of the segment in it, that are edited."""
        node = self._effect.parameterSetNode()
        segmentation = None if node is None else node.GetSegmentationNode()
        return None if segmentation is None else (segmentation, node.GetSelectedSegmentID() or "")

    def _request(self) -> RunRequest | None:
        volume, model, selected = self._volume(), self._options.model, self._selected()
        if volume is None or volume.GetImageData() is None or model is None or selected is None or not selected[1]:
            return None
        backend = "int8" if "int8" in model.precisions else "fp32"
        return RunRequest((volume,), None, model, backend)

    def _color(self) -> tuple[float, float, float]:
        selected = self._selected()
        segment = selected[0].GetSegmentation().GetSegment(selected[1]) if selected else None
        return tuple(segment.GetColor()) if segment is not None else (1.0, 0.85, 0.2)


def _hidden_segmentation(volume: Any) -> Any:
    """A segmentation node for a run, which nobody sees and which is never saved."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName("AutoMedSAM effect")  # no tr: the node is not listed anywhere
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetUndoEnabled(False)
    node = slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    node.GetDisplayNode().SetVisibility3D(False)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def _terms_accepted(request: RunRequest) -> bool:
    model = request.model
    if terms.must_be_shown(model):
        if not questions.accepts_terms(model):
            return False
        terms.accept(model)
    return True
