"""Slicer without Slicer: the shipped module and its panel on slicer-core, with PySide6 in the place of PythonQt.

Scene, nodes and module logics are slicer-core's, the real ones, and so is `slicer.util`. The application, the
widgets of CTK and of MRML, and a few services are stand-ins of the harness's own. What Slicer would only log, or
pass over in silence, is an error here: an unknown signal, property or widget class, a node of the wrong type.

What passes here is tested against slicer-core and a harness. It is not tested in Slicer.
"""

import os
import sys
from pathlib import Path
from typing import Any

import PySide6

__all__ = ["start"]


def start(temporary_folder: Path) -> Any:
    """Starts the application, once in a process, and makes `slicer`, `qt` and `ctk` importable as in Slicer.

    Args:
        temporary_folder: what `slicer.app.temporaryPath` shall be.

    Returns:
        `slicer.app`.
    """
    if sys.version_info < (3, 12) and PySide6.__version_info__ >= (6, 12):
        message = (
            "This PySide6 gives references to None away, and Python before 3.12 aborts once they are used up: "
            "pip install 'PySide6-Essentials<6.12'"
        )
        raise RuntimeError(message)
    # No display is needed; VTK finds its own way with EGL.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # pyplot would draw with Qt as soon as there is an application.
    os.environ.setdefault("MPLBACKEND", "Agg")
    from . import faults, pythonqt

    qt = pythonqt.install()
    import slicer

    if hasattr(slicer, "app"):
        return slicer.app
    from . import application, ctk_widgets, mrml_widgets, services, translation, ui_files

    app = application.install(temporary_folder)
    faults.watch()
    ctk_widgets.install()
    mrml_widgets.install()
    ui_files.register((*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS))
    qt.QUiLoader = ui_files.StrictUiLoader
    slicer.packaging = services.Packaging()
    slicer.i18n = translation.as_module()
    from . import modules, scripted_module, segment_editor, self_tests

    segment_editor.install()

    slicer.util.selectModule = modules.select_module

    slicer.testing = self_tests.as_module()
    slicer.ScriptedLoadableModule = scripted_module.as_module()
    for name in ("packaging", "i18n", "testing", "ScriptedLoadableModule"):
        sys.modules[f"slicer.{name}"] = getattr(slicer, name)
    sys.modules["SampleData"] = services.sample_data_module()
    return app
