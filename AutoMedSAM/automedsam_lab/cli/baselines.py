"""`automedsam-lab baseline`: other people's models on the cases that a bundle is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.datasets import DataFolder, PreparedFolder, Split, open_dataset
from automedsam_lab.cli.options import progress
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS, TASK_SPECS
from automedsam_lab.data.dataset import select_cases

if TYPE_CHECKING:
    from automedsam_lab.baselines.slice_baseline import SliceBaseline, SliceSettings
    from automedsam_lab.data.dataset import Dataset
    from automedsam_lab.data.prediction_folder import Baseline

app = typer.Typer(no_args_is_help=True, help="Run other methods for comparison, each in its own process.")
nnunet_app = typer.Typer(no_args_is_help=True, help="nnU-Net v2, trained on the same patients.")
app.add_typer(nnunet_app, name="nnunet")

_DEVICES = ("cpu", "cuda")
_SAMPLED = 100

TaskName = Annotated[str, typer.Option("--task", help=f"Built-in task, for --data: {HIPPOCAMPUS} or {GLIOMA}.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Maximum number of cases.", show_default="all")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Output folder, for evaluate --baseline.", show_default="baseline-NAME-TASK"),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Checkpoint; nothing is downloaded.", show_default="random weights: size and speed only"),
]
Slices = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only time this many slices, spread over the cases, without writing masks.",
        show_default=f"all with --weights, {_SAMPLED} without",
    ),
]
Device = Annotated[str, typer.Option(help="Device: cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=1, help="Number of threads on a CPU.")]
Python = Annotated[
    Path | None,
    typer.Option(
        "--python",
        help="Python interpreter in whose environment the baseline is installed.",
        dir_okay=False,
        show_default="this one",
    ),
]


@app.command()
def fastsam(
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    split: Split = "test",
    weights: Weights = None,
    size: Annotated[str, typer.Option(help="Network, s or x, for random weights.")] = "x",
    slices: Slices = None,
    output: Output = None,
    limit: Limit = None,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """FastSAM: segments everything; the ground-truth box selects the mask (ultralytics, license AGPL-3.0)."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines.slice_baseline import SliceSettings
        from automedsam_lab.baselines.ultralytics import fastsam as fastsam_of

    _check_device(device)
    settings = SliceSettings(device, threads, python, weights, _sampled(weights, slices))
    _run(fastsam_of(size), _dataset(task, data, prepared), split, limit, output, settings)


