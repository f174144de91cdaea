"""`automedsam-lab train`: a detector for one task, or the segmenter that all tasks share."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.datasets import GLIOMA, HIPPOCAMPUS
from automedsam_lab.extras import needs

app = typer.Typer(no_args_is_help=True, help="Train a detector or the segmenter, from scratch.")


class Task(str, Enum):
    """The tasks that the lab has data readers and a split for."""

    HIPPOCAMPUS = HIPPOCAMPUS
    GLIOMA = GLIOMA


Data = Annotated[Path, typer.Option("--data", help="The folder that holds the datasets.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="A folder for checkpoints and TensorBoard events.")]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.1, help="End the schedule after so much training, if not by steps.", show_default="none"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or another device of PyTorch.")]


@app.command()
def detector(
    task: Annotated[Task, typer.Argument(help="What to find.")],
    data: Data,
    out: Out,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 2500,
    minutes: Minutes = None,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Train a task's detector (YOLO-NAS-S) on the training patients of its split."""
    with needs("train", "Training a detector"):
        from automedsam_lab.train_detector import TrainingSettings, train_detector

    _check_device(device)
    settings = TrainingSettings(steps=steps, minutes=minutes)
    checkpoint = train_detector(task.value, data, out, settings=settings, resume=resume, device=device)
    typer.echo(f"Written: {checkpoint}")


@app.command()
def segmenter(
    data: Data,
    out: Out,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 20_000,
    minutes: Minutes = None,
    resume: Resume = False,
    start_from: Annotated[
        Path | None,
        typer.Option(help="A segmenter.pt to begin with.", show_default="fresh weights"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train the promptable segmenter (SAM 2) on the training patients of all tasks and generated volumes."""
    with needs("train", "Training the segmenter"):
        from automedsam_lab.segmenter_data import training_clips, validation_clips
        from automedsam_lab.segmenter_model import STARTER
        from automedsam_lab.train_segmenter import Schedule, train_segmenter

    _check_device(device)
    if start_from is not None and not start_from.is_file():
        message = f"There are no weights to start from at {start_from}: name a segmenter.pt of another run."
        raise AutoMedSAMError(message)
    schedule = Schedule(steps=steps, minutes=math.inf if minutes is None else minutes)
    weights = train_segmenter(
        training_clips(data),
        validation_clips(data, STARTER.image_size),
        out,
        schedule=schedule,
        resume=resume,
        device=device,
        start_from=start_from,
    )
    typer.echo(f"Written: {weights}")


def _check_device(device: str) -> None:
    """Says at once that a device is not there, rather than after the data were read."""
    import torch

    if device == "auto":
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"PyTorch cannot use the device {device} here: choose auto or cpu."
        raise AutoMedSAMError(message) from error
