"""`automedsam-lab train`: a detector for one task, or the segmenter that all tasks share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from automedsam.cli.app import BAD_INPUT
from automedsam.cli.segment import STOPPED
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS
from automedsam_lab.training.streaming.settings import Precision, StreamedModel, StreamedSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Train a detector or the segmenter. On several GPUs, for the recipes yolo-nas and medsam2: "
    "torchrun --nproc-per-node N -m automedsam_lab.cli train ...",
)


class Task(str, Enum):
    """The tasks that the lab has data readers and a split for."""

    HIPPOCAMPUS = HIPPOCAMPUS
    GLIOMA = GLIOMA


class DetectorRecipe(str, Enum):
    """How a detector is trained: as the starter bundles' were, or by the published YOLO-NAS recipe."""

    STARTER = "starter"
    YOLO_NAS = "yolo-nas"
    # Its name until version 0.2.
    POSTER = "poster"


class SegmenterRecipe(str, Enum):
    """How a segmenter is trained: small and from scratch, or as MedSAM2 is fine-tuned."""

    STARTER = "starter"
    MEDSAM2 = "medsam2"


class ModelSize(str, Enum):
    """The sizes of YOLO-NAS."""

    S = "s"
    M = "m"
    L = "l"


STARTER_PANEL, YOLO_NAS_PANEL, MEDSAM2_PANEL = "Recipe starter", "Recipe yolo-nas", "Recipe medsam2"
_DATA_HELP = "The folder that holds the datasets."

