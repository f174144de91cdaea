"""`automedsam-lab evaluate`: a bundle on cases that it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.datasets import BundleTask, DataFolder, PreparedFolder, Split, open_dataset
from automedsam_lab.cli.options import OnError, progress, renamed
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command()
def evaluate(
    bundle: Annotated[str, typer.Argument(help="A model listed by 'automedsam models', or the folder of a bundle.")],
    data: DataFolder = None,
    prepared: PreparedFolder = None,
    split: Split = "test",
    task: BundleTask = None,
    backends: Annotated[
        str | None,
        typer.Option(
            help="Backends, separated by commas: int8, fp32-onnx, fp32.",
            show_default="int8, and fp32-onnx if its files are installed",
        ),
    ] = None,
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline",
            help="Folder of a baseline, with baseline.json and a label map for each case. Can be repeated.",
        ),
    ] = None,
    old_baselines: Annotated[list[Path] | None, typer.Option("--rival", hidden=True)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results.", show_default="evaluation-BUNDLE"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of cases.", show_default="all")] = None,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Tolerance of the surface Dice in mm.")] = 1.0,
    jitter: Annotated[
        float, typer.Option(help="Largest shift of an edge of the perturbed box, as a fraction of the side.")
    ] = 0.1,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of perturbed boxes, bootstrap and timed slices.")
    ] = 2025,
    resamples: Annotated[int, typer.Option(min=1, help="Number of bootstrap resamples (by patient).")] = 2000,
    timed_images: Annotated[int, typer.Option(min=0, help="Number of slices to time one by one; 0 skips this.")] = 100,
    pictures: Annotated[bool, typer.Option(help="Show slices of the data in the report.")] = True,
    on_error: Annotated[
        OnError, typer.Option(help="What to do with a case that cannot be used or that the model was trained on.")
    ] = OnError.STOP,
) -> None:
    """Evaluate a model with and without prompts, compare it with baselines, and write an HTML report."""
    from rich.console import Console

    from automedsam.bundle import load_bundle

    with require("lab", "Evaluation"):
        from automedsam_lab.evaluation.baseline_scores import PredictionFolder
        from automedsam_lab.evaluation.cases import held_out_cases
        from automedsam_lab.evaluation.run import ComparedMethods, available_backends
        from automedsam_lab.evaluation.run import evaluate as run_evaluation
        from automedsam_lab.evaluation.settings import EvaluationSettings
        from automedsam_lab.evaluation.summary import summary_tables

    skip_bad = on_error is OnError.SKIP
    settings = EvaluationSettings(
        tolerance_mm=tolerance_mm,
        jitter=jitter,
        seed=seed,
        resamples=resamples,
        timed_images=timed_images,
        pictures=pictures,
        skip_bad=skip_bad,
    )
    model = load_bundle(bundle)
    opened = [
        PredictionFolder.open(folder)
        for folder in [*(baselines or ()), *renamed("--rival", "--baseline", old_baselines or ())]
    ]
    chosen = available_backends(model) if backends is None else _backends(backends)
    dataset = open_dataset(task or model.name, data, prepared)
    selection = held_out_cases(model, dataset, split, limit, skip_bad=skip_bad)
    folder = output or Path(f"evaluation-{model.name}")
    with progress() as bar:
        task_bar = bar.add_task("Evaluating", total=len(selection.cases) * len(chosen))
        methods = ComparedMethods(chosen, opened)
        rows = run_evaluation(model, selection, folder, methods, settings, lambda done: bar.advance(task_bar))
    Console().print(*summary_tables(rows))
    kept = len({row.case for row in rows})
    if missing := len(selection.excluded) + len(selection.cases) - kept:
        typer.echo(f"Left out: {missing} of {missing + kept} cases; the report lists the reasons.")
    typer.echo(f"Means over {selection.description}. Report: {folder / 'report.html'}")


def _backends(names: str) -> list[Backend]:
    known = {backend.value: backend for backend in Backend}
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        message = f"There is no backend {', '.join(unknown) or names!r}; use any of {', '.join(known)}."
        raise AutoMedSAMError(message)
    return [known[name] for name in dict.fromkeys(chosen)]
