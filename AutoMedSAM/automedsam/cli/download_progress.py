"""The progress of a download or an import on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from automedsam.cli.progress_bar import ProgressBar
from automedsam.cli.terminal import say


class DownloadProgress(ProgressBar):
    """Shows the bytes of a file, and a single line if standard error is a file or a pipe.

    Args:
        doing: "Downloading" or "Importing".
        name: Of the file.
        size: The file's bytes; None if they are not known.
    """

    def __init__(self, doing: str, name: str, size: int | None) -> None:
        super().__init__(
            Console(stderr=True),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._line = f"{doing} {name}" + (f" ({size / 1e6:.1f} MB)" if size else "")
        self._task = self._progress.add_task(f"{doing} {name}", total=size)
        self._line_printed = False

    def show(self, done: int, total: int | None) -> None:
        """Moves the bar to `done` of `total` bytes."""
        if not self._shown and not self._line_printed:
            self._line_printed = True
            say(f"{self._line} ...")
        self._progress.update(self._task, completed=done, total=total)

    def interrupted(self, ask: Callable[[], None]) -> None:
        """Asks a question on the terminal, without the bar in its way."""
        self._stop()
        ask()
        self._start()
