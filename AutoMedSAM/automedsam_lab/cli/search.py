"""`automedsam-lab search`: the encoder of a small segmenter, by a differentiable search with its controls.

`search_video` has the command for the video part.
"""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.search_video import video
from automedsam_lab.cli.train import stoppable
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer(no_args_is_help=True, help="Search the architecture of the small segmenter's encoder and video part.")
app.command()(video)


class Size(str, Enum):
    """The sizes that a search is run for."""

    S = "s"
    M = "m"
    L = "l"


class Cost(str, Enum):
    """What the target is in: milliseconds by the table, or millions of multiply-accumulates."""

    MS = "ms"
    MACS = "macs"


Table = Annotated[Path, typer.Option(help="The latency table, a JSON file.")]


@app.command()
def table(
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON file; one that is there is continued.")],
    repeats: Annotated[int, typer.Option(min=3, help="Runs of each graph, the least of which counts.")] = 60,
) -> None:
    """Measure each operation at each width and resolution in ONNX Runtime, in INT8 on one thread."""
    with require("train", "The latency table"):
        import torch

        from automedsam_lab.search.latency_table import measure_table, table_keys
        from automedsam_lab.search.space import SearchSpace

    torch.set_num_threads(1)
    measure_table(table_keys(SearchSpace()), out, repeats=repeats)
    typer.echo(f"Written: {out}")


@app.command()
def run(
    out: Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")],
    cache: Annotated[
        Path, typer.Option(help="The folder with packed images and, if there are any, a teacher's targets.")
    ],
    latency: Table,
    size: Annotated[Size, typer.Option(help="Which target, unless --target names another.")] = Size.M,
    target: Annotated[
        float | None, typer.Option(help="The greatest cost of stem and stages.", show_default="by --size")
    ] = None,
    cost: Annotated[Cost, typer.Option(help="What the target is in.")] = Cost.MS,
    minutes: Annotated[
        float | None, typer.Option(help="CPU time of warm-up and search; the random search gets as much.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of warm-up and search, if not by time.")] = None,
    final_steps: Annotated[int, typer.Option(min=1, help="Steps for which each winner is trained alone.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 6,
    singles: Annotated[int, typer.Option(min=1, help="How many single-operation networks are trained alone.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in the folder.")] = False,
) -> None:
    """Search, run random search and single operations as controls, and train the winners alone.

    Writes architecture.json, the best network's, and search.json; `search report` draws them.
    """
    with require("train", "The search"):
        from automedsam_lab.distillation.pack import Pack
        from automedsam_lab.distillation.pipeline import PACK, TARGETS
        from automedsam_lab.distillation.targets import Targets
        from automedsam_lab.search.differentiable import SearchSettings
        from automedsam_lab.search.latency_table import CostKind, CostTable
        from automedsam_lab.search.report import write_search_report
        from automedsam_lab.search.run import StudySettings, run_study, verdict
        from automedsam_lab.search.space import TARGETS_MS, SearchSpace, SpaceCosts

    if cost is Cost.MACS and target is None:
        message = "A target in multiply-accumulates has no default: give --target in millions."
        raise AutoMedSAMError(message)
    settings = SearchSettings(
        minutes=math.inf if minutes is None else minutes,
        steps=steps,
        target=target if target is not None else TARGETS_MS[size.value],
        batch=batch,
        seed=seed,
    )
    costs = SpaceCosts(SearchSpace(), CostTable(latency, CostKind(cost.value)))
    pack = Pack(cache / PACK)
    targets = Targets(cache / TARGETS, pack) if (cache / TARGETS).is_dir() else None
    study = StudySettings(settings, final_steps, singles=singles)
    with stoppable(out):
        trained = run_study((pack, targets), costs, out, settings=study, resume=resume)
    write_search_report([out], out)
    typer.echo(verdict(trained))
    typer.echo(f"Written: {out / 'architecture.json'}")


@app.command()
def report(
    studies: Annotated[list[Path], typer.Argument(help="Folders of `search run`, such as those of S, M and L.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for search.png and search.html.")],
) -> None:
    """Draw Dice against milliseconds for the networks of one or more studies."""
    with require("lab", "The report"):
        from automedsam_lab.search.report import write_search_report

    write_search_report(studies, out)
    typer.echo(f"Written: {out / 'search.html'}")
