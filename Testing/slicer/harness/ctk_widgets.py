"""Stand-ins for widgets of CTK, the toolkit whose widgets Slicer's panels are made of."""

import sys
import types
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from .range_bar import RangeBar

_HEADER = 24


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled part of a panel that a click on its title hides and shows."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._hidden_by_this: list[QtWidgets.QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.toggled.connect(self._on_toggled)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _collapsed, _set_collapsed)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        super().showEvent(event)
        # A form says that it is collapsed before its contents are there.
        self._hide_or_show_contents()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        header = QtCore.QRect(0, 0, self.width, _HEADER)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = header
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        option.rect = QtCore.QRect(6, 0, 14, _HEADER)
        arrow = QtWidgets.QStyle.PE_IndicatorArrowRight if self.collapsed else QtWidgets.QStyle.PE_IndicatorArrowDown
        painter.drawPrimitive(arrow, option)
        painter.drawText(header.adjusted(26, 0, -6, 0), QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, self.text)

    @QtCore.Slot(bool)
    def _on_toggled(self, checked: bool) -> None:
        self._hide_or_show_contents()
        self.contentsCollapsed.emit(not checked)

    def _hide_or_show_contents(self) -> None:
        if self.collapsed:
            children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            shown = [child for child in children if not child.isHidden()]
            self._hidden_by_this += shown
            for child in shown:
                child.hide()
            self.setMaximumHeight(_HEADER)
        else:
            for child in self._hidden_by_this:
                child.show()
            self._hidden_by_this = []
            self.setMaximumHeight(16777215)  # Qt's own "no maximum"


def _part_property(part: str, name: str, kind: type) -> QtCore.Property:
    """A Qt property of a widget that is the one of that name of its part."""

    def read(self: Any) -> Any:
        return getattr(getattr(self, part), name)

    def write(self: Any, value: Any) -> None:
        setattr(getattr(self, part), name, value)

    return QtCore.Property(kind, read, write)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show one number."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    cpp_signals: ClassVar = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}
    cpp_slots = ("setValue(double)",)

    value = _part_property("_spin_box", "value", float)
    singleStep = _part_property("_spin_box", "singleStep", float)
    decimals = _part_property("_spin_box", "decimals", int)
    prefix = _part_property("_spin_box", "prefix", str)
    suffix = _part_property("_spin_box", "suffix", str)
    tracking = _part_property("_slider", "tracking", bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._page_step = 10.0
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spin_box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin_box)
        self._spin_box.valueChanged.connect(self._on_value_changed)
        self._slider.valueChanged.connect(self._on_slider_moved)
        self._set_range()

    def setValue(self, value: float) -> None:
        self.value = value

    def _set_minimum(self, minimum: float) -> None:
        self._spin_box.minimum = minimum
        self._set_range()

    def _set_maximum(self, maximum: float) -> None:
        self._spin_box.maximum = maximum
        self._set_range()

    def _set_page_step(self, step: float) -> None:
        self._page_step = step
        self._set_range()

    minimum = QtCore.Property(float, lambda self: self._spin_box.minimum, _set_minimum)
    maximum = QtCore.Property(float, lambda self: self._spin_box.maximum, _set_maximum)
    pageStep = QtCore.Property(float, lambda self: self._page_step, _set_page_step)

    def _steps(self, value: float) -> int:
        return round((value - self.minimum) / (self.singleStep or 1.0))

    def _set_range(self) -> None:
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, self._steps(self.maximum))
        self._slider.setPageStep(max(round(self._page_step / (self.singleStep or 1.0)), 1))
        self._slider.setValue(self._steps(self.value))
        self._slider.blockSignals(blocked)

    @QtCore.Slot(float)
    def _on_value_changed(self, value: float) -> None:
        self._set_range()
        self.valueChanged.emit(value)

    @QtCore.Slot(int)
    def _on_slider_moved(self, steps: int) -> None:
        self.value = self.minimum + steps * self.singleStep


