"""The progress of a download or an import on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from automedsam.cli.terminal import say


class DownloadProgress:
    """Shows a bar on standard error while its `with` block lasts; one line where it is a file.

    Args:
        doing: "Downloading" or "Importing".
        name: Of the file.
        size: The file's bytes; None if they are not known.
    """

    def __init__(self, doing: str, name: str, size: int | None) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._line = f"{doing} {name}" + (f" ({size / 1e6:.1f} MB)" if size else "")
        self._task = self._progress.add_task(f"{doing} {name}", total=size)
        # In a file or a pipe, rich's start and stop would leave empty lines.
        self._shown, self._said = console.is_interactive, False

    def __enter__(self) -> DownloadProgress:
        if self._shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()

    def show(self, done: int, total: int | None) -> None:
        """Moves the bar to `done` of `total` bytes."""
        if not self._shown and not self._said:
            self._said = True
            say(f"{self._line} ...")
        self._progress.update(self._task, completed=done, total=total)

    def interrupted(self, ask: Callable[[], None]) -> None:
        """Asks a question on the terminal, without the bar in its way."""
        if self._shown:
            self._progress.stop()
        ask()
        if self._shown:
            self._progress.start()
