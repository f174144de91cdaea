"""Waiting for a run's end while the window stays live."""

import time
from collections.abc import Callable

import slicer

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.run import Outcome, RunInfo, SilentListener


class BlockingRun(SilentListener):
    """A listener that can be waited for.

    Args:
        on_progress: called with the share that is done, 0 to 1, and a line of text.
    """

    def __init__(self, on_progress: Callable[[float, str], None] | None = None) -> None:
        self._run: RunInfo | None = None
        self._outcome: Outcome | None = None
        self._on_progress = on_progress

    def on_started(self, run: RunInfo) -> None:
        self._run = run

    def on_progress(self, fraction: float, text: str) -> None:
        if self._on_progress is not None:
            self._on_progress(fraction, text)

    def on_finished(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def wait(self) -> slicer.vtkMRMLSegmentationNode:
        """Turns the event loop until the run has ended.

        Returns:
            The run's segmentation.

        Raises:
            AutoMedSAMError: If the run failed or was cancelled.
        """
        while self._outcome is None:
            # A nested QEventLoop would be run by exec_ or exec, depending on the version of PythonQt.
            slicer.app.processEvents()
            time.sleep(0.002)
        if self._outcome.status != "finished" or self._run is None:
            raise AutoMedSAMError(self._outcome.message, self._outcome.details)
        return self._run.segmentation
