"""What goes wrong behind the event loop, kept so that a test can fail for it.

An exception in a slot, a timer or an observer is printed and swallowed by Qt and VTK, and so is a warning of
Qt's own ("No such slot") or an error of VTK's. In Slicer a person would find them in the error log; here they
fail the test.
"""

import sys
import traceback
from types import TracebackType

import vtk
from PySide6 import QtCore

# The offscreen platform says this whenever a window is shown.
_HARMLESS = ("This plugin does not support propagateSizeHints()",)

_recorded: list[str] = []


def watch() -> None:
    """From now on, records each uncaught exception, each warning of Qt and each error of VTK."""
    QtCore.qInstallMessageHandler(_on_qt_message)
    _on_vtk_error.CallDataType = "string0"
    vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", _on_vtk_error)
    begin()


def begin() -> None:
    """Forgets what was recorded. A command line that has run in this process (typer) has put in its own hook."""
    _recorded.clear()
    sys.excepthook = _on_exception


def take() -> list[str]:
    """What was recorded since the last call, which is forgotten."""
    taken = _recorded.copy()
    _recorded.clear()
    return taken


def _on_qt_message(kind: QtCore.QtMsgType, _context: QtCore.QMessageLogContext, text: str) -> None:
    if kind in (QtCore.QtMsgType.QtDebugMsg, QtCore.QtMsgType.QtInfoMsg) or text in _HARMLESS:
        return
    _recorded.append(f"Qt says: {text}")
    print(text, file=sys.stderr)


def _on_vtk_error(_window: vtk.vtkObject, _event: str, text: str) -> None:
    _recorded.append(f"VTK says: {text}")


def _on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    _recorded.append(text)
    print(text, file=sys.stderr)
