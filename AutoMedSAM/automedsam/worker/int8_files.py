"""Makes the INT8 files of a downloaded model before its first run in INT8, as a part of that run's request."""

from __future__ import annotations

import threading

from automedsam.bundle import Bundle
from automedsam.core.events import Stage
from automedsam.pipeline.int8_files import make_int8
from automedsam.pipeline.run import SegmentationRun
from automedsam.worker.channel import Send


class MakingCancelledError(Exception):
    """The files are no longer wanted; nothing has changed."""


class Int8Maker:
    """Makes INT8 files, and sends "stage" and "progress" events meanwhile.

    Args:
        number: The request's "id".
        send: Sends an event.
        cancelled: Set when the request is no longer wanted.
    """

    def __init__(self, number: int, send: Send, cancelled: threading.Event) -> None:
        self._number, self._send, self._cancelled = number, send, cancelled

    def make(self, run: SegmentationRun) -> Bundle:
        """The run's bundle with its INT8 files, calibrated on the run's volume.

        Raises:
            AutoMedSAMError: As `make_int8` does.
            MakingCancelledError: If the request was cancelled.
        """
        return make_int8(run.bundle, run.channels, self._show)

    def _show(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise MakingCancelledError
        if done == 0:
            self._send("stage", id=self._number, stage=Stage.QUANTIZE.value, total=total)
        else:
            self._send("progress", id=self._number, done=done)
