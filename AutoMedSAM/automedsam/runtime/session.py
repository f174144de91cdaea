"""ONNX Runtime sessions as this engine wants them: on the CPU, quiet, and kind to the other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.core.memory import is_out_of_memory, not_enough_memory
from automedsam.core.native_path import sitk_path
from automedsam.errors import AutoMedSAMError

if TYPE_CHECKING:
    import onnxruntime as ort


def open_session(path: Path, threads: int | None = None) -> ort.InferenceSession:
    """Loads a model file.

    Args:
        path: an ONNX file.
        threads: threads within an operator; all the cores that this process may use if None.

    Raises:
        AutoMedSAMError: if ONNX Runtime is missing or the file is not a model that it can run.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        if is_out_of_memory(error):
            raise AutoMedSAMError(not_enough_memory("load ONNX Runtime")) from error
        message = "ONNX Runtime is missing: pip install onnxruntime."
        raise AutoMedSAMError(message) from error

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    # What goes wrong comes as an exception; the same on standard error would be read by nobody.
    options.log_severity_level = 4
    # Waiting threads that spin would take the cores from the viewer that this engine serves.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with sitk_path(path) as readable:
            return ort.InferenceSession(readable, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public base class.
        if is_out_of_memory(error):
            raise AutoMedSAMError(not_enough_memory(f"load the model file {path.name}")) from error
        message = f"The model file {path} cannot be run ({type(error).__name__}): install the bundle again."
        raise AutoMedSAMError(message) from error


def available_cores() -> int:
    """The cores that this process may use, at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)
