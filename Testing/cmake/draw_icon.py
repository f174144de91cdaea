"""Draws the icon: a slice of a head, a lesion followed through it, and the detector's box.

Run without arguments, it writes the icon of the extension and, the same, of the module.
"""

import os
from pathlib import Path

from PySide6 import QtCore, QtGui

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = ("Resources/AutoMedSAM.png", "AutoMedSAM/Resources/Icons/AutoMedSAM.png")
_SIZE = 128
_BOX = QtCore.QRectF(64, 34, 41, 42)


def draw() -> QtGui.QImage:
    """The icon, 128 x 128 pixels on a transparent ground."""
    image = QtGui.QImage(_SIZE, _SIZE, QtGui.QImage.Format.Format_ARGB32)
    image.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#10202f"))
    painter.drawRoundedRect(QtCore.QRectF(2, 2, 124, 124), 26, 26)
    _draw_head(painter)
    painter.translate(-6, 3)
    _draw_lesion(painter)
    _draw_box(painter)
    painter.end()
    return image


def _draw_head(painter: QtGui.QPainter) -> None:
    skull = QtCore.QRectF(22, 12, 84, 104)
    painter.setBrush(QtGui.QColor("#c9d3dc"))
    painter.drawEllipse(skull)
    painter.setBrush(QtGui.QColor("#10202f"))
    painter.drawEllipse(skull.adjusted(4, 4, -4, -4))
    brain = skull.adjusted(7.5, 7.5, -7.5, -7.5)
    shade = QtGui.QRadialGradient(brain.center(), brain.height() / 2)
    shade.setColorAt(0.0, QtGui.QColor("#6d7d8c"))
    shade.setColorAt(0.75, QtGui.QColor("#8d9cab"))
    shade.setColorAt(1.0, QtGui.QColor("#a9b6c2"))
    painter.setBrush(shade)
    painter.drawEllipse(brain)
    dark = QtGui.QColor("#3b4a59")
    painter.setPen(QtGui.QPen(dark, 2.4))
    painter.drawLine(QtCore.QPointF(64, 21), QtCore.QPointF(64, 46))
    painter.drawLine(QtCore.QPointF(64, 84), QtCore.QPointF(64, 107))
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(dark)
    for side in (-1, 1):
        ventricle = QtGui.QPainterPath(QtCore.QPointF(64 + side * 2, 50))
        ventricle.cubicTo(64 + side * 14, 46, 64 + side * 12, 62, 64 + side * 4, 65)
        ventricle.cubicTo(64 + side * 12, 70, 64 + side * 14, 80, 64 + side * 9, 84)
        ventricle.cubicTo(64 + side * 6, 78, 64 + side * 4, 70, 64 + side * 2, 50)
        painter.drawPath(ventricle)


def _draw_lesion(painter: QtGui.QPainter) -> None:
    lesion = QtGui.QPainterPath(QtCore.QPointF(71, 57))
    lesion.cubicTo(68, 46, 77, 38, 86, 41)
    lesion.cubicTo(97, 40, 101, 51, 97, 59)
    lesion.cubicTo(98, 70, 87, 73, 81, 69)
    lesion.cubicTo(74, 70, 72, 64, 71, 57)
    fill = QtGui.QRadialGradient(QtCore.QPointF(83, 53), 20)
    fill.setColorAt(0.0, QtGui.QColor("#ffc46b"))
    fill.setColorAt(1.0, QtGui.QColor("#f0762b"))
    painter.setBrush(fill)
    painter.setPen(QtGui.QPen(QtGui.QColor("#fff1dc"), 2))
    painter.drawPath(lesion)


def _draw_box(painter: QtGui.QPainter) -> None:
    painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
    pen = QtGui.QPen(QtGui.QColor("#37e0d0"), 4.5)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(QtCore.Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    arm = 11
    for x, toward_x in ((_BOX.left(), 1), (_BOX.right(), -1)):
        for y, toward_y in ((_BOX.top(), 1), (_BOX.bottom(), -1)):
            corner = [(x + toward_x * arm, y), (x, y), (x, y + toward_y * arm)]
            painter.drawPolyline([QtCore.QPointF(*point) for point in corner])


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QtGui.QGuiApplication([])
    for place in PLACES:
        (REPOSITORY / place).parent.mkdir(parents=True, exist_ok=True)
        draw().save(str(REPOSITORY / place))
