"""A progress bar on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn


class ProgressBar:
    """Shows a bar on standard error while its `with` block lasts, unless that is a file or a pipe.

    Args:
        console: The console on standard error.
        columns: What the bar shows.
    """

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._progress = Progress(*columns, console=console, transient=True)
        # In a file or a pipe, rich's start and stop would leave empty lines.
        self._shown = console.is_interactive

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        if self._shown:
            self._progress.start()

    def _stop(self) -> None:
        if self._shown:
            self._progress.stop()
