"""`automedsam-lab evaluate`: a bundle on cases that it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.backends import Backend
from automedsam.errors import AutoMedSAMError

app = typer.Typer()


@app.command()
def evaluate(
    bundle: Annotated[str, typer.Argument(help="A model of 'automedsam models', or a bundle's folder.")],
    cases: Annotated[Path, typer.Option("--cases", help="The folder that holds the datasets.")],
    part: Annotated[
        str,
        typer.Option(help="Of the task's split: test, validation or train; unseen: all that is in no part but test."),
    ] = "test",
    task: Annotated[str | None, typer.Option(help="hippocampus or glioma.", show_default="the bundle's name")] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            help="Any of int8, fp32-onnx and fp32, with commas.",
            show_default="int8, and fp32-onnx where its files are here",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for the results.", show_default="evaluation-BUNDLE"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many cases.", show_default="all")] = None,
) -> None:
    """Measure Dice, IoU, HD95, recall by lesion, time and memory; write tables and plots."""
    from rich.console import Console

    from automedsam.bundle import load_bundle
    from automedsam_lab.evaluate import available_backends, choose_cases
    from automedsam_lab.evaluate import evaluate as run_evaluation
    from automedsam_lab.evaluate_report import summary_tables

    model = load_bundle(bundle)
    task = task or model.name
    chosen = available_backends(model) if backends is None else _backends(backends)
    picked = choose_cases(task, cases, part, limit)
    folder = output or Path(f"evaluation-{model.name}")
    data = f"{part} part of the {task} split, {len(picked)} cases in {cases}"
    with _Bar(len(picked) * len(chosen)) as bar:
        rows = run_evaluation(model, picked, folder, chosen, data=data, on_done=lambda done: bar.advance())
    Console().print(*summary_tables(rows))
    typer.echo(f"Means over {data}. Written: {folder}")


class _Bar:
    """A progress bar on standard error; none where that is a file."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True)
        self._task = self._progress.add_task("Evaluating", total=total)
        self._shown = console.is_interactive

    def __enter__(self) -> _Bar:
        if self._shown:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._shown:
            self._progress.stop()

    def advance(self) -> None:
        """One case by one backend is done."""
        self._progress.advance(self._task)


def _backends(names: str) -> list[Backend]:
    known = {backend.value: backend for backend in Backend}
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        message = f"There is no backend {', '.join(unknown) or names!r}; use any of {', '.join(known)}."
        raise AutoMedSAMError(message)
    return [known[name] for name in dict.fromkeys(chosen)]
