"""`automedsam-lab expected-input` and `input-check`: what a model expects, and how well that is recognized."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS

app = typer.Typer()

Data = Annotated[Path, typer.Argument(help="Folder that contains the datasets.")]
Task = Annotated[str, typer.Option(help=f"{HIPPOCAMPUS} or {GLIOMA}.")]


@app.command("expected-input")
def measure(data: Data, task: Task = GLIOMA) -> None:
    """Measure the training volumes of a built-in model and print the manifest section `expected_input`."""
    import json

    from automedsam.bundle import load_bundle
    from automedsam_lab.bundling.expected_input import expected_input
    from automedsam_lab.data import builtin_tasks

    bundle = load_bundle(task)
    cases = builtin_tasks.cases_of(task, data, "train", "train_silver")
    volumes = (builtin_tasks.load(case)[0] for case in cases)
    skull = "stripped" if task == GLIOMA else "any"
    section, count = expected_input(volumes, bundle.plane, bundle.window, skull=skull)
    typer.echo(json.dumps(section.to_manifest(count), indent=1))


@app.command("input-check")
def check(data: Data, task: Task = GLIOMA) -> None:
    """Count the warnings of a built-in model's input check, on suitable and on unsuitable images."""
    from rich.console import Console

    from automedsam.bundle import load_bundle
    from automedsam.pipeline.input_check import MODALITY
    from automedsam_lab.bundling.expected_input import check_files, right_and_wrong
    from automedsam_lab.common.table import Column, Table

    checked = check_files(load_bundle(task), *right_and_wrong(task, data))
    table = Table(
        [Column("Images", is_text=True), "Files", "Warned", "By voxels alone", Column("Reasons", is_text=True)]
    )
    for is_right, name in ((True, f"{task}: suitable"), (False, f"{task}: others")):
        some = [one for one in checked if one.is_right is is_right]
        warned = [one for one in some if one.codes]
        reasons = sorted({code for one in warned for code in one.codes})
        counts = ", ".join(f"{code} {sum(code in one.codes for one in warned)}" for code in reasons)
        by_voxels = sum(any(code != MODALITY for code in one.codes) for one in warned)
        table.add(name, str(len(some)), str(len(warned)), str(by_voxels), counts)
    Console().print(table.to_rich(f"Input check of {task}"))
    for one in checked:
        if one.is_right == bool(one.codes):
            kind = f"warned ({', '.join(one.codes)})" if one.codes else "not warned"
            typer.echo(f"{kind}: {one.path.relative_to(data)}")