@app.command()
def mobilesam(
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    split: Split = "test",
    weights: Weights = None,
    slices: Slices = None,
    output: Output = None,
    limit: Limit = None,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """MobileSAM with the ground-truth box on each slice (ultralytics, license AGPL-3.0)."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines.slice_baseline import SliceSettings
        from automedsam_lab.baselines.ultralytics import mobilesam as the_mobilesam

    _check_device(device)
    settings = SliceSettings(device, threads, python, weights, _sampled(weights, slices))
    _run(the_mobilesam(), _dataset(task, data, prepared), split, limit, output, settings)


@app.command()
def sam2(
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    split: Split = "test",
    weights: Weights = None,
    config: Annotated[str, typer.Option(help="Network, named as for 'automedsam-lab convert'.")] = (
        "sam2.1_hiera_t512"
    ),
    slices: Slices = None,
    output: Output = None,
    limit: Limit = None,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """SAM 2 or MedSAM2 with the ground-truth box on one slice, tracked by the reference package sam2."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines.sam2 import sam2 as sam2_of
        from automedsam_lab.baselines.slice_baseline import SliceSettings

    _check_device(device)
    settings = SliceSettings(device, threads, python, weights, _sampled(weights, slices))
    _run(sam2_of(config), _dataset(task, data, prepared), split, limit, output, settings)


@app.command()
def universeg(
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    split: Split = "test",
    weights: Weights = None,
    examples: Annotated[int, typer.Option(min=1, help="Number of labeled training slices for each label.")] = 64,
    slices: Slices = None,
    output: Output = None,
    limit: Limit = None,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """UniverSeg: segments each slice from labeled examples (install it from its repository)."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines import universeg as adapter
        from automedsam_lab.baselines.slice_baseline import SliceSettings

    _check_device(device)
    dataset = _dataset(task, data, prepared)
    chosen = select_cases(dataset, split, limit)
    out = output or Path(f"baseline-universeg-{dataset.name}")
    settings = SliceSettings(device, threads, python, weights, _sampled(weights, slices))
    with _progress("UniverSeg", len(chosen)) as on_done:
        baseline = adapter.predict(dataset, chosen, out, settings, examples=examples, on_done=on_done)
    _report(baseline, out)


@nnunet_app.command("train")
def nnunet_train(
    work: Annotated[Path, typer.Option(help="Working folder of nnU-Net, one for each dataset.")],
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Training budget: CPU time of all threads, or wall time on a GPU.")
    ] = 100.0,
    configuration: Annotated[
        str | None,
        typer.Option(help="Configuration of nnU-Net's plans.", show_default="3d_fullres, or 2d for single slices"),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="GPU memory in GB that nnU-Net plans patch and batch size for.", show_default="nnU-Net's 8 GB"
        ),
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Train in bfloat16, for CPUs with AVX512-BF16 or AMX.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """Convert the split, plan, preprocess and train for a fixed budget. Re-running resumes the training."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines import nnunet

    _check_device(device)
    settings = nnunet.TrainingSettings(device, threads, python, minutes, configuration, bfloat16, memory)
    trained = nnunet.train(_dataset(task, data, prepared), work, settings)
    kind = "CPU" if device == "cpu" else "GPU"
    typer.echo(f"Trained {trained['iterations']} iterations in {trained['used_minutes']:g} {kind} minutes: {work}")


@nnunet_app.command("predict")
def nnunet_predict(
    work: Annotated[Path, typer.Option(help="Working folder of 'baseline nnunet train'.")],
    data: DataFolder = None,
    task: TaskName = HIPPOCAMPUS,
    prepared: PreparedFolder = None,
    split: Split = "test",
    output: Output = None,
    limit: Limit = None,
    mirror: Annotated[
        bool, typer.Option(help="Test-time mirroring, nnU-Net's default; takes eight times as long.")
    ] = True,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """Predict cases with the trained network."""
    with require("lab", "A baseline"):
        from automedsam_lab.baselines import nnunet

    _check_device(device)
    dataset = _dataset(task, data, prepared)
    chosen = select_cases(dataset, split, limit)
    out = output or Path(f"baseline-nnunet-{dataset.name}")
    settings = nnunet.PredictionSettings(device, threads, python, mirror)
    with _progress("nnU-Net", len(chosen)) as on_done:
        baseline = nnunet.predict(dataset, chosen, work, out, settings, on_done)
    _report(baseline, out)


def _run(
    baseline: SliceBaseline,
    dataset: Dataset,
    split: str,
    limit: int | None,
    output: Path | None,
    settings: SliceSettings,
) -> None:
    from automedsam_lab.baselines.slice_baseline import predict

    chosen = select_cases(dataset, split, limit)
    if baseline.worker.notice:
        typer.echo(f"{baseline.worker.baseline}: {baseline.worker.notice}", err=True)
    out = output or Path(f"baseline-{baseline.worker.baseline.lower().replace(' ', '')}-{dataset.name}")
    with _progress(baseline.worker.baseline, len(chosen)) as on_done:
        written = predict(baseline, chosen, out, settings, on_done=on_done)
    _report(written, out)


def _dataset(task: str, data: Path | None, prepared: Path | None) -> Dataset:
    """The dataset of a baseline, which segments one image into regions that do not overlap."""
    if prepared is None and task in TASK_SPECS and TASK_SPECS[task].nested:
        message = f"The labels of {task} lie inside each other, which baselines cannot segment: choose another --task."
        raise AutoMedSAMError(message)
    return open_dataset(task, data, prepared)


def _sampled(weights: Path | None, slices: int | None) -> int | None:
    return _SAMPLED if slices is None and weights is None else slices


def _check_device(device: str) -> None:
    if device not in _DEVICES:
        message = f"There is no device {device!r} for baselines; choose one of {', '.join(_DEVICES)}."
        raise AutoMedSAMError(message)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[str, float], None]]:
    """A progress bar that each case moves on."""
    with progress() as bar:
        task = bar.add_task(title, total=total)
        yield lambda _case, _seconds: bar.advance(task)


def _report(baseline: Baseline, out: Path) -> None:
    seconds = sum(cost["seconds"] for cost in baseline.cases.values())
    images = sum(cost["images"] for cost in baseline.cases.values())
    typer.echo(
        f"{baseline.name}, {baseline.weights} weights, {baseline.size_mb or 0:.1f} MB: "
        f"{1000 * seconds / images if images else 0:.0f} ms per slice over {images:g} slices. Written: {out}"
    )
