"""An animated picture of the panel at work: the panel, a large slice view above two small views, and the mouse."""

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from PIL import Image

from .pictures import SCALE, draw_view, widget_picture

# In Qt's pixels: the line of text above, and the width of the views.
_CAPTION, _VIEWS = 44, 640
_LARGE = 0.6
_INK, _PAPER = "#ffffff", "#1f2a36"
_ARROW = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12))


class Film:
    """Takes frames.

    Args:
        window: the panel's Qt widget, shown and laid out.
        large: the name of the view that is shown large.
        small: those of the two below it.
    """

    def __init__(self, window: Any, large: str, small: tuple[str, str]) -> None:
        self._window, self._large, self._small = window, large, small
        self.frames: list[np.ndarray] = []
        self._milliseconds: list[int] = []

    def take(self, caption: str, seconds: float, mouse: Any = None, shift: bool = False) -> np.ndarray:
        """Takes a frame.

        Args:
            caption: the line above it.
            seconds: how long it is shown.
            mouse: where the mouse is in the large view, in world mm (RAS); None to show none.
            shift: whether to show that Shift is held down.

        Returns:
            The frame, RGB, uint8, `(height, width, 3)`.
        """
        slicer.app.processEvents()
        panel = widget_picture(self._window)
        left, height = panel.width() // SCALE, panel.height() // SCALE
        width = left + _VIEWS
        image = qt.QImage(width * SCALE, (height + _CAPTION) * SCALE, qt.QImage.Format_RGB888)
        image.setDevicePixelRatio(SCALE)
        image.fill(qt.QColor(_PAPER))
        painter = qt.QPainter(image)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.drawImage(0, _CAPTION, panel)
        tall = round(_LARGE * height)
        place = qt.QRect(left, _CAPTION, _VIEWS, tall)
        draw_view(painter, self._large, place)
        for n, name in enumerate(self._small):
            below = qt.QRect(left + n * _VIEWS // 2, _CAPTION + tall, _VIEWS // 2, height - tall)
            draw_view(painter, name, below)
        if mouse is not None:
            _draw_mouse(painter, place, self._on_screen(place, mouse), shift)
        _write(painter, caption, width)
        painter.end()
        raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        frame = raw[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()
        self.frames.append(frame)
        self._milliseconds.append(round(1000 * seconds))
        return frame

    def save(self, path: Path, width: int, quality: int) -> None:
        """Writes an animated WebP that repeats for ever.

        Args:
            path: of the file.
            width: of its frames, in pixels.
            quality: of the lossy compression, 0 to 100.
        """
        height = round(self.frames[0].shape[0] * width / self.frames[0].shape[1])
        small = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in self.frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        small[0].save(
            path,
            save_all=True,
            append_images=small[1:],
            duration=self._milliseconds,
            loop=0,
            quality=quality,
            method=6,
        )

    def _on_screen(self, place: Any, world: Any) -> tuple[float, float]:
        node = slicer.app.layoutManager().sliceWidget(self._large).mrmlSliceNode()
        to_pixels = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetXYToRAS()))
        x, y = (to_pixels @ [*world, 1.0])[:2]
        # A view counts its pixels from the bottom.
        return place.left() + x / SCALE, place.top() + place.height() - y / SCALE


def _draw_mouse(painter: Any, place: Any, at: tuple[float, float], shift: bool) -> None:
    x, y = at
    painter.setPen(qt.QPen(qt.QColor("black"), 1.0))
    painter.setBrush(qt.QBrush(qt.QColor("white")))
    painter.drawPolygon(qt.QPolygonF([qt.QPointF(x + 1.3 * dx, y + 1.3 * dy) for dx, dy in _ARROW]))
    if shift:
        key = qt.QRectF(x + 18, y + 20, 44, 20)
        painter.drawRoundedRect(key, 4, 4)
        painter.drawText(key, qt.Qt.AlignCenter, "Shift")
    painter.setBrush(qt.QBrush())


def _write(painter: Any, caption: str, width: int) -> None:
    font = qt.QFont(painter.font())
    font.setPixelSize(20)
    painter.setFont(font)
    painter.setPen(qt.QColor(_INK))
    painter.drawText(qt.QRect(14, 0, width - 28, _CAPTION), qt.Qt.AlignVCenter, caption)
