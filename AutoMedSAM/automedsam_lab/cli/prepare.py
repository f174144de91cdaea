"""`automedsam-lab prepare`: a published archive as 640 x 640 images with boxes, split by patient."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import available_cores
from automedsam_lab.cli.options import OnError, progress
from automedsam_lab.data.preparation import PreparationSummary
from automedsam_lab.data.prepare.run import MIN_SIDE, SEED, Settings, prepare
from automedsam_lab.data.readers.base import ReaderOptions
from automedsam_lab.data.readers.registry import DatasetFormat
from automedsam_lab.data.shards.write import ShardSettings, write_shards

app = typer.Typer()


class Target(str, Enum):
    """Part of a glioma that is boxed."""

    WHOLE_TUMOUR = "whole-tumour"
    TUMOUR_CORE = "tumour-core"
    ENHANCING_TUMOUR = "enhancing-tumour"
    LABELS = "labels"


class Unboxed(str, Enum):
    """Which radiographs without boxes to take."""

    NONE = "none"
    NO_FINDING = "no-finding"
    ALL = "all"


_VOLUMES, _BRATS, _XRAY, _VIDEO, _SA_MED2D = "Volumes", "BraTS", "ChestX-ray14", "Videos", "SA-Med2D-20M"
# Which layouts an option that not all know is for.
_MEANT_FOR = {
    "year": {DatasetFormat.BRATS},
    "target": {DatasetFormat.BRATS},
    "modality": {DatasetFormat.BRATS, DatasetFormat.DECATHLON},
    "plane": {DatasetFormat.BRATS, DatasetFormat.DECATHLON, DatasetFormat.NPZ},
    "window": {DatasetFormat.BRATS, DatasetFormat.DECATHLON, DatasetFormat.NPZ},
    "empty": {DatasetFormat.BRATS, DatasetFormat.DECATHLON, DatasetFormat.NPZ},
    "labels": {DatasetFormat.DECATHLON, DatasetFormat.NPZ, DatasetFormat.VIDEOS},
    "every": {DatasetFormat.VIDEOS},
    "unboxed": {DatasetFormat.CHESTXRAY14},
    "shards": {DatasetFormat.SA_MED2D},
    "shard-mb": {DatasetFormat.SA_MED2D},
}


@app.command("prepare")
def prepare_command(
    layout: Annotated[DatasetFormat, typer.Argument(help="Format of the dataset.", metavar="FORMAT")],
    root: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Output folder: a new one, or that of an interrupted run to resume it.")
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="A JSON file with lists of patients under train, val and test; a folder with the dataset's own "
            "train.txt, val.txt or test.txt (or train_val_list.txt); or hippocampus, glioma or chest-xray.",
            show_default="70, 20 and 10 % of the patients, at random",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = SEED,
    patient: Annotated[
        str | None,
        typer.Option(
            help="Regular expression whose first group matches the patient in a case's name.",
            show_default="as the format defines it",
        ),
    ] = None,
    least_side: Annotated[
        float, typer.Option(min=0, help="Minimum side of a box in pixels (of 640); smaller boxes are dropped.")
    ] = MIN_SIDE,
    on_error: Annotated[OnError, typer.Option(help="What to do with a file that cannot be used.")] = OnError.SKIP,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of processes.", show_default="the number of cores")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Label names, if the dataset has none: 1=polyp,2=ulcer.", show_default="from the dataset"),
    ] = None,
    plane: Annotated[
        Plane | None,
        typer.Option(help="Plane of the slices.", show_default="as acquired, else axial", rich_help_panel=_VOLUMES),
    ] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Intensities that map to black and white.",
            show_default="-160 240 for the Decathlon's CT, else percentiles",
            rich_help_panel=_VOLUMES,
        ),
    ] = None,
    empty: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Number of slices without an object to keep for each slice with one.",
            show_default="0.5",
            rich_help_panel=_VOLUMES,
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Modality to use, for BraTS and Decathlon tasks with several channels.",
            show_default="FLAIR, or the first channel",
            rich_help_panel=_VOLUMES,
        ),
    ] = None,
    year: Annotated[
        int | None,
        typer.Option(
            help="Year of the challenge, which defines the meaning of the labels.",
            show_default="recognized from the file names",
            rich_help_panel=_BRATS,
        ),
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option(help="Structure to box.", show_default="whole-tumour", rich_help_panel=_BRATS),
    ] = None,
    unboxed: Annotated[
        Unboxed | None,
        typer.Option(help="Radiographs without boxes to include.", show_default="none", rich_help_panel=_XRAY),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frame step: 1 uses every frame, 2 every other one.", show_default="1", rich_help_panel=_VIDEO
        ),
    ] = None,
    shards: Annotated[
        bool,
        typer.Option(
            "--shards",
            help="Write tar files of the original images for `train streamed`, instead of 640 x 640 PNG files.",
            show_default=False,
            rich_help_panel=_SA_MED2D,
        ),
    ] = False,
    shard_mb: Annotated[
        float | None,
        typer.Option(min=0.01, help="Largest shard in MB.", show_default="256", rich_help_panel=_SA_MED2D),
    ] = None,
) -> None:
    """Convert a dataset to 640 x 640 PNG images with COCO boxes and a 70/20/10 split by patient.

    FORMAT is chestxray14, brats, decathlon, kvasir, sa-med2d, npz or videos. Re-running resumes an interrupted run.
    """
    chosen = {
        "year": year,
        "target": None if target is None else target.value.replace("-", " "),
        "modality": modality,
        "plane": plane,
        "window": window,
        "empty": empty,
        "labels": None if labels is None else _names(labels),
        "every": every,
        "unboxed": None if unboxed is None else unboxed.value.replace("-", " "),
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    for name in (*given, *_given_of_shards(shards, shard_mb)):
        if layout not in _MEANT_FOR[name]:
            message = f"--{name} is for {', '.join(sorted(_MEANT_FOR[name]))}; leave it out for {layout.value}."
            raise AutoMedSAMError(message)
    if shards:
        if least_side != MIN_SIDE:
            message = "--least-side is for images of 640 x 640 pixels; leave it out with --shards."
            raise AutoMedSAMError(message)
        size = {} if shard_mb is None else {"shard_mb": shard_mb}
        _write_shards(
            ShardSettings(
                root,
                out,
                ReaderOptions(patient=patient),
                seed=seed,
                split=split,
                workers=workers or available_cores(),
                stop=on_error is OnError.STOP,
                **size,
            )
        )
        return
    if shard_mb is not None:
        message = "--shard-mb is the size of shards; give --shards, too."
        raise AutoMedSAMError(message)
    settings = Settings(
        layout,
        root,
        out,
        ReaderOptions(patient=patient, **given),
        seed=seed,
        split=split,
        least_side=least_side,
        workers=workers or available_cores(),
        stop=on_error is OnError.STOP,
    )
    with progress() as bar:
        task = bar.add_task("Listing", total=None)
        summary = prepare(
            settings,
            lambda total, done: bar.update(task, description="Preparing", total=total, completed=done),
            lambda: bar.advance(task),
        )
    _show(summary, out)


def _given_of_shards(shards: bool, shard_mb: float | None) -> list[str]:
    return ["shards"] * shards + ["shard-mb"] * (shard_mb is not None)


def _write_shards(settings: ShardSettings) -> None:
    from rich.console import Console

    from automedsam_lab.common.table import Table

    with progress() as bar:
        task = bar.add_task("Listing", total=None)
        summary = write_shards(
            settings,
            lambda total, done: bar.update(task, description="Writing shards", total=total, completed=done),
            lambda: bar.advance(task),
        )
    table = Table(("Part", "Patients", "Images", "Masks", "MB", "Shards"))
    for part, counts in summary.counts.items():
        figures = (f"{counts[name]:,}" for name in ("patients", "images", "masks"))
        table.add(part, *figures, f"{counts['bytes'] / 1e6:,.1f}", str(counts["shards"]))
    Console().print(table.to_rich())
    _show_skipped(summary, "")
    typer.echo(
        f"{summary.made} shards written, {summary.kept} kept, {summary.skips} images skipped in "
        f"{summary.seconds:.1f} s; {summary.peak_mb:.0f} MB at most. Written: {settings.out}"
    )


def _show(summary: PreparationSummary, out: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("Split", "Patients", "Images", "Boxes", "Without box", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for part, counts in summary.counts.items():
        table.add_row(part, *(str(counts[name]) for name in ("patients", "images", "boxes", "empty")))
    Console().print(table)
    _show_skipped(summary, f", listed in {out / 'manifest.json'}")
    entries = "entry" if summary.made == 1 else "entries"
    typer.echo(
        f"{summary.made} {entries} prepared, {summary.kept} kept, {summary.skips} skipped in {summary.seconds:.1f} s; "
        f"peak memory {summary.peak_mb:.0f} MB. Written: {out}"
    )


def _show_skipped(summary: PreparationSummary, where: str) -> None:
    for flaw in summary.skipped:
        typer.echo(f"Skipped: {flaw.reason}", err=True)
    if others := summary.skips - len(summary.skipped):
        typer.echo(f"And {others} more{where}.", err=True)


def _names(text: str) -> dict[int, str]:
    """`1=polyp,2=ulcer` as names by value."""
    names: dict[int, str] = {}
    for pair in text.split(","):
        value, _, name = pair.partition("=")
        if not value.strip().isdecimal() or not 1 <= int(value) <= 255 or not name.strip():
            message = f"--labels {text!r} is not of the form 1=polyp,2=ulcer, with values from 1 to 255."
            raise AutoMedSAMError(message)
        names[int(value)] = name.strip()
    return names
