"""`automedsam measure`: a label file in, a table out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from automedsam.cli.terminal import printable, say
from automedsam.core.volume import Plane
from automedsam.io.atomic import atomic_write
from automedsam.measure.objects import Measures
from automedsam.measure.table import to_csv
from automedsam.pipeline.measure_files import measure_file

_MAX_ROWS = 40


def measure_labels(
    labels: Path, output: Path | None, *, image: Path | None, reference: Path | None, plane: Plane | None
) -> None:
    """Measures a label file, prints a table, and writes it as CSV if `output` is not None.

    Raises:
        AutoMedSAMError: If a file is not what it should be, or grids differ; nothing is written.
    """
    inputs = [path for path in (labels, image, reference) if path is not None]
    if output is None:
        found = measure_file(labels, image=image, reference=reference, plane=plane)
    else:
        with atomic_write(output, inputs) as unfinished:
            found = measure_file(labels, image=image, reference=reference, plane=plane)
            unfinished.write_text(to_csv(found.measures), encoding="utf-8")
    Console().print(measures_table(found.measures))
    if len(found.measures) > _MAX_ROWS:
        say(f"{len(found.measures) - _MAX_ROWS} more rows are in the CSV file that --output writes.")
    for name, count in found.missed.items():
        if count:
            say(f"{name}: {count} connected part{'s' * (count > 1)} of the reference not overlapped by any object.")
    if not any(one.voxels for one in found.measures):
        say(f"{labels} is empty: it has no labeled voxel.")


def write_table(measures: list[Measures], path: Path) -> None:
    """Writes measures as CSV.

    Raises:
        AutoMedSAMError: If the file cannot be written; what was there before is then still there.
    """
    with atomic_write(path) as unfinished:
        unfinished.write_text(to_csv(measures), encoding="utf-8")


def measures_table(measures: list[Measures]) -> Table:
    """Measures for the terminal, one a row."""
    table = Table("Segment", "Object", "ml", "Slices", "Diameters (mm)", box=None, padding=(0, 2, 0, 0))
    extras = {"Dice": [one.dice for one in measures], "Mean": [one.mean for one in measures]}
    shown = [name for name, values in extras.items() if any(value is not None for value in values)]
    for name in shown:
        table.add_column(name)
    for one in measures[:_MAX_ROWS]:
        first, last = one.slices or ("", "")
        cells = [
            printable(one.segment),
            "all" if one.number is None else str(one.number),
            f"{one.volume_ml:.2f}",
            f"{first}-{last}" if one.voxels else "-",
            f"{one.long_mm:.1f} x {one.short_mm:.1f}" if one.voxels else "-",
        ]
        for name in shown:
            value = one.dice if name == "Dice" else one.mean
            cells.append("-" if value is None else f"{value:.3f}" if name == "Dice" else f"{value:.4g}")
        table.add_row(*(Text(cell) for cell in cells))
    return table
