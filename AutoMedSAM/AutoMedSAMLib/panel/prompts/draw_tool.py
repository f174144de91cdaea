"""Turns the left mouse button in the slice views into boxes and points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from AutoMedSAMLib.panel.box_editor import BoxEditor
from AutoMedSAMLib.scene.geometry import shape_of
from AutoMedSAMLib.scene.slice_mouse import MouseEvent
from AutoMedSAMLib.scene.slice_views import axis_across, to_voxel

Mode = Literal["", "box", "point"]

# A click that trembles is no box.
_MIN_PIXELS = 4
_COLOR = (1.0, 0.85, 0.2)


@dataclass(frozen=True)
class DrawnBox:
    """A rectangle that was drawn in a view.

    Attributes:
        axis: the axis of `(K, J, I)` that the view's slices follow.
        slice: voxel index along it.
        bounds: `i0, i1, j0, j1, k0, k1`, half-open voxel ranges within the volume, one voxel along the axis.
    """

    axis: int
    slice: int
    bounds: list[float]


class DrawTool:
    """One mode at a time, until another is chosen. Somebody else hands in the mouse's events.

    Args:
        volume: gives the volume that is drawn on; None if there is none.
        on_box: called with each box that was drawn.
        on_point: called with the voxel `(i, j, k)` of each click, with fractions, and whether it is positive.
    """

    def __init__(
        self,
        volume: Callable[[], Any],
        on_box: Callable[[DrawnBox], None],
        on_point: Callable[[NDArray[np.float64], bool], None],
    ) -> None:
        self._volume, self._on_box, self._on_point = volume, on_box, on_point
        self._mode: Mode = ""
        # The rubber band: a box of the same kind as the selected one, without handles.
        self._band = BoxEditor(lambda _bounds: None, lambda: None)
        self._begin: MouseEvent | None = None

    @property
    def mode(self) -> Mode:
        """What a click does; empty if it is Slicer's."""
        return self._mode

    @property
    def is_down(self) -> bool:
        """Whether the button was pressed and is not let go yet."""
        return self._begin is not None

    def choose(self, mode: Mode) -> None:
        """Chooses what a click does."""
        self._mode = mode
        self._forget()

    def _forget(self) -> None:
        self._begin = None
        self._band.hide()

    def handle(self, event: MouseEvent) -> None:
        """Takes an event of the mouse."""
        volume = self._volume()
        if volume is None:
            self._forget()
        elif event.kind == "press":
            self._begin = event
            if self._mode == "point":
                self._on_point(to_voxel(volume, event.world), not event.shift)
        elif self._mode == "point" and event.kind == "release":
            self._forget()
        elif self._mode == "box" and self._begin is not None and self._begin.view is event.view:
            self._drag(volume, self._begin, event)

    def _drag(self, volume: Any, begin: MouseEvent, event: MouseEvent) -> None:
        box = None
        if max(abs(a - b) for a, b in zip(begin.pixel, event.pixel, strict=True)) >= _MIN_PIXELS:
            box = box_between(volume, begin, event)
        if event.kind == "release":
            self._forget()
            if box is not None:
                self._on_box(box)
        elif box is not None:
            self._band.show(volume, box.axis, box.bounds, _COLOR, editing=False)


def box_between(volume: Any, one: MouseEvent, other: MouseEvent) -> DrawnBox | None:
    """The box between two points of a view; None if it lies outside the volume."""
    axis, shape = axis_across(volume, one.view), shape_of(volume)
    first, last = to_voxel(volume, one.world), to_voxel(volume, other.world)
    at = int(np.floor(first[2 - axis] + 0.5))
    if not 0 <= at < shape[axis]:
        return None
    bounds: list[float] = []
    for n, count in enumerate(reversed(shape)):
        if n == 2 - axis:
            bounds += [float(at), float(at + 1)]
            continue
        # Voxel indices count from the voxel's center, half-open ranges from its edge.
        low, high = np.clip(np.array(sorted((first[n], last[n]))) + 0.5, 0, count)
        if high - low < 1.0:
            low = min(max((low + high - 1.0) / 2, 0.0), count - 1.0)
            high = low + 1.0
        bounds += [float(low), float(high)]
    # Both points beyond the same edge.
    outside = any(max(first[n], last[n]) < -0.5 or min(first[n], last[n]) > shape[2 - n] - 0.5 for n in range(3))
    return None if outside else DrawnBox(axis, at, bounds)
