"""Pictures for people: a widget drawn sharply, and the panel with the four views beside it as in Slicer's window."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from .themes import dark
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


def composition(window: Any, view: tuple[int, int] = (440, 440)) -> dict[str, Any]:
    """The panel on the left, and on the right Red and 3D above Green and Yellow.

    Args:
        window: the panel's Qt widget, shown and laid out; it is resized to the height of the views.
        view: width and least height of one view, in Qt's pixels.

    Returns:
        The picture in each theme, "light" and "dark", as a `qt.QImage`.
    """
    width, height = view
    window.resize(window.width, 2 * height)
    slicer.app.processEvents()
    # A panel that needs more height is shown whole.
    height = max(height, -(-window.height // 2))
    views = qt.QImage(2 * width * SCALE, 2 * height * SCALE, qt.QImage.Format_RGB32)
    views.setDevicePixelRatio(SCALE)
    painter = qt.QPainter(views)
    for index, name in enumerate(("Red", "3D", "Green", "Yellow")):
        draw_view(painter, name, qt.QRect(index % 2 * width, index // 2 * height, width, height))
    painter.end()
    return {theme: _beside(panel, views) for theme, panel in in_both_themes(window).items()}


def in_both_themes(widget: Any) -> dict[str, Any]:
    """`widget_picture` in each theme, "light" and "dark"."""
    light = widget_picture(widget)
    with dark():
        return {"light": light, "dark": widget_picture(widget)}


def save(pictures: dict[str, Any], path: Path) -> None:
    """Writes a picture as a PNG: the light one as `path`, the dark one beside it, with `-dark` at the end of its name.

    Raises:
        OSError: if a file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for theme, image in pictures.items():
        file = path if theme == "light" else path.with_name(f"{path.stem}-{theme}{path.suffix}")
        if not image.save(str(file)):
            message = f"{file} could not be written"
            raise OSError(message)


def _beside(left: Any, right: Any) -> Any:
    whole = qt.QImage(left.width() + right.width(), right.height(), qt.QImage.Format_RGB32)
    whole.setDevicePixelRatio(SCALE)
    whole.fill(qt.QColor("black"))
    painter = qt.QPainter(whole)
    painter.drawImage(0, 0, left)
    painter.drawImage(left.width() // SCALE, 0, right)
    painter.end()
    return whole


def draw_view(painter: Any, name: str, place: Any) -> None:
    """Draws a view with its bar.

    Args:
        painter: of a picture whose pixel ratio is `SCALE`.
        name: "Red", "Yellow", "Green" or "3D".
        place: the QRect, in Qt's pixels, bar included.
    """
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
