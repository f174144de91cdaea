"""`automedsam-lab bench`: how fast, how large and how faithful INT8 is beside FP32 and the stock predictor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require

if TYPE_CHECKING:
    from automedsam.bundle import Bundle

app = typer.Typer()

RANDOM_NAME = "medsam2-size-random-weights"
TABLE, PLOT, FIGURES = "bench.md", "bench.png", "bench.json"


@app.command()
def bench(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the table, the plot and all measurements.")],
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models listed by 'automedsam models', or folders of converted bundles.",
            metavar="[BUNDLE]...",
            show_default="a model of MedSAM2's size with random weights, and the built-in models",
        ),
    ] = None,
    slices: Annotated[int, typer.Option(min=3, help="Number of slices to track the object through.")] = 40,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs of each implementation.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores available to each implementation.", show_default="all")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Implementation to run: stock, fp32 or int8. Can be repeated.", show_default="all"),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file in which table and plot replace the text between the lines <!-- bench --> and "
            "<!-- end of bench -->.",
            show_default="none",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder to keep the bundle of random weights in, and to reuse it from.", show_default="none"),
    ] = None,
) -> None:
    """Measure time and memory of the reference sam2 predictor, our FP32 and our INT8 on the same slices.

    To measure a checkpoint of your own, convert it first and give the folder of its bundle.
    """
    with require("train", "The benchmark"):
        import matplotlib as _matplotlib  # noqa: F401  before anything is measured in vain

        from automedsam.bundle import list_bundles, load_bundle
        from automedsam_lab.benchmark.report import markdown, plot, put_into
        from automedsam_lab.benchmark.run import TITLES, Options
        from automedsam_lab.benchmark.run import bench as measure
        from automedsam_lab.common.json_files import write_json
        from automedsam_lab.common.system_info import describe_machine

    if not out.parent.is_dir():
        message = f"The folder {out.parent} does not exist; make it or choose another."
        raise AutoMedSAMError(message)
    unknown = sorted(set(only or ()) - set(TITLES))
    if unknown:
        message = f"There is no implementation {unknown[0]}: choose among {', '.join(TITLES)}."
        raise AutoMedSAMError(message)
    if readme is not None:
        put_into(readme, None)
    options = Options(slices, repeats, threads, tuple(only or TITLES))
    with ExitStack() as stack:
        if bundles:
            chosen = [load_bundle(name) for name in bundles]
        else:
            chosen = [stack.enter_context(_random(keep)), *list_bundles(installed=False)]
        benchmarks = [measure(bundle, options) for bundle in chosen]
    machine = describe_machine()
    out.mkdir(exist_ok=True)
    write_json({"machine": machine, "bundles": [benchmark.to_json() for benchmark in benchmarks]}, out / FIGURES)
    table = markdown(benchmarks, machine)
    (out / TABLE).write_text(table, encoding="utf-8")
    plot(benchmarks, out / PLOT)
    if readme is not None:
        put_into(readme, f"{table}\n![Time of a slice by stage]({os.path.relpath(out / PLOT, readme.parent)})")
    typer.echo(table)
    typer.echo(f"Written: {out}")


@contextmanager
def _random(keep: Path | None) -> Iterator[Bundle]:
    """The bundle of random weights, kept if a place is given."""
    with require("train", "Making a model of MedSAM2's size"):
        from automedsam.bundle import MANIFEST_NAME, load_bundle
        from automedsam_lab.benchmark.models import MEDSAM2, random_bundle
        from automedsam_lab.checkpoints.model_zoo import find_config

    if keep is not None and (keep / MANIFEST_NAME).is_file():
        yield load_bundle(keep)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield random_bundle(find_config(MEDSAM2), keep or Path(temporary) / RANDOM_NAME)
