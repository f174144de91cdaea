"""`automedsam-lab memory-length`: how many slices a slice should remember."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.contract.backends import Backend
from automedsam_lab.cli.datasets import BundleTask, DataFolder, PreparedFolder, Split, open_dataset
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command("memories", hidden=True, deprecated=True)
@app.command("memory-length")
def memory_length(
    bundle: Annotated[str, typer.Argument(help="A model listed by 'automedsam models', or the folder of a bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the table and the plot.")],
    data: DataFolder = None,
    task: BundleTask = None,
    prepared: PreparedFolder = None,
    split: Split = "test",
    backend: Annotated[Backend, typer.Option(help="Backend: int8, fp32-onnx or fp32.")] = Backend.INT8,
    stride: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Step between remembered slices. Can be repeated.", show_default="1 and 2"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of cases.", show_default="all")] = None,
) -> None:
    """Measure Dice and time by the number of memories, with the detector's boxes.

    Use the split val to select the number, and test to report it.
    """
    from rich.console import Console
    from rich.progress import track

    from automedsam.bundle import load_bundle
    from automedsam_lab.common.system_info import describe_machine

    with require("lab", "The plot"):
        import matplotlib as _matplotlib  # noqa: F401  before anything is measured in vain
    from automedsam_lab.benchmark.memory_length import averages, measure_memories, plot_points, write_points
    from automedsam_lab.common.table import Table
    from automedsam_lab.data.dataset import select_cases

    model = load_bundle(bundle)
    dataset = open_dataset(task or model.name, data, prepared)
    console = Console(stderr=True)
    chosen = select_cases(dataset, split, limit)
    measured = measure_memories(model, chosen, backend, stride or (1, 2))
    shown = track(measured, "Measuring", len(chosen), console=console, transient=True, disable=not console.is_terminal)
    points = [point for of_case in shown for point in of_case]
    out.mkdir(parents=True, exist_ok=True)
    write_points(points, out / "memories.csv")
    about = f"{model.name} {model.version}, {backend.value}: {dataset.describe(split, len(chosen))}"
    plot_points(points, about, out / "memories.png")
    table = Table(["memories", "stride", "Dice", "CPU ms per slice"])
    for mean in averages(points):
        table.add(str(mean.memories), str(mean.stride), f"{mean.dice:.3f}", f"{mean.cpu_ms:.1f}")
    Console().print(table.to_rich(about))
    machine = describe_machine()
    typer.echo(f"{machine['cores']} cores of {machine['cpu']}. Written: {out}")
