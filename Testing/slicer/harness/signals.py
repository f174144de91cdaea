"""`connect` and `disconnect` as PythonQt has them, with one difference: a signal that is not there is an error.

PythonQt only logs it, and the button then does nothing. PythonQt passes a Python function no more arguments than
it has room for, and so does this.
"""

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

# PySide6 wants the very function back that was connected.
_connected: dict[tuple[int, str, Any], tuple[Any, Callable[..., None]]] = {}


class UnknownSignalError(RuntimeError):
    """A signal or a slot was named that the object does not have."""


def connect(self: QtCore.QObject, signal: str, receiver: Any, slot: Any = None) -> bool:
    """Calls `receiver` (or its slot of that signature) whenever `signal` ("clicked(bool)") is sent.

    Raises:
        UnknownSignalError: if the object has no such signal, or the receiver no such slot.
    """
    if isinstance(signal, QtCore.QObject):
        # PySide6's own QTimer.singleShot, which connects in PySide6's own way.
        return QtCore.QObject.connect(signal, receiver, slot)
    signature = _normalized(signal)
    bound = find_signal(self, signature)
    target = receiver if slot is None else find_slot(receiver, slot)
    if not callable(target):
        message = f"{signature} cannot be connected to {target!r}, which cannot be called"
        raise TypeError(message)
    room = _argument_count(signature)
    if inspect.isfunction(target) or inspect.ismethod(target):
        room = min(room, _room_for_arguments(target))

    def call(*arguments: Any) -> None:
        target(*arguments[:room])

    address = _address(self)
    if not any(key[0] == address for key in _connected):
        self.destroyed.connect(lambda: _forget(address))
    _connected[address, signature, target] = (bound, call)
    bound.connect(call)
    return True


def disconnect(self: QtCore.QObject, signal: str, receiver: Any, slot: str | None = None) -> bool:
    """Ends what `connect` with the same arguments began; False if there was nothing to end."""
    target = receiver if slot is None else find_slot(receiver, slot)
    bound, call = _connected.pop((_address(self), _normalized(signal), target), (None, None))
    if bound is None:
        return False
    bound.disconnect(call)
    return True


def find_signal(sender: QtCore.QObject, signature: str) -> Any:
    """The object's signal of that normalized signature.

    A stand-in lists its signals as C++ spells them in `cpp_signals`, since PySide6 would spell them otherwise.
    """
    for kind in type(sender).__mro__:
        listed = vars(kind).get("cpp_signals", {})
        if signature in listed:
            return getattr(sender, listed[signature])
    if sender.metaObject().indexOfSignal(signature) < 0:
        message = f"{type(sender).__name__} has no signal {signature}"
        raise UnknownSignalError(message)
    name, arguments = signature[:-1].split("(", 1)
    bound = getattr(sender, name)
    if not arguments:
        return bound
    try:
        return bound[tuple(arguments.split(","))] if "," in arguments else bound[arguments]
    except (IndexError, KeyError, TypeError):
        return bound


def find_slot(receiver: QtCore.QObject, signature: str) -> Callable[..., Any]:
    """The object's slot of that signature, as a Python callable."""
    wanted = _normalized(signature)
    listed = {slot for kind in type(receiver).__mro__ for slot in vars(kind).get("cpp_slots", ())}
    if wanted not in listed and receiver.metaObject().indexOfSlot(wanted) < 0:
        message = f"{type(receiver).__name__} has no slot {wanted}"
        raise UnknownSignalError(message)
    return getattr(receiver, wanted.split("(")[0])


def _address(thing: QtCore.QObject) -> int:
    return shiboken6.getCppPointer(thing)[0]


def _forget(address: int) -> None:
    for key in [key for key in _connected if key[0] == address]:
        del _connected[key]


def _normalized(signature: str) -> str:
    return QtCore.QMetaObject.normalizedSignature(signature).data().decode()


def _argument_count(signature: str) -> int:
    return 0 if signature.endswith("()") else signature.count(",") + 1


def _room_for_arguments(function: Callable[..., Any]) -> int:
    # The function's own code, as PythonQt looks at it: a decorator's *args counts, not what it decorates.
    code = function.__code__
    if code.co_flags & inspect.CO_VARARGS:
        return 99
    return code.co_argcount - inspect.ismethod(function)
