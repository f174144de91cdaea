"""`automedsam-lab threshold`: whether a bundle's score threshold is still the right one."""

from __future__ import annotations

from typing import Annotated

import typer

from automedsam_lab.cli.datasets import BundleTask, DataFolder, PreparedFolder, open_dataset
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command()
def threshold(
    bundle: Annotated[str, typer.Argument(help="A model listed by 'automedsam models', or the folder of a bundle.")],
    data: DataFolder = None,
    task: BundleTask = None,
    prepared: PreparedFolder = None,
) -> None:
    """Compare a bundle's score threshold with the one of the best F1 on validation patients; nothing is changed.

    Without validation patients, training patients are used; do not select a threshold from them.
    """
    from rich.console import Console
    from rich.progress import track

    from automedsam.bundle import load_bundle

    with require("lab", "Comparing thresholds"):
        from automedsam_lab.common.table import Table
        from automedsam_lab.data.dataset import selection_cases
        from automedsam_lab.evaluation.threshold import compare_thresholds

    model = load_bundle(bundle)
    dataset = open_dataset(task or model.name, data, prepared)
    cases, split = selection_cases(dataset)
    console = Console(stderr=True)
    shown = track(cases, "Detecting", console=console, transient=True, disable=not console.is_terminal)
    found = compare_thresholds(model, shown)
    table = Table(["", "threshold", "F1 of boxes", "Dice"])
    for name, scores in (("the bundle's", found.own), ("best F1", found.best)):
        mean = sum(scores.dice) / len(scores.dice)
        table.add(name, f"{scores.threshold:.3f}", f"{scores.f1:.4f}", f"{mean:.4f}")
    Console().print(table.to_rich(f"{model.name} {model.version}, INT8: {dataset.describe(split, len(cases))}"))
    interval = "" if found.interval is None else f" (95 %: {found.interval.low:+.4f} to {found.interval.high:+.4f})"
    typer.echo(f"Gain in Dice with the threshold of the best F1: {found.gain:+.4f}{interval}.")
    if split == "train":
        typer.echo("The detector was trained on these patients: do not select a threshold from them.")