Data = Annotated[Path, typer.Option("--data", help=_DATA_HELP)]
StarterData = Annotated[
    Path | None, typer.Option("--data", help=_DATA_HELP, show_default=False, rich_help_panel=STARTER_PANEL)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="A folder for checkpoints and TensorBoard events.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="End the schedule after so much training, if not by steps.",
        show_default="none",
        rich_help_panel=STARTER_PANEL,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or another device of PyTorch.")]


def _prepared(panel: str) -> Any:
    help_text = "The folder that `automedsam-lab prepare` wrote."
    return typer.Option("--prepared", help=help_text, show_default=False, rich_help_panel=panel)


def _number(text: str, default: str, panel: str, least: float) -> Any:
    return typer.Option(min=least, help=text, show_default=default, rich_help_panel=panel)


@app.command()
def detector(
    out: Out,
    task: Annotated[Task | None, typer.Argument(help="What to find (recipe starter).", show_default=False)] = None,
    recipe: Annotated[DetectorRecipe, typer.Option(help="How to train.")] = DetectorRecipe.STARTER,
    resume: Resume = False,
    start_from: Annotated[
        Path | None,
        typer.Option(help="A detector.pt of the same network and labels to begin with.", show_default="fresh weights"),
    ] = None,
    device: Device = "auto",
    data: StarterData = None,
    steps: Annotated[int | None, _number("Optimizer steps.", "2500", STARTER_PANEL, 1)] = None,
    minutes: Minutes = None,
    prepared: Annotated[Path | None, _prepared(YOLO_NAS_PANEL)] = None,
    epochs: Annotated[int | None, _number("How often each image is seen.", "100", YOLO_NAS_PANEL, 1)] = None,
    batch: Annotated[int | None, _number("Images a step, in each process.", "4", YOLO_NAS_PANEL, 1)] = None,
    lr: Annotated[float | None, _number("The highest learning rate.", "0.001", YOLO_NAS_PANEL, 0)] = None,
    size: Annotated[int | None, _number("Side of the input in pixels.", "640", YOLO_NAS_PANEL, 64)] = None,
    model: Annotated[
        ModelSize | None, typer.Option(help="Of YOLO-NAS.", show_default="s", rich_help_panel=YOLO_NAS_PANEL)
    ] = None,
    width: Annotated[float | None, _number("Factor of the channel widths.", "1", YOLO_NAS_PANEL, 0.1)] = None,
    patience: Annotated[
        int | None, _number("Epochs without a better validation score until it stops.", "20", YOLO_NAS_PANEL, 1)
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip", help="Mirror half of the images.", show_default=False, rich_help_panel=YOLO_NAS_PANEL),
    ] = None,
) -> None:
    """Train a detector (YOLO-NAS) from scratch: a task's, or by the YOLO-NAS recipe on a prepared dataset."""
    with require("train", "Training a detector"):
        import torch  # noqa: F401

    starter = {"data": data, "steps": steps, "minutes": minutes, "TASK": task}
    yolo_nas = {"epochs": epochs, "batch": batch, "rate": lr, "image_size": size, "width": width, "patience": patience}
    if recipe is DetectorRecipe.POSTER:
        typer.echo("The recipe poster is called yolo-nas now; the old name will be gone in the next release.", err=True)
        recipe = DetectorRecipe.YOLO_NAS
    if recipe is DetectorRecipe.STARTER:
        _refuse(recipe.value, {"prepared": prepared, "model": model, "flip": flip, **yolo_nas})
        if task is None:
            message = f"The recipe starter trains for a task: name {' or '.join(t.value for t in Task)}."
            raise AutoMedSAMError(message)
        _starter_detector(task, _required(data, "data", recipe.value), out, steps, minutes, resume, start_from, device)
        return
    _refuse(recipe.value, starter)
    folder = _required(prepared, "prepared", recipe.value)
    with require("train", "Training a detector"):
        from automedsam_lab.data.prepared.detection_images import Movement
        from automedsam_lab.training.detector.yolo_nas_recipe import YoloNasSettings, train_yolo_nas_detector
        from automedsam_lab.training.distributed import is_main_process

    _check_device(device)
    chosen = _given({**yolo_nas, "model": model and model.value})
    settings = YoloNasSettings(movement=Movement(flip=bool(flip)), **chosen)
    with _stoppable(out):
        checkpoint = train_yolo_nas_detector(
            folder, out, settings=settings, resume=resume, start_from=start_from, device=device, tell=typer.echo
        )
    if is_main_process():
        typer.echo(
            f"Written: {checkpoint}. To make a model with it: automedsam-lab convert CHECKPOINT --config CONFIG "
            f"--calibration FOLDER --detector {checkpoint} -o BUNDLE; its ONNX file alone: automedsam-lab export "
            f"detector {checkpoint} -o FOLDER"
        )


def _starter_detector(
    task: Task,
    data: Path,
    out: Path,
    steps: int | None,
    minutes: float | None,
    resume: bool,
    start_from: Path | None,
    device: str,
) -> None:
    with require("train", "Training a detector"):
        from automedsam_lab.training.detector.starter_recipe import TrainingSettings, train_detector

    _check_device(device)
    settings = TrainingSettings(minutes=minutes, **_given({"steps": steps}))
    with _stoppable(out):
        checkpoint = train_detector(
            task.value, data, out, settings=settings, resume=resume, device=device, start_from=start_from
        )
    typer.echo(f"Written: {checkpoint}")


@app.command()
def segmenter(
    out: Out,
    recipe: Annotated[SegmenterRecipe, typer.Option(help="How to train.")] = SegmenterRecipe.STARTER,
    resume: Resume = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="A segmenter.pt to begin with; for medsam2 a published checkpoint.", show_default="fresh weights"
        ),
    ] = None,
    device: Device = "auto",
    data: StarterData = None,
    steps: Annotated[int | None, _number("Optimizer steps.", "20000", STARTER_PANEL, 1)] = None,
    minutes: Minutes = None,
    prepared: Annotated[Path | None, _prepared(MEDSAM2_PANEL)] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Where the archive is now.", show_default="where it was prepared", rich_help_panel=MEDSAM2_PANEL
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint's network, as for `convert`.",
            show_default="told by the file",
            rich_help_panel=MEDSAM2_PANEL,
        ),
    ] = None,
    epochs: Annotated[int | None, _number("How often each case gives a clip.", "75", MEDSAM2_PANEL, 1)] = None,
    batch: Annotated[int | None, _number("Clips a step, in each process.", "4", MEDSAM2_PANEL, 1)] = None,
    lr: Annotated[float | None, _number("The highest learning rate.", "5e-5", MEDSAM2_PANEL, 0)] = None,
    size: Annotated[
        int | None, _number("Side of the frames in pixels.", "the network's own", MEDSAM2_PANEL, 64)
    ] = None,
) -> None:
    """Train the promptable segmenter (SAM 2): small and from scratch, or MedSAM2's fine-tuning of a checkpoint."""
    with require("train", "Training the segmenter"):
        import torch  # noqa: F401

    medsam2 = {"epochs": epochs, "batch": batch, "rate": lr, "image_size": size}
    if recipe is SegmenterRecipe.STARTER:
        _refuse(recipe.value, {"prepared": prepared, "root": root, "config": config, **medsam2})
        folder = _required(data, "data", recipe.value)
        _starter_segmenter(folder, out, steps, minutes, resume, start_from, device)
        return
    _refuse(recipe.value, {"data": data, "steps": steps, "minutes": minutes})
    folder = _required(prepared, "prepared", recipe.value)
    checkpoint = _required(start_from, "start-from", recipe.value)
    with require("train", "Training the segmenter"):
        from automedsam_lab.checkpoints.model_zoo import find_config
        from automedsam_lab.training.distributed import is_main_process
        from automedsam_lab.training.segmenter.medsam2_recipe import Medsam2Settings, finetune_medsam2

    _check_device(device)
    with _stoppable(out):
        weights, network = finetune_medsam2(
            folder,
            checkpoint,
            out,
            config=None if config is None else find_config(config),
            settings=Medsam2Settings(**_given(medsam2)),
            root=root,
            resume=resume,
            device=device,
            tell=typer.echo,
        )
    if is_main_process():
        sized = "" if size is None else f" --image-size {size}"
        typer.echo(
            f"Written: {weights}. To make a model of it: automedsam-lab convert {weights} --config "
            f"{network.name}{sized} --calibration FOLDER --detector DETECTOR -o BUNDLE"
        )


