"""Draws the slice views and the 3D view off screen, with Slicer's own displayable managers."""

from typing import Any

import numpy as np
import slicer
import vtk

# The drawing back ends register themselves when they are imported.
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import vtk_to_numpy

from .layout import SliceWidget, ThreeDWidget

_SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class _Window:
    """An off-screen window of given size in pixels, and the displayable managers that draw into it."""

    def __init__(
        self, size: tuple[int, int], factory: Any, managers: tuple[str, ...], node: Any, behind: Any = None
    ) -> None:
        self.renderer = vtk.vtkRenderer()
        if behind is not None:
            # What is added first is drawn first, and segments are blended with what is there.
            self.renderer.AddViewProp(behind)
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._interactor.Initialize()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self.renderer)
        self._group.Initialize(factory, self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def picture(self) -> np.ndarray:
        self.window.Render()
        reader = vtk.vtkWindowToImageFilter()
        reader.SetInput(self.window)
        reader.ReadFrontBufferOff()
        reader.Update()
        image = reader.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])

    def close(self) -> None:
        # The 3D view's managers, when they let go of the node, complain of an event that is observed twice.
        vtk.vtkObject.GlobalWarningDisplayOff()
        self._group.SetMRMLDisplayableNode(None)
        self._group.SetRenderer(None)
        vtk.vtkObject.GlobalWarningDisplayOn()
        self.window.Finalize()


def slice_picture(widget: SliceWidget, size: tuple[int, int]) -> np.ndarray:
    """What the slice view shows at its present slice, its volume fitted into `size`.

    Args:
        widget: of `slicer.app.layoutManager().sliceWidget(name)`.
        size: width and height in pixels.

    Returns:
        RGB, uint8, `(height, width, 3)`.
    """
    logic, node = widget.sliceLogic(), widget.mrmlSliceNode()
    offset = logic.GetSliceOffset()
    logic.ResizeSliceNode(*size)
    logic.FitSliceToBackground()
    logic.SetSliceOffset(offset)
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    view = _Window(size, factory, _SLICE_MANAGERS, node, _background(logic))
    # As in Slicer, markups are drawn into a layer above the picture.
    above = vtk.vtkRenderer()
    above.SetLayer(1)
    view.window.SetNumberOfLayers(2)
    view.window.AddRenderer(above)
    picture = view.picture()
    view.close()
    return picture


def three_d_picture(widget: ThreeDWidget, size: tuple[int, int], azimuth: float = 30.0) -> np.ndarray:
    """What the 3D view shows, seen from the front, turned by `azimuth` degrees and a little from above.

    Returns:
        RGB, uint8, `(height, width, 3)`.
    """
    node = widget.mrmlViewNode()
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    view = _Window(size, factory, _THREE_D_MANAGERS, node)
    camera = view.renderer.GetActiveCamera()
    camera.SetFocalPoint(0, 0, 0)
    camera.SetPosition(0, 500, 0)
    camera.SetViewUp(0, 0, 1)
    camera.Azimuth(azimuth)
    camera.Elevation(20)
    view.renderer.ResetCamera()
    picture = view.picture()
    view.close()
    return picture


def _background(logic: Any) -> Any:
    """The slice's blended volumes as an actor; None if there is none to show."""
    if not logic.GetSliceCompositeNode().GetBackgroundVolumeID():
        return None
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    return actor
