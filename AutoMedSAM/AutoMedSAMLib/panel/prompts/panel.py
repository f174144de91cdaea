"""The prompts that the user gives in the slice views, and the buttons and keys for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import qt
from numpy.typing import NDArray
from slicer.i18n import tr as _

from AutoMedSAMLib.model.box_record import ObjectGroup
from AutoMedSAMLib.model.box_table import BoxTable
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.model.prompt_book import touches
from AutoMedSAMLib.model.prompt_record import PointPrompt
from AutoMedSAMLib.model.run import RunRequest
from AutoMedSAMLib.panel.boxes import BoxesPanel
from AutoMedSAMLib.panel.confidence_strip import ConfidenceStrip
from AutoMedSAMLib.panel.prompts.draw_tool import DrawnBox, DrawTool, Mode
from AutoMedSAMLib.panel.prompts.hand_edit import EditedSlices, adopt, open_segment_editor
from AutoMedSAMLib.panel.prompts.keys import Keys
from AutoMedSAMLib.panel.prompts.limit_handles import LimitHandles
from AutoMedSAMLib.panel.prompts.new_table import is_prompted, new_table
from AutoMedSAMLib.panel.prompts.preview import Preview
from AutoMedSAMLib.panel.prompts.words import mode_in_words
from AutoMedSAMLib.scene import slice_views
from AutoMedSAMLib.scene.edited_slices import Edited
from AutoMedSAMLib.scene.geometry import shape_of
from AutoMedSAMLib.scene.planes import display_name
from AutoMedSAMLib.scene.prompt_points import PromptPoints
from AutoMedSAMLib.scene.slice_mouse import SliceMouse

_AT_ONCE = "AutoMedSAM/PropagateAtOnce"


@dataclass(frozen=True)
class PromptCalls:
    """What the prompts need of the rest of the panel.

    Attributes:
        request: gives the request for a run with the present settings; None while something is missing.
        missing: what is missing for one, as a sentence.
        accepts_terms: shows a model's terms where they were not accepted yet; whether they are.
        show_status: shows a sentence in the status line.
        clear_status: clears the status line, if it still shows this sentence.
    """

    request: Callable[[], RunRequest | None]
    missing: Callable[[], str]
    accepts_terms: Callable[[Model], bool]
    show_status: Callable[[str], None]
    clear_status: Callable[[str], None]


class PromptPanel:
    """Connects the prompts' buttons and keys with the box table, the slice views and the strip.

    Args:
        ui: the panel's widgets by name.
        logic: what previews; an `AutoMedSAMLogic`.
        boxes: the Boxes part of the panel, whose table holds the prompts.
        strip: the confidence strip.
        calls: the rest of the panel.
    """

    def __init__(self, ui: Any, logic: Any, boxes: BoxesPanel, strip: ConfidenceStrip, calls: PromptCalls) -> None:
        self._ui, self._boxes, self._strip, self._calls = ui, boxes, strip, calls
        self._say = calls.show_status
        self._new_label: int | None = None
        self._starting = self._is_open = False
        self.preview = Preview(logic, calls.show_status, calls.clear_status)
        self.points = PromptPoints()
        self.tool = DrawTool(self._drawn_on, self._on_box, self._on_point)
        self._mouse = SliceMouse(self.tool.handle)
        self.limits = LimitHandles(ui.stripLabel, strip, self._on_limits)
        self._edited = EditedSlices(self._on_edited)
        self._edited_object: int | None = None
        # What was adopted already, by the result that was edited.
        self._adopted: dict[str, set[str]] = {}
        self._keys = Keys(ui.boxesButton.parent(), self._actions())
        self._escape = Keys(ui.boxesButton.parent(), {"Esc": self._on_escape})
        for keys in (self._keys, self._escape):
            keys.listen(False)
        self._connect()
        boxes.on_updated.append(self._update)
        self._update()

    # From the widget

    def enter(self) -> None:
        """The user opens the module: what was edited by hand meanwhile becomes a prompt."""
        self._is_open = True
        self._keys.listen(True)
        self._update()
        boxes, model = self._boxes, self._boxes.model
        request = boxes.own_request()
        if request is not None and request.segmentation is not None and model is not None and len(boxes.table):
            self._edited.look(request.segmentation, boxes.volume, model.name, boxes.table.axis)

    def exit(self) -> None:
        """The user goes to another module: the mouse and the keys are Slicer's again."""
        self._is_open = False
        self._keys.listen(False)
        self._choose_mode("")
        self.preview.hide()
        self.points.hide()
        self._edited.stop()

    def set_running(self, running: bool) -> None:
        """While a run is in progress, no prompts are given; the buttons follow those of the boxes."""
        if running:
            self._choose_mode("")
            self.preview.hide()

    def forget(self) -> None:
        """The scene is closed."""
        self._edited.stop()
        self._adopted.clear()
        self._edited_object = None

    def stop(self) -> None:
        """Stops for good."""
        self.exit()
        self.limits.stop()
        self._boxes.on_updated = [call for call in self._boxes.on_updated if call != self._update]

    def set_model(self, model: Model | None) -> None:
        """New object asks for the label where the model has several."""
        self._new_label = None
        self._ui.newObjectButton.setMenu(None)
        segments = model.segments if model else []
        if len(segments) > 1:
            menu = qt.QMenu(self._ui.newObjectButton)
            for segment in segments:
                menu.addAction(segment["name"]).connect("triggered(bool)", self._starter(segment["value"]))
            self._ui.newObjectButton.setMenu(menu)
        self._update()

    # Buttons and keys

    def _connect(self) -> None:
        ui = self._ui
        ui.drawBoxButton.connect("toggled(bool)", lambda on: self._on_mode("box", on))
        ui.pointButton.connect("toggled(bool)", lambda on: self._on_mode("point", on))
        ui.emptyButton.connect("clicked(bool)", lambda *_: self._on_empty())
        ui.newObjectButton.connect("clicked(bool)", lambda *_: self._on_new_object(None))
        ui.handEditButton.connect("clicked(bool)", lambda *_: self._on_hand_edit())
        settings = qt.QSettings()
        ui.propagateAtOnceBox.checked = str(settings.value(_AT_ONCE, "false")).lower() == "true"
        ui.propagateAtOnceBox.connect("toggled(bool)", lambda on: qt.QSettings().setValue(_AT_ONCE, bool(on)))

    def _actions(self) -> dict[str, Callable[[], None]]:
        ui = self._ui
        buttons = {
            "B": ui.drawBoxButton,
            "X": ui.emptyButton,
            "E": ui.editButton,
            "S": ui.seedButton,
            "N": ui.uncertainButton,
            "P": ui.propagateButton,
        }
        return {"A": self._on_accept, **{key: button.click for key, button in buttons.items()}}

    def _on_mode(self, mode: Mode, on: bool) -> None:
        if on and not self._may_prompt():
            self._choose_mode("")
        elif on:
            self._choose_mode(mode)
            request = self._calls.request()
            if request is not None:
                self.preview.warm_up(request)
            plane = display_name(self._boxes.table.plane) if len(self._boxes.table) else ""
            self._say(mode_in_words(mode, plane))
        elif self.tool.mode == mode:
            self._choose_mode("")

    def _choose_mode(self, mode: Mode) -> None:
        self.tool.choose(mode)
        if mode:
            self._mouse.start()
        else:
            self._mouse.stop()
        self._ui.drawBoxButton.checked = mode == "box"
        self._ui.pointButton.checked = mode == "point"
        self._escape.listen(bool(mode))

    def _on_escape(self) -> None:
        self._choose_mode("")
        self.preview.hide()

    def _starter(self, label: int) -> Callable[..., None]:
        return lambda *_arguments: self._on_new_object(label)

    def _on_new_object(self, label: int | None) -> None:
        self._new_label = label
        self._ui.boxTree.clearSelection()
        self._say(_("The next box or point starts a new object."))

    # Prompts

    def _on_box(self, drawn: DrawnBox) -> None:
        table = self._table_for(drawn.axis)
        if table is None:
            return
        if table.axis != drawn.axis:
            message = _("Draw boxes on {plane} slices, as the others of this result; points can be set in any view.")
            self._say(message.format(plane=display_name(table.plane)))
            return
        if not self._is_on_run(table, drawn.slice):
            return
        group = self._selected() if table is self._boxes.table else None
        if group is not None and not touches(group, drawn.slice, drawn.bounds, table.axis):
            group = None
        self._change(table, _("box"))
        table.draw(drawn.slice, drawn.bounds, self._label_for(group), group)
        self._changed(group, drawn.slice)

    def _on_point(self, voxel: NDArray[np.float64], positive: bool) -> None:
        volume = self._drawn_on()
        inside = [-0.5 <= at < count - 0.5 for at, count in zip(voxel, reversed(shape_of(volume)), strict=True)]
        if not all(inside):
            return
        group = self._selected() if self._is_own_table() else None
        if group is None and not positive:
            self._say(_("Click on the object first; then a click with Shift shows where it is not."))
            return
        table = self._table_for(None)
        if table is None:
            return
        i, j, k = (round(float(at), 2) for at in voxel)
        point = PointPrompt((i, j, k), positive)
        at = point.slice(table.axis)
        if not self._is_on_run(table, at):
            return
        self._change(table, _("point"))
        table.prompts.add_point(group, self._label_for(group), point, at)
        self._changed(group, at)

    def _on_empty(self) -> None:
        group, volume, table = self._selected(), self._boxes.volume, self._boxes.table
        at = None if volume is None else slice_views.current_slice(volume, table.axis)
        if group is None or at is None or not self._may_prompt():
            return
        empty = group.prompts is None or at not in group.prompts.empty
        self._change(table, _("no lesion here"))
        table.prompts.set_empty(group, at, table.axis, empty=empty)
        self._changed(group, at)
        stops = _("Slice {slice}: the object is not here, and tracking stops here.")
        self._say((stops if empty else _("Slice {slice}: the object may be here again.")).format(slice=at))

    def _on_limits(self, limits: tuple[int, int] | None) -> None:
        group = self._selected()
        if group is None or not self._may_prompt():
            self._update()
            return
        self._change(self._boxes.table, _("limits"))
        self._boxes.table.prompts.set_limits(group, limits)
        self._changed(group, None)

    def _on_accept(self) -> None:
        """Uses ignored boxes that are selected; else says that the slice in view was checked."""
        boxes, volume = self._boxes, self._boxes.volume
        if boxes.running or volume is None:
            return
        if boxes.selection.ids() and not boxes.selection.any_accepted():
            self._ui.rejectButton.click()
            return
        at = slice_views.current_slice(volume, boxes.table.axis)
        if at is not None and at in self._strip.uncertain:
            self._change(boxes.table, _("accept"))
            boxes.table.check(at)
            boxes.save()
            boxes.refresh()
            boxes.on_replaced()

    # The Segment Editor

    def _on_hand_edit(self) -> None:
        boxes, group = self._boxes, self._selected()
        request, model = boxes.own_request(), boxes.model
        if request is None or request.segmentation is None or model is None:
            return
        self._edited_object = group.keys[-1] if group else None
        open_segment_editor(request.segmentation, boxes.volume, model.name, group.label if group else None)

    def _on_edited(self, edited: Edited) -> None:
        boxes = self._boxes
        if boxes.running:
            return
        before, request = boxes.state(), boxes.own_request()
        output = None if request is None else request.segmentation
        if output is None:
            return
        known = self._adopted.setdefault(f"{output.GetID()}/{boxes.volume.GetID()}", set())
        adopted = adopt(boxes.table, edited, self._edited_object, known)
        if adopted:
            boxes.steps.note(_("edit by hand"), before=before)
            boxes.save()
            boxes.refresh()
            one = _("1 slice edited by hand is a prompt now: P propagates from it, and keeps it.")
            more = _("{slices} slices edited by hand are prompts now: P propagates from them, and keeps them.")
            self._say(one if adopted == 1 else more.format(slices=adopted))

    # Within

    def _drawn_on(self) -> Any:
        """The volume that is drawn on: the first of the chosen ones."""
        request = self._calls.request()
        return None if request is None else request.volumes[0]

    def _may_prompt(self) -> bool:
        """Whether prompts can be given now; if not, the status line says why."""
        if self._boxes.running:
            self._say(_("Wait until the run is finished, or cancel it."))
            return False
        request = self._calls.request()
        if request is None:
            self._say(self._calls.missing())
            return False
        return self._calls.accepts_terms(request.model)

    def _is_own_table(self) -> bool:
        """Whether the box table is of the chosen volume and model."""
        return len(self._boxes.table) > 0 and self._boxes.own_request() is not None

    def _table_for(self, axis: int | None) -> BoxTable | None:
        """The box table that a prompt goes to, a new one where there is none of this volume and model.

        Args:
            axis: the slice axis of a new one, if no plane was chosen; that of the volume's acquisition if None.
        """
        request = self._calls.request()
        if request is None or not self._may_prompt():
            return None
        if self._is_own_table():
            return self._boxes.table
        self._starting = True
        return new_table(request, axis)

    def _change(self, table: BoxTable, step: str) -> None:
        """Notes a step; a new table takes the place of the present one."""
        boxes = self._boxes
        boxes.steps.note(step)
        request = self._calls.request()
        if self._starting and request is not None and table is not boxes.table:
            boxes.adopt(table, request)
        self._starting = False

    def _changed(self, group: ObjectGroup | None, at: int | None) -> None:
        """The prompts of an object have changed; without one, that of the newest prompts was started."""
        boxes = self._boxes
        boxes.save()
        boxes.refresh()
        number = group.prompts.id if group is not None and group.prompts else boxes.table.prompts.newest
        now = boxes.table.group(-10 - number) or (boxes.table.group(group.keys[0]) if group and group.keys else None)
        if now is None:
            self.preview.hide()
            return
        boxes.tree.select_object(now.keys[-1])
        request = boxes.own_request()
        if self._ui.propagateAtOnceBox.checked and self._ui.propagateButton.enabled:
            self._ui.propagateButton.click()
        elif at is not None and request is not None and now.is_used and is_prompted(now, at):
            self.preview.ask(request, boxes.table.axis, now, at, boxes.color_of(now.label))

    def _is_on_run(self, table: BoxTable, at: int) -> bool:
        first, last = table.slices
        if first <= at <= last:
            return True
        message = _("Slice {slice} is not among the slices of this result ({first} to {last}).")
        self._say(message.format(slice=at, first=first, last=last))
        return False

    def _selected(self) -> ObjectGroup | None:
        group = self._boxes.selection.group()
        return group if group is not None and group.number else None

    def _label_for(self, group: ObjectGroup | None) -> int:
        request = self._calls.request()
        first = request.model.segments[0]["value"] if request else 1
        return group.label if group is not None else self._new_label or first

    def _update(self) -> None:
        """Shows what the selected object has, and enables the buttons."""
        ui, boxes = self._ui, self._boxes
        group, free = self._selected(), not boxes.running
        prompts = group.prompts if group else None
        self.limits.show(group is not None and free, prompts.limits if prompts else None)
        self.points.show(boxes.volume, prompts.points if prompts and self._is_open else ())
        self.preview.keep_if(boxes.table.objects())
        request = self._calls.request()
        ui.drawBoxButton.enabled = ui.pointButton.enabled = free and request is not None
        ui.propagateButton.text = _("Propagate") if boxes.table.is_new else _("Propagate again")
        ui.newObjectButton.enabled = free and len(boxes.table) > 0
        ui.emptyButton.enabled = free and group is not None
        own = boxes.own_request() if free else None
        ui.handEditButton.enabled = own is not None and own.segmentation is not None and boxes.table.was_segmented
