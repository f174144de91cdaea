"""`automedsam compare`: a volume in INT8 and in FP32, and a table of how far the two agree."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich.console import Console
from rich.table import Table

from automedsam.bundle import load_bundle
from automedsam.cli import terms
from automedsam.cli.console import RunProgress
from automedsam.cli.terminal import say
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write, check_writable
from automedsam.io.role_reader import files_of, parse_input, read_modalities
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.pipeline.comparison import Comparison, ComparisonRow, ComparisonRun

COLUMNS = ("measure", "segment", "unit", "INT8", "FP32", "INT8 vs FP32")


def compare_files(
    inputs: list[Path],
    output: Path | None,
    *,
    model: str,
    difference: Path | None,
    threshold: float | None,
    plane: Plane | None,
    device: str,
    series: int | None,
) -> None:
    """Compares and writes a table as CSV, and where the two differ as a segmentation; both are written, or neither.

    Args:
        inputs: as of `automedsam segment`.
        output: the CSV file; the table is printed as well.
        model: a bundle's name or folder, with files of both precisions.
        difference: a segmentation file.
        threshold: the confidence from which an object is accepted.
        plane: of the slices.
        device: where FP32 computes on PyTorch.
        series: which volume of a DICOM folder that holds several, from 1.

    Raises:
        AutoMedSAMError: If an input, an option or an output is not what it should be; nothing is written.
    """
    images = [parse_input(one) for one in inputs]
    paths = files_of(images)
    _check_outputs(output, difference, paths)
    bundle = load_bundle(model)
    volume = read_modalities(images, bundle.roles, bundle.name, series=series)
    if difference is not None:
        check_output(difference, volume, paths)
    run = ComparisonRun(volume, bundle, threshold=threshold, plane=plane, device=device)
    terms.ask(bundle)
    with RunProgress() as progress:
        for _, event in run.events():
            progress.show(event)
        comparison = run.result()
    if output is None:
        _write_difference(comparison, difference)
    else:
        with atomic_write(output, paths) as unfinished:
            unfinished.write_text(as_csv(comparison.rows), encoding="utf-8", newline="")
            _write_difference(comparison, difference)
    say(*volume.notes, *(warning.sentence for warning in run.input_warnings))
    Console().print(comparison_table(comparison, *(path for path in (output, difference) if path is not None)))
    if line := terms.notice(bundle):
        say(line)


def as_csv(rows: list[ComparisonRow]) -> str:
    """The rows with a header line; what a row does not have is left empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row, "{:.6g}") for row in rows)
    return text.getvalue()


def comparison_table(comparison: Comparison, *written: Path) -> Table:
    """The table for a terminal."""
    table = Table(title=f"INT8 and FP32 ({comparison.reference.value})", title_justify="left")
    for place, column in enumerate(COLUMNS):
        table.add_column(column.capitalize() if place < 3 else column, justify="left" if place < 3 else "right")
    for row in comparison.rows:
        table.add_row(*_cells(row, "{:.3f}"))
    if written:
        table.caption = "Written: " + ", ".join(str(path) for path in written)
    return table


def _cells(row: ComparisonRow, shape: str) -> list[str]:
    numbers = (_number(value, shape) for value in (row.int8, row.fp32, row.between))
    return [row.measure, row.segment, row.unit, *numbers]


def _number(value: float | None, shape: str) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else shape.format(value)


def _write_difference(comparison: Comparison, path: Path | None) -> None:
    if path is not None:
        write_segmentation(comparison.difference, path)


def _check_outputs(output: Path | None, difference: Path | None, inputs: list[Path]) -> None:
    if output is not None:
        if output.suffix.lower() != ".csv":
            message = f"The table is a CSV file, but {output} does not end in .csv: choose another name."
            raise AutoMedSAMError(message)
        check_writable(output, inputs)
    if difference is not None:
        check_output(difference, inputs=inputs)
