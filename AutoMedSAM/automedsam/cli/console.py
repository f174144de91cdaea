"""What a run looks like on a terminal: a progress bar from its events, and tables at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from automedsam.bundle import Bundle
from automedsam.cli.progress_bar import ProgressBar
from automedsam.cli.terminal import printable
from automedsam.contract.catalog import CatalogModel
from automedsam.core.events import Event, RunReport, SliceDetected, SliceSegmented, Stage, StageStarted, TrackletsLinked

_T = TypeVar("_T")

_DOING = {
    Stage.DETECT: "Detecting",
    Stage.LINK: "Linking",
    Stage.SEGMENT: "Segmenting",
    Stage.QUANTIZE: "Making INT8 files",
}


class RunProgress(ProgressBar):
    """Shows the events of a run."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        # Braille dots and any other letter but ASCII are in no older encoding.
        spinner = "dots" if console.encoding.startswith("utf") else "line"
        super().__init__(
            console,
            SpinnerColumn(spinner),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("Loading the model", total=None)

    def track(self, doing: str, things: Iterable[_T], total: int | None) -> Iterator[_T]:
        """Gives things on one by one, under a bar of their own; `total` is None where nobody knows how many come."""
        self._begin(doing, total)
        for thing in things:
            yield thing
            self._progress.advance(self._task)

    def count(self, doing: str, total: int) -> Callable[[object], None]:
        """Begins a bar; the function that it returns moves it on by one thing."""
        self._begin(doing, total)
        return lambda _: self._progress.advance(self._task)

    def quantize(self, done: int, total: int) -> None:
        """Shows the steps in which INT8 files are made."""
        if done == 0:
            self._begin(_DOING[Stage.QUANTIZE], total)
        self._progress.update(self._task, completed=done)

    def show(self, event: Event) -> None:
        """Moves the bar on by one event."""
        match event:
            case StageStarted(stage=stage, total=total):
                self._begin(_DOING[stage], total)
            case SliceDetected() | SliceSegmented():
                self._progress.advance(self._task)
            case TrackletsLinked(tracklets=tracklets):
                self._progress.update(self._task, description=f"Found {len(tracklets)}")

    def _begin(self, doing: str, total: int | None) -> None:
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(doing, total=total)


def report_table(
    report: RunReport, *written: Path, found: Mapping[str, str] | None = None, unit: str = "Slices"
) -> Table:
    """The closing table of a run.

    Args:
        report: of the run.
        written: its files.
        found: what to tell of it where there are no millilitres, in single images and videos.
        unit: what its slices are called.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("Objects", str(report.objects))
    volumes = {f"Volume of {name}": f"{millilitres:.2f} ml" for name, millilitres in report.volume_ml.items()}
    for name, figure in (volumes if found is None else found).items():
        table.add_row(_plain(name), _plain(figure))
    table.add_row(unit, f"{report.segmented_slices} segmented of {report.slices}")
    stages = [f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items()]
    table.add_row("Time", f"{sum(report.seconds.values()):.1f} s ({', '.join(stages)})")
    if report.peak_memory_mb:
        table.add_row("Peak memory", f"{report.peak_memory_mb:.0f} MB")
    table.add_row("Device", _plain(report.device))
    for path in written:
        table.add_row("Written", _plain(str(path)))
    return table


def _plain(text: str) -> Text:
    """Text as it stands: brackets in a file name are no markup."""
    return Text(printable(text))


def bundle_table(bundles: list[Bundle]) -> Table:
    """The models that are here, one a row."""
    table = Table("Model", "Finds", "Takes", "Size", "Held-out Dice")
    for bundle in bundles:
        table.add_row(
            _plain(f"{bundle.name} {bundle.version}"),
            _plain(bundle.task),
            _plain(" + ".join(bundle.modalities)),
            f"{bundle.size_bytes / 1e6:.1f} MB",
            _plain(measured_dice(bundle)),
        )
    return table


def catalog_table(models: Iterable[CatalogModel], installed: set[str], unfinished: Mapping[str, int]) -> Table:
    """The models that can be downloaded, one a row.

    Args:
        models: Of the catalog.
        installed: The names of the models that are here.
        unfinished: The bytes that are here of each download that was stopped, by name.
    """
    table = Table(Column("Name", no_wrap=True), "What it is", "Labels", "Takes", "Size", "State")
    for model in models:
        state = "installed" if model.name in installed else ""
        if model.name in unfinished and not state:
            state = f"{unfinished[model.name] / 1e6:.0f} MB here"
        table.add_row(
            _plain(model.name),
            _plain(model.about),
            _plain(", ".join(model.labels)),
            _plain(" + ".join(model.modalities)),
            f"{model.megabytes:.0f} MB",
            state,
        )
    return table


def measured_dice(bundle: Bundle) -> str:
    """The Dice on held-out patients in a bundle's manifest, the AP50 of boxes without masks, or a dash."""
    measured = bundle.measured
    figures = measured.get("int8", measured)
    found = figures.get("dice") if isinstance(figures, dict) else None
    if isinstance(found, dict):
        return ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    if found is None and isinstance(figures, dict) and isinstance(precision := figures.get("ap50"), int | float):
        return f"none; AP50 of boxes {precision:.3f}"
    return f"{found:.3f}" if isinstance(found, int | float) else "-"
