"""Silence for the C++ libraries below SimpleITK, whose complaints mean nothing to a user."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_OUTPUT, _ERROR = 1, 2


@contextmanager
def suppress_sitk_output(*, output: bool = False) -> Iterator[None]:
    """Keep SimpleITK's warnings, and what its readers print past it, off the terminal.

    NIfTI, MetaImage and PNG code writes straight to the process's standard error, so that is what is turned
    away, for the whole process and only while the block runs. Exceptions pass through.

    Args:
        output: Turn standard output away as well, which is where ITK's JPEG code prints.
    """
    import SimpleITK as sitk

    warned = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with ExitStack() as stack:
            for descriptor in (_ERROR, _OUTPUT) if output else (_ERROR,):
                stack.enter_context(_redirected_to_null(descriptor))
            yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warned)


@contextmanager
def _redirected_to_null(descriptor: int) -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(descriptor)
    except OSError:
        # A program without a terminal (pythonw, a Slicer started from its icon) has no such stream.
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        yield
    finally:
        _flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def _flush() -> None:
    """Send what Python and the C library still hold to where it was meant to go."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
    library.fflush(None)
