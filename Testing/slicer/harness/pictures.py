"""Pictures for people: a widget drawn sharply, and the panel with the four views beside it as in Slicer's window."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from .views import slice_picture, three_d_picture

# Two pixels for each of Qt's, so that text is sharp on a slide.
SCALE = 2
_BAR = 22
_COLORS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b", "3D": "#7a7ab8"}


def widget_picture(widget: Any) -> Any:
    """The widget as it is on a screen of twice the resolution, as a `qt.QImage`."""
    slicer.app.processEvents()
    with _on_a_fine_screen(widget):
        return _rendered(widget)


@contextlib.contextmanager
def _on_a_fine_screen(widget: Any) -> Iterator[None]:
    """Within it, what labels draw themselves is drawn as finely as the picture."""
    labels = widget.findChildren(qt.QLabel)

    def redraw() -> None:
        for label in labels:
            slicer.app.sendEvent(label, qt.QEvent(qt.QEvent.PaletteChange))

    own = qt.QPaintDevice.devicePixelRatioF
    qt.QLabel.devicePixelRatioF = lambda _self: float(SCALE)
    redraw()
    yield
    qt.QLabel.devicePixelRatioF = own
    redraw()


def _rendered(widget: Any) -> Any:
    image = qt.QImage(widget.width * SCALE, widget.height * SCALE, qt.QImage.Format_RGB32)
    image.setDevicePixelRatio(SCALE)
    image.fill(widget.palette.color(qt.QPalette.Window))
    widget.render(image)
    return image


def save_widget(widget: Any, path: Path) -> None:
    """Writes `widget_picture` as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget_picture(widget).save(str(path)):
        message = f"{path} could not be written"
        raise OSError(message)


def save_composition(window: Any, path: Path, view: tuple[int, int] = (440, 440)) -> None:
    """Writes one PNG: the panel on the left, Red and 3D above Green and Yellow on the right.

    Args:
        window: the panel's Qt widget, shown and laid out; it is resized to the height of the views.
        path: of the PNG.
        view: width and least height of one view, in Qt's pixels.
    """
    width, height = view
    window.resize(window.width, 2 * height)
    slicer.app.processEvents()
    # A panel that needs more height is shown whole.
    height = max(height, -(-window.height // 2))
    panel = widget_picture(window)
    image = qt.QImage((window.width + 2 * width) * SCALE, 2 * height * SCALE, qt.QImage.Format_RGB32)
    image.setDevicePixelRatio(SCALE)
    image.fill(qt.QColor("black"))
    painter = qt.QPainter(image)
    painter.drawImage(0, 0, panel)
    for index, name in enumerate(("Red", "3D", "Green", "Yellow")):
        left, top = window.width + index % 2 * width, index // 2 * height
        _draw_view(painter, name, qt.QRect(left, top, width, height))
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path)):
        message = f"{path} could not be written"
        raise OSError(message)


def _draw_view(painter: Any, name: str, place: Any) -> None:
    layout = slicer.app.layoutManager()
    size = (place.width() * SCALE, (place.height() - _BAR) * SCALE)
    if name == "3D":
        title, pixels = "1", three_d_picture(layout.threeDWidget(0), size)
    else:
        widget = layout.sliceWidget(name)
        pixels = slice_picture(widget, size)
        offset = widget.sliceLogic().GetSliceOffset()
        axis = {"Axial": "S", "Sagittal": "R", "Coronal": "A"}.get(widget.mrmlSliceNode().GetOrientation(), "")
        title = f"{name[0]}    {axis}: {offset:.2f} mm"
    painter.fillRect(place.left(), place.top(), place.width(), _BAR, qt.QColor(_COLORS[name]))
    painter.setPen(qt.QColor("black"))
    painter.drawText(qt.QRect(place.left() + 8, place.top(), place.width() - 8, _BAR), qt.Qt.AlignVCenter, title)
    painter.drawImage(qt.QRect(place.left(), place.top() + _BAR, place.width(), place.height() - _BAR), _image(pixels))
    painter.drawRect(place.adjusted(0, 0, -1, -1))


def _image(pixels: np.ndarray) -> Any:
    height, width, _ = pixels.shape
    return qt.QImage(pixels.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888).copy()