def _starter_segmenter(
    data: Path,
    out: Path,
    steps: int | None,
    minutes: float | None,
    resume: bool,
    start_from: Path | None,
    device: str,
) -> None:
    with require("train", "Training the segmenter"):
        from automedsam_lab.data.segmenter_clips import training_clips, validation_clips
        from automedsam_lab.models.starter_segmenter import STARTER
        from automedsam_lab.training.segmenter.starter_recipe import Schedule, train_segmenter

    _check_device(device)
    if start_from is not None and not start_from.is_file():
        message = f"There are no weights to start from at {start_from}: name a segmenter.pt of another run."
        raise AutoMedSAMError(message)
    schedule = Schedule(minutes=math.inf if minutes is None else minutes, **_given({"steps": steps}))
    with _stoppable(out):
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


@contextmanager
def _stoppable(out: Path) -> Iterator[None]:
    """Ctrl-C ends a training in one sentence and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Stopped. The same command with --resume goes on from the last checkpoint in {out}.", err=True)
        raise typer.Exit(STOPPED) from None


# What an option is called where the setting has another name.
_CALLED = {"rate": "--lr", "image_size": "--size", "TASK": "TASK"}


def _refuse(recipe: str, options: Mapping[str, object]) -> None:
    """An option of the other recipe would be passed over in silence."""
    given = [_CALLED.get(name, f"--{name}") for name, value in options.items() if value is not None]
    if given:
        message = f"The recipe {recipe} does not know {', '.join(given)}: leave that out, or choose another --recipe."
        raise AutoMedSAMError(message)


def _required(given: Path | None, option: str, recipe: str) -> Path:
    if given is None:
        message = f"The recipe {recipe} needs --{option}: give it, or choose another --recipe."
        raise AutoMedSAMError(message)
    return given


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


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


@app.command()
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

    _check_device(device)
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
    settings = StreamedSettings(precision=precision, **_given(chosen))
    try:
        with _stoppable(out):
            task = streamed_task(model, settings.seed, size)
            weights = train_streamed(task, shards, out, settings, RunOptions(device, resume))
    except AutoMedSAMError:
        if is_main_process():
            raise
        # The first process names the reason, once for all.
        raise typer.Exit(BAD_INPUT) from None
    if is_main_process():
        typer.echo(f"Written: {weights}")
