"""What several of the lab's commands share: the progress bar, and the choice of `--on-error`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

_T = TypeVar("_T")


def progress() -> Progress:
    """A bar with counts and the time left, on standard error; it shows nothing where that is a file."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_interactive)


class OnError(str, Enum):
    """What to do about a file or a case that cannot be used."""

    SKIP = "skip"
    STOP = "stop"


def renamed(old: str, new: str, values: Sequence[_T]) -> Sequence[_T]:
    """The values of an option that has another name now, with a warning if there are any."""
    if values:
        typer.echo(f"{old} has been renamed to {new}; the old name will be removed in the next release.", err=True)
    return values
