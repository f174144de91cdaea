"""`automedsam-lab baseline`: other people's models on the cases that a bundle is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.options import progress
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS

if TYPE_CHECKING:
    from automedsam_lab.baselines.slice_baseline import SliceBaseline
    from automedsam_lab.data import builtin_tasks
    from automedsam_lab.data.prediction_folder import Baseline

app = typer.Typer(no_args_is_help=True, help="Run other methods for comparison, each in its own process.")
nnunet_app = typer.Typer(no_args_is_help=True, help="nnU-Net v2, trained on the same patients.")
app.add_typer(nnunet_app, name="nnunet")

_DEVICES = ("cpu", "cuda")
_SAMPLED = 100

Cases = Annotated[Path, typer.Option("--cases", help="Folder that contains the datasets.")]
TaskName = Annotated[str, typer.Option("--task", help=f"Built-in task: {HIPPOCAMPUS} or {GLIOMA}.")]
Part = Annotated[str, typer.Option(help="Split to use: test, validation, train or unseen, as for evaluate.")]
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
    cases: Cases,
    task: TaskName = HIPPOCAMPUS,
    part: Part = "test",
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
    from automedsam_lab.baselines.ultralytics import fastsam as fastsam_of

    _run(fastsam_of(size), task, cases, part, limit, output, weights, slices, device, threads, python)


@app.command()
def mobilesam(
    cases: Cases,
    task: TaskName = HIPPOCAMPUS,
    part: Part = "test",
    weights: Weights = None,
    slices: Slices = None,
    output: Output = None,
    limit: Limit = None,
    device: Device = "cpu",
    threads: Threads = 2,
    python: Python = None,
) -> None:
    """MobileSAM with the ground-truth box on each slice (ultralytics, license AGPL-3.0)."""
    from automedsam_lab.baselines.ultralytics import mobilesam as the_mobilesam

    _run(the_mobilesam(), task, cases, part, limit, output, weights, slices, device, threads, python)


@app.command()
def sam2(
    cases: Cases,
    task: TaskName = HIPPOCAMPUS,
    part: Part = "test",
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
    from automedsam_lab.baselines.sam2 import sam2 as sam2_of

    _run(sam2_of(config), task, cases, part, limit, output, weights, slices, device, threads, python)


@app.command()
def universeg(
    cases: Cases,
    task: TaskName = HIPPOCAMPUS,
    part: Part = "test",
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
    from automedsam_lab.baselines import universeg as adapter

    _check_device(device)
    chosen = _choose(task, cases, part, limit)
    with _progress("UniverSeg", len(chosen)) as on_done:
        baseline = adapter.predict(
            task,
            cases,
            chosen,
            output or Path(f"baseline-universeg-{task}"),
            examples=examples,
            weights=weights,
            slices=_sampled(weights, slices),
            device=device,
            threads=threads,
            python=python,
            on_done=on_done,
        )
    _tell(baseline, output or Path(f"baseline-universeg-{task}"))


@nnunet_app.command("train")
def nnunet_train(
    data: Annotated[Path, typer.Option("--data", help="Folder that contains the datasets.")],
    work: Annotated[Path, typer.Option(help="Working folder of nnU-Net, one for each task.")],
    task: TaskName = HIPPOCAMPUS,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Training budget: CPU time of all threads, or wall time on a GPU.")
    ] = 100.0,
    configuration: Annotated[str, typer.Option(help="Configuration of nnU-Net's plans.")] = "3d_fullres",
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
    from automedsam_lab.baselines import nnunet

    _check_device(device)
    trained = nnunet.train(
        task,
        data,
        work,
        minutes=minutes,
        configuration=configuration,
        device=device,
        threads=threads,
        bfloat16=bfloat16,
        memory_gb=memory,
        python=python,
    )
    kind = "CPU" if device == "cpu" else "GPU"
    typer.echo(f"Trained {trained['iterations']} iterations in {trained['used_minutes']:g} {kind} minutes: {work}")


@nnunet_app.command("predict")
def nnunet_predict(
    cases: Cases,
    work: Annotated[Path, typer.Option(help="Working folder of 'baseline nnunet train'.")],
    task: TaskName = HIPPOCAMPUS,
    part: Part = "test",
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
    from automedsam_lab.baselines import nnunet

    _check_device(device)
    chosen = _choose(task, cases, part, limit)
    out = output or Path(f"baseline-nnunet-{task}")
    with _progress("nnU-Net", len(chosen)) as on_done:
        baseline = nnunet.predict(
            task,
            chosen,
            work,
            out,
            mirror=mirror,
            device=device,
            threads=threads,
            python=python,
            on_done=on_done,
        )
    _tell(baseline, out)


def _run(
    baseline: SliceBaseline,
    task: str,
    cases: Path,
    part: str,
    limit: int | None,
    output: Path | None,
    weights: Path | None,
    slices: int | None,
    device: str,
    threads: int,
    python: Path | None,
) -> None:
    from automedsam_lab.baselines.slice_baseline import predict

    _check_device(device)
    chosen = _choose(task, cases, part, limit)
    if baseline.worker.notice:
        typer.echo(f"{baseline.worker.baseline}: {baseline.worker.notice}", err=True)
    out = output or Path(f"baseline-{baseline.worker.baseline.lower().replace(' ', '')}-{task}")
    with _progress(baseline.worker.baseline, len(chosen)) as on_done:
        written = predict(
            baseline,
            task,
            chosen,
            out,
            weights=weights,
            slices=_sampled(weights, slices),
            device=device,
            threads=threads,
            python=python,
            on_done=on_done,
        )
    _tell(written, out)


def _choose(task: str, cases: Path, part: str, limit: int | None) -> list[builtin_tasks.Case]:
    from automedsam_lab.evaluation.run import choose_cases

    return choose_cases(task, cases, part, limit)


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


def _tell(baseline: Baseline, out: Path) -> None:
    seconds, images = (sum(case[key] for case in baseline.cases.values()) for key in ("seconds", "images"))
    typer.echo(
        f"{baseline.name}, {baseline.weights} weights, {baseline.size_mb:.1f} MB: "
        f"{1000 * seconds / images:.0f} ms per slice over {images:g} slices. Written: {out}"
    )
