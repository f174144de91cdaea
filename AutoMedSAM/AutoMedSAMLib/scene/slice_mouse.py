"""The left mouse button in the slice views, before Slicer's own use of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import qt
import slicer
import vtk
from numpy.typing import NDArray

from AutoMedSAMLib.qt_timers import SingleShot

# Above that of Slicer's own observers, which would move the window and level, or a markup.
_PRIORITY = 10.0
_EVENTS: dict[int, Literal["press", "move", "release"]] = {
    vtk.vtkCommand.LeftButtonPressEvent: "press",
    vtk.vtkCommand.MouseMoveEvent: "move",
    vtk.vtkCommand.LeftButtonReleaseEvent: "release",
}


@dataclass(frozen=True)
class MouseEvent:
    """What the left button does.

    Attributes:
        kind: "press", "move" (with the button down) or "release".
        view: the view's vtkMRMLSliceNode.
        world: where, in world mm, RAS.
        pixel: where, in the view's pixels.
        shift: whether Shift is held down.
    """

    kind: Literal["press", "move", "release"]
    view: Any
    world: NDArray[np.float64]
    pixel: tuple[int, int]
    shift: bool


def mouse_event(interactor: Any, event_id: int, widget: Any, is_down: bool) -> MouseEvent | None:
    """What an event of a slice view's interactor means; None if it is Slicer's.

    Args:
        interactor: the vtkRenderWindowInteractor.
        event_id: the number of the event, as in `vtk.vtkCommand`.
        widget: the view's qMRMLSliceWidget.
        is_down: whether a press was taken before.
    """
    kind = _EVENTS.get(event_id)
    if kind == "press":
        is_down = not (interactor.GetControlKey() or interactor.GetAltKey())
    if kind is None or not is_down:
        return None
    x, y = interactor.GetEventPosition()
    node = widget.mrmlSliceNode()
    world = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS()) @ [x, y, 0.0, 1.0]
    return MouseEvent(kind, node, world[:3], (x, y), bool(interactor.GetShiftKey()))


class SliceMouse:
    """Calls back while it is started; the events that it takes do not reach Slicer.

    With Ctrl or Alt held down, the button is Slicer's.

    Args:
        callback: called with each press, move and release.
    """

    def __init__(self, callback: Callable[[MouseEvent], None]) -> None:
        self._callback = callback
        self._tags: dict[Any, list[int]] = {}
        self._views: dict[Any, Any] = {}
        self._scene_tag = 0
        self._down = False
        self._views_changed = SingleShot(0, self._watch_all)

    @property
    def is_on(self) -> bool:
        """Whether it is started."""
        return bool(self._scene_tag)

    def start(self) -> None:
        """Takes the button in all slice views, and in those that come with a later layout."""
        if self._scene_tag:
            return
        scene = slicer.mrmlScene
        self._scene_tag = scene.AddObserver(scene.NodeAddedEvent, self._on_added)
        self._watch_all()

    def stop(self) -> None:
        """Leaves the button to Slicer."""
        self._views_changed.stop()
        if self._scene_tag:
            slicer.mrmlScene.RemoveObserver(self._scene_tag)
        self._scene_tag, self._down = 0, False
        while self._tags:
            interactor, tags = self._tags.popitem()
            for tag in tags:
                interactor.RemoveObserver(tag)
        while self._views:
            self._views.popitem()[1].unsetViewCursor()

    def _watch_all(self) -> None:
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            widget = layout.sliceWidget(name)
            view = widget.sliceView()
            interactor = view.interactor()
            if interactor is None or interactor in self._tags:
                continue
            self._views[interactor] = view
            view.setViewCursor(qt.QCursor(qt.Qt.CrossCursor))
            self._tags[interactor] = [
                interactor.AddObserver(event, self._observer(interactor, widget), _PRIORITY) for event in _EVENTS
            ]

    def _observer(self, interactor: Any, widget: Any) -> Callable[[Any, str], None]:
        def observe(_caller: Any, event: str) -> None:
            found = mouse_event(interactor, vtk.vtkCommand.GetEventIdFromString(event), widget, self._down)
            if found is None:
                return
            self._down = found.kind != "release"
            # Slicer's observers come later, and must not see it.
            for tag in self._tags.get(interactor, []):
                interactor.GetCommand(tag).SetAbortFlag(1)
            self._callback(found)

        return observe

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_added(self, _scene: vtk.vtkObject, _event: str, node: Any) -> None:
        if node is not None and node.IsA("vtkMRMLSliceNode"):
            # Its view is made after the node.
            self._views_changed.start()
