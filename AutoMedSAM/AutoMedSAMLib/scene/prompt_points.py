"""An object's points in the slice views: green where the object is, red where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer
import vtk

from AutoMedSAMLib.model.prompt_record import PointPrompt
from AutoMedSAMLib.scene.geometry import ijk_to_ras
from AutoMedSAMLib.scene.hidden_markup import add_hidden_markup, remove_with_display

_NAMES = {True: "AutoMedSAM points", False: "AutoMedSAM points outside"}  # no tr: not listed anywhere
# Told apart by people who confuse red and green, too: light and dark, and another glyph.
_COLORS = {True: (0.2, 1.0, 0.5), False: (0.95, 0.15, 0.35)}
_SIZE = 4.0


class PromptPoints:
    """Shows points; they cannot be moved, and are never saved with the scene."""

    def __init__(self) -> None:
        self._nodes: dict[bool, Any] = {}

    @property
    def nodes(self) -> dict[bool, Any]:
        """The vtkMRMLMarkupsFiducialNode of the positive and that of the negative points, as far as there are any."""
        return dict(self._nodes)

    def show(self, volume: Any, points: Iterable[PointPrompt]) -> None:
        """Shows these points of a volume, and no others."""
        points = list(points)
        if volume is None or not points:
            self.hide()
            return
        matrix = ijk_to_ras(volume)
        for positive in (True, False):
            chosen = [point for point in points if point.positive is positive]
            node = self._nodes.get(positive)
            if node is None or node.GetScene() is None:
                if not chosen:
                    continue
                node = self._nodes[positive] = _new_node(positive)
            with slicer.util.NodeModify(node):
                node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
                node.RemoveAllControlPoints()
                for point in chosen:
                    node.AddControlPoint(vtk.vtkVector3d(*(matrix @ [*point.position, 1.0])[:3]), "")
                node.SetLocked(True)

    def hide(self) -> None:
        """Takes the points out of the views and the scene."""
        while self._nodes:
            remove_with_display(self._nodes.popitem()[1])


def _new_node(positive: bool) -> Any:
    node = add_hidden_markup(slicer.vtkMRMLMarkupsFiducialNode(), _NAMES[positive])
    display = node.GetDisplayNode()
    glyph = "CrossDot2D" if positive else "ThickCross2D"
    display.SetGlyphTypeFromString(glyph)
    display.SetGlyphScale(_SIZE)
    display.SetSelectedColor(*_COLORS[positive])
    display.SetColor(*_COLORS[positive])
    return node
