"""A bar with two handles, which Qt has not: the middle of `ctkRangeWidget`."""

from PySide6 import QtCore, QtGui, QtWidgets

_HANDLE = 10
_HEIGHT = 20


class RangeBar(QtWidgets.QWidget):
    """Shows a lower and an upper value between a minimum and a maximum; the nearer handle follows the mouse."""

    moved = QtCore.Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._ends = (0.0, 1.0)
        self._values = (0.0, 1.0)
        self._moving = 0
        self.setMinimumSize(40, _HEIGHT)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)

    @property
    def values(self) -> tuple[float, float]:
        return self._values

    def show_values(self, lower: float, upper: float, minimum: float, maximum: float) -> None:
        self._values, self._ends = (lower, upper), (minimum, maximum)
        self.update()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        distances = [abs(event.position().x() - self._x(value)) for value in self._values]
        self._moving = int(distances[1] < distances[0])
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        share = (event.position().x() - _HANDLE / 2) / max(self.width - _HANDLE, 1)
        value = self._ends[0] + min(max(share, 0.0), 1.0) * (self._ends[1] - self._ends[0])
        lower, upper = self._values
        self.moved.emit(*((min(value, upper), upper) if self._moving == 0 else (lower, max(value, lower))))

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        palette = self.palette
        group = QtGui.QPalette.Active if self.enabled else QtGui.QPalette.Disabled
        middle = self.height / 2
        left, right = (self._x(value) for value in self._values)
        edge = palette.color(group, QtGui.QPalette.Window).darker(150)
        painter.setPen(QtGui.QPen(edge, 1))
        painter.setBrush(palette.color(group, QtGui.QPalette.Window).darker(110))
        painter.drawRoundedRect(QtCore.QRectF(0.5, middle - 2, self.width - 1, 4), 2, 2)
        painter.setBrush(palette.color(group, QtGui.QPalette.Highlight))
        painter.drawRect(QtCore.QRectF(left, middle - 2, right - left, 4))
        painter.setBrush(palette.color(group, QtGui.QPalette.Button))
        for x in (left, right):
            painter.drawRoundedRect(QtCore.QRectF(x - _HANDLE / 2 + 0.5, middle - 7, _HANDLE - 1, 14), 2, 2)

    def _x(self, value: float) -> float:
        span = (self._ends[1] - self._ends[0]) or 1.0
        return _HANDLE / 2 + (value - self._ends[0]) / span * (self.width - _HANDLE)
