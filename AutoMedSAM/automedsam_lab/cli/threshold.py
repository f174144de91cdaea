"""`automedsam-lab threshold`: whether a bundle's score threshold is still the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command()
def threshold(
    bundle: Annotated[str, typer.Argument(help="A model listed by 'automedsam models', or the folder of a bundle.")],
    data: Annotated[Path, typer.Option("--data", help="Folder that contains the datasets.")],
    task: Annotated[
        str | None, typer.Option(help="Built-in task: hippocampus or glioma.", show_default="the bundle's name")
    ] = None,
) -> None:
    """Compare a bundle's score threshold with the one of the best F1 on validation patients; nothing is changed.

    If a split has no validation patients, training patients are used; do not select a threshold from them.
    """
    from rich.console import Console
    from rich.progress import track

    from automedsam.bundle import load_bundle

    with require("lab", "Comparing thresholds"):
        from automedsam_lab.common.table import Table
        from automedsam_lab.data.builtin_tasks import split
        from automedsam_lab.evaluation.run import choose_cases
        from automedsam_lab.evaluation.threshold import compare_thresholds

    model = load_bundle(bundle)
    task = task or model.name
    part = "validation" if split(task)["validation"] else "train"
    cases = choose_cases(task, data, part)
    console = Console(stderr=True)
    shown = track(cases, "Detecting", console=console, transient=True, disable=not console.is_terminal)
    found = compare_thresholds(model, shown)
    table = Table(["", "threshold", "F1 of boxes", "Dice"])
    for name, scores in (("the bundle's", found.own), ("best F1", found.best)):
        mean = sum(scores.dice) / len(scores.dice)
        table.add(name, f"{scores.threshold:.3f}", f"{scores.f1:.4f}", f"{mean:.4f}")
    Console().print(table.to_rich(f"{model.name} {model.version}, INT8: {len(cases)} {part} patients of {task}"))
    interval = "" if found.interval is None else f" (95 %: {found.interval.low:+.4f} to {found.interval.high:+.4f})"
    typer.echo(f"Gain in Dice with the threshold of the best F1: {found.gain:+.4f}{interval}.")
    if part == "train":
        typer.echo("The detector was trained on these patients: do not select a threshold from them.")
