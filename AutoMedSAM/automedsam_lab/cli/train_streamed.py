"""`automedsam-lab train streamed`: training on shards, in one process or in several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.cli.app import BAD_INPUT
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.train import Device, Out, Resume, check_device, given, stoppable
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.training.streaming.settings import Precision, StreamedModel, StreamedSettings


def streamed(
    shards: Annotated[
        Path, typer.Option("--shards", help="The folder that `automedsam-lab prepare sa-med2d --shards` wrote.")
    ],
    out: Out,
    model: Annotated[
        StreamedModel,
        typer.Option(help="A small U-Net, or the first stage of the built-in segmenter (for `--start-from`)."),
    ] = StreamedModel.UNET,
    resume: Resume = False,
    device: Device = "auto",
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs.", show_default="1")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.", show_default="none")] = None,
    lanes: Annotated[
        int | None,
        typer.Option(min=1, help="Micro-batches of a step; the processes must divide it.", show_default="8"),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images of a micro-batch.", show_default="4")] = None,
    lr: Annotated[float | None, typer.Option(min=0, help="Peak learning rate.", show_default="0.001")] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="Side of the square input in pixels.", show_default="the network's own")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="auto is bf16 or fp16 on a GPU, and fp32 on a CPU.")
    ] = Precision.AUTO,
    seed: Annotated[int | None, typer.Option(min=0, help="Of order, weights and prompts.", show_default="0")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read data, for each that trains.", show_default="by the cores"),
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two checkpoints.", show_default="200")
    ] = None,
    log_every: Annotated[int | None, typer.Option(min=1, help="Steps between two rows.", show_default="10")] = None,
) -> None:
    """Train on shards, in one process or in several started by torchrun.

    A step takes LANES x BATCH images whatever the number of processes, so the loss is the same for any number that
    divides LANES, and --resume may use another number. With `torchrun --max-restarts N`, training continues from the
    last checkpoint after a process has died.
    """
    with require("train", "Training on shards"):
        import torch  # noqa: F401

        from automedsam_lab.training.distributed import is_main_process
        from automedsam_lab.training.options import RunOptions
        from automedsam_lab.training.streaming.box_tasks import streamed_task
        from automedsam_lab.training.streaming.trainer import train_streamed

    check_device(device)
    if size is not None and size % 32:
        message = f"The size {size} is not a multiple of 32: try {max(32, round(size / 32) * 32)}."
        raise AutoMedSAMError(message)
    chosen = {
        "epochs": epochs,
        "steps": steps,
        "lanes": lanes,
        "batch": batch,
        "rate": lr,
        "seed": seed,
        "workers": workers,
        "checkpoint_every": checkpoint_every,
        "log_every": log_every,
    }
    settings = StreamedSettings(precision=precision, **given(chosen))
    try:
        with stoppable(out):
            task = streamed_task(model, settings.seed, size)
            weights = train_streamed(task, shards, out, settings, RunOptions(device, resume))
    except AutoMedSAMError:
        if is_main_process():
            raise
        # The first process names the reason, once for all.
        raise typer.Exit(BAD_INPUT) from None
    if is_main_process():
        typer.echo(f"Written: {weights}")
