"""PySide6 with the manners of PythonQt, through which Slicer's Python sees Qt.

- A Qt property is an attribute of the object: `label.text`, `label.text = "x"`. Calling it (`label.text()`) fails.
- An object of a Qt class takes no attribute that Qt does not know: `label.txet = "x"` fails. A Python subclass does.
- `button.connect("clicked(bool)", function)`, with the signal checked; see `signals`.
- All of Qt is in one module, `qt`.

The change is to PySide6 itself and holds for the whole process.
"""

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

from . import signals

_QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork)
# Objects of their classes take no attributes of Python's.
_QT_PACKAGES = ("PySide6.", "harness.")
# PySide6's own, which the shipped module must not use.
_NOT_IN_PYTHONQT = {"ClassInfo", "Property", "SIGNAL", "SLOT", "Signal", "SignalInstance", "Slot"}

# Whether PySide6 itself is at work, which sets attributes as it likes.
_lenient: list[bool] = []


class QtProperty:
    """A Qt property as an attribute. On the class it is what the class had by that name (`QTimer.singleShot`)."""

    def __init__(self, name: str, on_class: Any) -> None:
        self.name = name
        self.on_class = on_class

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self if self.on_class is None else self.on_class
        return owner.property(self.name)

    def __set__(self, owner: Any, value: Any) -> None:
        if not owner.setProperty(self.name, value):
            message = f"{type(owner).__name__}.{self.name} is read-only or does not take {value!r}"
            raise AttributeError(message)


def install() -> types.ModuleType:
    """Gives PySide6 these manners and makes it importable as `qt`; a second call changes nothing."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt", "Qt as PythonQt shows it.")
    classes = []
    for module in _QT_MODULES:
        for name in dir(module):
            if not name.startswith("_") and name not in _NOT_IN_PYTHONQT:
                thing = getattr(module, name)
                setattr(qt, name, thing)
                if isinstance(thing, type) and issubclass(thing, QtCore.QObject):
                    classes.append(thing)
    for kind in classes:
        _show_properties_as_attributes(kind)
        kind.__setattr__ = _set_attribute
        if "__getattribute__" in vars(kind):
            kind.__getattribute__ = _with_connect(kind.__getattribute__)
    QtCore.QObject.name = QtProperty("objectName", None)
    QtCore.QObject.className = lambda self: self.metaObject().className()
    sys.modules["qt"] = qt
    return qt


@functools.cache
def property_names(kind: type[QtCore.QObject]) -> frozenset[str]:
    """The Qt properties of a class, first asked for while no object of it has been deleted.

    PySide6 takes the meta-object of a class for deleted as soon as an object that was asked for it is.
    """
    meta = kind.staticMetaObject
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


@contextlib.contextmanager
def any_attribute() -> Iterator[None]:
    """Within it, objects of Qt's classes take any attribute."""
    _lenient.append(True)
    yield
    _lenient.pop()


def _show_properties_as_attributes(kind: type[QtCore.QObject]) -> None:
    inherited = property_names(kind.__base__) if issubclass(kind.__base__, QtCore.QObject) else frozenset()
    for name in property_names(kind):
        own = vars(kind).get(name)
        # Inherited ones are there already, unless the class has a method of its own by that name (sizeHint).
        if name not in inherited or own is not None:
            setattr(kind, name, QtProperty(name, own))


def _with_connect(look_up: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    # PySide6's look-up has `connect` built in, whatever the class says.
    def get_attribute(self: QtCore.QObject, name: str) -> Any:
        if name in ("connect", "disconnect"):
            return types.MethodType(getattr(signals, name), self)
        return look_up(self, name)

    return get_attribute


def _set_attribute(self: QtCore.QObject, name: str, value: Any) -> None:
    kind = type(self)
    for base in kind.__mro__:
        found = vars(base).get(name)
        if isinstance(found, QtCore.Property):
            if found.fset is None:
                message = f"{kind.__name__}.{name} is read-only"
                raise AttributeError(message)
            found.fset(self, value)
            return
        if hasattr(found, "__set__"):
            found.__set__(self, value)
            return
    # PySide6 keeps the signals that were asked for with the object.
    allowed = name.startswith("_") or isinstance(value, QtCore.SignalInstance) or bool(_lenient)
    if not allowed and kind.__module__.startswith(_QT_PACKAGES):
        message = f"{kind.__name__} has no property '{name}', and objects of Qt's own classes take nothing else"
        raise AttributeError(message)
    self.__dict__[name] = value
