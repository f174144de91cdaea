"""`automedsam segment`: files in, a segmentation file out, and what happened on the terminal."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from automedsam.backends import Backend
from automedsam.bundle import load_bundle
from automedsam.console import RunProgress, report_table
from automedsam.events import Finished, RunReport, SliceSegmented
from automedsam.pipeline import Run
from automedsam.reading import read_volume
from automedsam.volume import Plane
from automedsam.writing import check_output, write_segmentation

STOPPED = 130


def segment_files(
    inputs: list[Path],
    output: Path,
    *,
    model: str,
    backend: Backend,
    threshold: float | None,
    plane: Plane | None,
    device: str,
) -> None:
    """Segments what is in the files and writes it; see `automedsam.pipeline.Run` for the options.

    A run that is stopped with Ctrl-C is written as far as it went, and ends with exit code 130.

    Raises:
        AutoMedSAMError: If an input, an option or the output is not what it should be; nothing is written.
    """
    check_output(output, inputs=inputs)
    bundle = load_bundle(model)
    volume = read_volume(inputs)
    check_output(output, volume, inputs)
    run = Run(volume, bundle, backend=backend, threshold=threshold, plane=plane, device=device)
    report: RunReport | None = None
    finished: set[int] = set()
    try:
        with RunProgress() as progress:
            for event in run.events():
                progress.show(event)
                if isinstance(event, SliceSegmented):
                    finished.add(event.index)
                elif isinstance(event, Finished):
                    report = event.report
    except KeyboardInterrupt:
        report = None
    write_segmentation(run.result(), output)
    if report is None:
        typer.echo(f"Stopped: {output} holds the {len(finished)} slices that were segmented so far.", err=True)
        raise typer.Exit(STOPPED)
    Console().print(report_table(report, output))
    if not report.objects:
        typer.echo(
            f"Nothing was found at a threshold of {run.linking.threshold:g}, so {output} holds an empty "
            "segmentation; a lower --threshold finds more.",
            err=True,
        )
