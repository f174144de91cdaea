"""`slicer.app.layoutManager()`: the Red, Yellow and Green slice views and one 3D view, as logics without windows.

`views` draws them when a test asks for a picture.
"""

from typing import Any

import slicer
import vtk

_ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
_SIZE = 400


class SliceView:
    """The part of a slice view that the mouse is in: `qMRMLSliceView`, with a real interactor and no window.

    A test presses a button by `click`, `drag` or the interactor's own events.
    """

    def __init__(self) -> None:
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.Enable()
        self.cursor: Any = None
        # What Slicer itself would do with the button: adjust window and level, or move a markup.
        self.reached_slicer: list[str] = []
        for event in ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"):
            self._interactor.AddObserver(event, lambda _caller, name: self.reached_slicer.append(name))

    def interactor(self) -> Any:
        return self._interactor

    def setViewCursor(self, cursor: Any) -> None:
        self.cursor = cursor

    def unsetViewCursor(self) -> None:
        self.cursor = None

    def drag(self, *pixels: tuple[float, float], shift: bool = False, control: bool = False) -> None:
        """Presses the left button at the first of these pixels, goes along the others, and lets it go at the last."""
        for n, (x, y) in enumerate(pixels):
            self._interactor.SetEventInformation(round(x), round(y), int(control), int(shift))
            self._interactor.InvokeEvent("MouseMoveEvent" if n else "LeftButtonPressEvent")
        self._interactor.InvokeEvent("LeftButtonReleaseEvent")


class SliceWidget:
    """One slice view."""

    def __init__(self, name: str, application_logic: Any, scene: Any) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddSliceNode(name)
        self._name = name
        self._view = SliceView()
        self.restore()

    def sliceView(self) -> SliceView:
        return self._view

    def className(self) -> str:
        return "qMRMLSliceWidget"

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._node

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def restore(self) -> None:
        """Back to the orientation and size that the view started with."""
        self._view.reached_slicer.clear()
        self._node.SetOrientation(_ORIENTATIONS[self._name])
        self._logic.ResizeSliceNode(_SIZE, _SIZE)


class ThreeDWidget:
    """The 3D view."""

    def __init__(self, application_logic: Any, scene: Any) -> None:
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetViewLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddViewNode("1")

    def viewLogic(self) -> Any:
        return self._logic

    def mrmlViewNode(self) -> Any:
        return self._node


class LayoutManager:
    """The views of the conventional layout."""

    def __init__(self, application_logic: Any, scene: Any) -> None:
        application_logic.SetSliceLogics(vtk.vtkCollection())
        application_logic.SetViewLogics(vtk.vtkCollection())
        self._slice_widgets = {name: SliceWidget(name, application_logic, scene) for name in _ORIENTATIONS}
        self._three_d_widget = ThreeDWidget(application_logic, scene)

    def sliceViewNames(self) -> list[str]:
        return list(self._slice_widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._slice_widgets.get(name)

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        logics = vtk.vtkCollection()
        for widget in self._slice_widgets.values():
            logics.AddItem(widget.sliceLogic())
        return logics

    @property
    def threeDViewCount(self) -> int:
        return 1

    def threeDWidget(self, index: int) -> ThreeDWidget | None:
        return self._three_d_widget if index == 0 else None

    def resetSliceViews(self) -> None:
        for widget in self._slice_widgets.values():
            widget.sliceLogic().FitSliceToBackground()

    def restore(self) -> None:
        """Each view as it was when Slicer had just started."""
        for widget in self._slice_widgets.values():
            widget.restore()
