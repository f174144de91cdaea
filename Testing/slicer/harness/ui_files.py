"""Reads a .ui file as Slicer's `qt.QUiLoader` does, and says what Slicer would pass over in silence.

A widget class without a stand-in, a property that the class does not have, an enumeration value that Qt 5 cannot
read, a name given twice, a connection to a signal or slot that is not there: each is an error.
"""

import re
import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import pythonqt, signals

# In .ui files only: a QFrame as a line, and what uic does itself.
_PSEUDO_CLASSES = {"Line": QtWidgets.QFrame}
_PSEUDO_PROPERTIES = {("QLabel", "buddy"), ("Line", "orientation")}
_SCOPED_ENUMERATION = re.compile(r"\w+::\w+::\w+")

_stand_ins: dict[str, type[QtWidgets.QWidget]] = {}


class UiFileError(RuntimeError):
    """The .ui file asks for what would not be there in Slicer."""


def register(widgets: tuple[type[QtWidgets.QWidget], ...]) -> None:
    """Makes these classes known to every loader."""
    for widget in widgets:
        _stand_ins[widget.__name__] = widget
        pythonqt.property_names(widget)


class StrictUiLoader(QtCore.QObject):
    """Takes the place of `qt.QUiLoader`."""

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The top widget of the file, with the connections of the file made.

        Raises:
            UiFileError: if the file asks for what is not there.
        """
        root = ET.fromstring(bytes(device.readAll()))
        _check_widgets(root)
        connections = list(root.iter("connection"))
        for section in root.findall("connections"):
            root.remove(section)
        loader = QtUiTools.QUiLoader()
        for widget in _stand_ins.values():
            loader.registerCustomWidget(widget)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        with pythonqt.any_attribute():
            top = loader.load(buffer, parent)
        if top is None:
            raise UiFileError(loader.errorString())
        by_name = {thing.objectName: thing for thing in (top, *top.findChildren(QtCore.QObject))}
        # PySide6 makes each widget an attribute of the form, which PythonQt does not. They are kept in one place,
        # since Python's halves of the stand-ins live no longer than somebody holds them.
        for name in by_name:
            top.__dict__.pop(name, None)
        top._parts = by_name
        for connection in connections:
            _connect(connection, by_name)
        return top


def _check_widgets(root: ET.Element) -> None:
    seen = set()
    for element in root.iter("widget"):
        name, class_name = element.get("name", ""), element.get("class", "")
        if name in seen:
            message = f"two widgets are called '{name}'"
            raise UiFileError(message)
        seen.add(name)
        kind = _stand_ins.get(class_name) or _PSEUDO_CLASSES.get(class_name) or getattr(QtWidgets, class_name, None)
        if kind is None:
            message = f"'{name}' is a {class_name}, which is neither Qt's nor among the harness's stand-ins"
            raise UiFileError(message)
        for setting in element.findall("property"):
            _check_property(name, class_name, kind, setting)


def _check_property(name: str, class_name: str, kind: type[QtWidgets.QWidget], setting: ET.Element) -> None:
    wanted = setting.get("name", "")
    known = wanted in pythonqt.property_names(kind) or (class_name, wanted) in _PSEUDO_PROPERTIES
    if not known and setting.get("stdset") != "0":
        message = f"'{name}' is given a property '{wanted}', which {class_name} does not have"
        raise UiFileError(message)
    for value in (*setting.iter("enum"), *setting.iter("set")):
        if _SCOPED_ENUMERATION.search(value.text or ""):
            message = f"'{name}': Qt 5 cannot read {value.text}; leave the enumeration's name out"
            raise UiFileError(message)


def _connect(connection: ET.Element, by_name: dict[str, Any]) -> None:
    sender, signal, receiver, slot = (connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot"))
    for name in (sender, receiver):
        if name not in by_name:
            message = f"a connection names '{name}', which is not in the form"
            raise UiFileError(message)
    try:
        signals.connect(by_name[sender], signal, by_name[receiver], slot)
    except signals.UnknownSignalError as error:
        raise UiFileError(str(error)) from error