class ctkRangeWidget(QtWidgets.QWidget):
    """Two numbers, the lower and the upper end of a range, as spin boxes and a bar with two handles."""

    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    valuesChanged = QtCore.Signal(float, float)
    rangeChanged = QtCore.Signal(float, float)
    cpp_signals: ClassVar = {
        "minimumValueChanged(double)": "minimumValueChanged",
        "maximumValueChanged(double)": "maximumValueChanged",
        "valuesChanged(double,double)": "valuesChanged",
        "rangeChanged(double,double)": "rangeChanged",
    }
    cpp_slots = ("setMinimumValue(double)", "setMaximumValue(double)", "setValues(double,double)")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._lower = QtWidgets.QDoubleSpinBox(self)
        self._bar = RangeBar(self)
        self._upper = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._lower)
        layout.addWidget(self._bar, 1)
        layout.addWidget(self._upper)
        self._set_both("maximum", 99.0)
        self.setValues(0.0, 99.0)
        self._lower.valueChanged.connect(lambda value: self.setValues(value, self.maximumValue))
        self._upper.valueChanged.connect(lambda value: self.setValues(self.minimumValue, value))
        self._bar.moved.connect(self.setValues)

    @QtCore.Slot(float, float)
    def setValues(self, lower: float, upper: float) -> None:
        """Sets both ends, each kept within the range, the upper not below the lower."""
        lower = min(max(lower, self.minimum), self.maximum)
        upper = min(max(upper, lower), self.maximum)
        before = self._bar.values
        for box, value in ((self._lower, lower), (self._upper, upper)):
            blocked = box.blockSignals(True)
            box.value = value
            box.blockSignals(blocked)
        self._bar.show_values(self._lower.value, self._upper.value, self.minimum, self.maximum)
        after = self._bar.values
        if after[0] != before[0]:
            self.minimumValueChanged.emit(after[0])
        if after[1] != before[1]:
            self.maximumValueChanged.emit(after[1])
        if after != before:
            self.valuesChanged.emit(*after)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, self.maximumValue)

    def setMaximumValue(self, value: float) -> None:
        self.setValues(self.minimumValue, value)

    def _set_both(self, name: str, value: Any) -> None:
        for box in (self._lower, self._upper):
            blocked = box.blockSignals(True)
            setattr(box, name, value)
            box.blockSignals(blocked)

    def _set_end(self, name: str, value: float) -> None:
        self._set_both(name, value)
        self.rangeChanged.emit(self.minimum, self.maximum)
        self.setValues(*self._bar.values)

    minimum = QtCore.Property(float, lambda self: self._lower.minimum, lambda self, v: self._set_end("minimum", v))
    maximum = QtCore.Property(float, lambda self: self._upper.maximum, lambda self, v: self._set_end("maximum", v))
    minimumValue = QtCore.Property(float, lambda self: self._lower.value, setMinimumValue)
    maximumValue = QtCore.Property(float, lambda self: self._upper.value, setMaximumValue)
    singleStep = QtCore.Property(
        float, lambda self: self._lower.singleStep, lambda self, v: self._set_both("singleStep", v)
    )
    decimals = QtCore.Property(int, lambda self: self._lower.decimals, lambda self, v: self._set_both("decimals", v))
    prefix = QtCore.Property(str, lambda self: self._lower.prefix, lambda self, v: self._set_both("prefix", v))
    suffix = QtCore.Property(str, lambda self: self._lower.suffix, lambda self, v: self._set_both("suffix", v))


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box that shows a text of its own while nothing is chosen."""

    defaultText = QtCore.Property(
        str, lambda self: self.placeholderText, lambda self, text: self.setPlaceholderText(text)
    )


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget, ctkRangeWidget, ctkComboBox)


def install() -> types.ModuleType:
    """Makes the stand-ins importable as `ctk`."""
    ctk = types.ModuleType("ctk", "The few widgets of CTK that the harness stands in for.")
    for widget in WIDGETS:
        setattr(ctk, widget.__name__, widget)
    sys.modules["ctk"] = ctk
    return ctk
