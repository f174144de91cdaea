"""`automedsam replay`: run again what a segmentation says of itself."""

from __future__ import annotations

from pathlib import Path

import typer

from automedsam.cli.console import RunProgress
from automedsam.cli.terminal import printable
from automedsam.pipeline.replay import replay

DIFFERENT = 1
"""Exit code of a replay with other voxels."""


def replay_file(path: Path, inputs: list[Path], *, model: str | None, series: int | None) -> None:
    """Replays and prints whether the voxels are the same, and what differs; see `automedsam.pipeline.replay.replay`.

    Raises:
        AutoMedSAMError: If it cannot be replayed.
        typer.Exit: With code 1 if voxels differ.
    """
    with RunProgress() as progress:
        found = replay(path, inputs, model=model, series=series, progress=progress.show)
    if found.same:
        typer.echo(f"The same: all {found.labeled} labeled voxels agree.")
    else:
        typer.echo(f"Different: {found.differing} voxels differ, {found.labeled} are labeled (Dice {found.dice:.4f}).")
    for one in found.differences:
        typer.echo(printable(f"  {one}"))
    if not found.same and not found.differences:
        typer.echo("  Model, input, versions and threads are the same: the file was edited, or the processor differs.")
    if not found.same:
        raise typer.Exit(DIFFERENT)
