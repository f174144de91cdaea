"""`automedsam-lab train`: a detector for one task, or the segmenter that all tasks share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from automedsam.cli.terminal import STOPPED
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.small_segmenter import SmallRecipe, SmallSegmenter, train_small_segmenter
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.builtin_tasks import BRATS, GLIOMA, HIPPOCAMPUS

app = typer.Typer(
    no_args_is_help=True,
    help="Train a detector or the segmenter. The recipes yolo-nas and medsam2 also run on several GPUs: "
    "torchrun --nproc-per-node N -m automedsam_lab.cli train ...",
)


class Task(str, Enum):
    """The tasks that the lab has data readers and a split for."""

    HIPPOCAMPUS = HIPPOCAMPUS
    GLIOMA = GLIOMA
    BRATS = BRATS


class DetectorRecipe(str, Enum):
    """How a detector is trained: as the starter bundles' were, or by the published YOLO-NAS recipe."""

    STARTER = "starter"
    YOLO_NAS = "yolo-nas"
    # Its name until version 0.2.
    POSTER = "poster"


class SegmenterRecipe(str, Enum):
    """How a segmenter is trained: from scratch, from a distilled student, again on longer clips, or as MedSAM2 is."""

    STARTER = "starter"
    UNIVERSAL = "universal"
    TRACKING = "universal-tracking"
    MEDSAM2 = "medsam2"


class ModelSize(str, Enum):
    """The sizes of YOLO-NAS."""

    S = "s"
    M = "m"
    L = "l"


STARTER_PANEL, YOLO_NAS_PANEL, MEDSAM2_PANEL = "Recipes starter and universal", "Recipe yolo-nas", "Recipe medsam2"
UNIVERSAL_PANEL = "Recipe universal"
_DATA_HELP = "Folder that contains the datasets."

Data = Annotated[Path, typer.Option("--data", help=_DATA_HELP)]
StarterData = Annotated[
    Path | None, typer.Option("--data", help=_DATA_HELP, show_default=False, rich_help_panel=STARTER_PANEL)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints and TensorBoard events.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="End the training after this many minutes, if --steps has not ended it before.",
        show_default="none",
        rich_help_panel=STARTER_PANEL,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or another PyTorch device.")]


def _prepared(panel: str) -> Any:
    help_text = "A dataset prepared by `automedsam-lab prepare`."
    return typer.Option("--prepared", help=help_text, show_default=False, rich_help_panel=panel)


def _number(text: str, default: str, panel: str, least: float) -> Any:
    return typer.Option(min=least, help=text, show_default=default, rich_help_panel=panel)


@app.command()
def detector(
    out: Out,
    task: Annotated[
        Task | None, typer.Argument(help="Built-in task to train for (recipe starter).", show_default=False)
    ] = None,
    recipe: Annotated[
        DetectorRecipe, typer.Option(metavar="starter|yolo-nas", help="Training recipe.")
    ] = DetectorRecipe.STARTER,
    resume: Resume = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights: a detector.pt of the same network and labels.", show_default="random weights"
        ),
    ] = None,
    device: Device = "auto",
    data: StarterData = None,
    steps: Annotated[int | None, _number("Optimizer steps.", "2500", STARTER_PANEL, 1)] = None,
    minutes: Minutes = None,
    prepared: Annotated[Path | None, _prepared(YOLO_NAS_PANEL)] = None,
    epochs: Annotated[int | None, _number("Number of epochs.", "100", YOLO_NAS_PANEL, 1)] = None,
    batch: Annotated[int | None, _number("Batch size of each process.", "4", YOLO_NAS_PANEL, 1)] = None,
    lr: Annotated[float | None, _number("Peak learning rate.", "0.001", YOLO_NAS_PANEL, 0)] = None,
    size: Annotated[int | None, _number("Side of the square input in pixels.", "640", YOLO_NAS_PANEL, 64)] = None,
    model: Annotated[
        ModelSize | None, typer.Option(help="Size of YOLO-NAS.", show_default="s", rich_help_panel=YOLO_NAS_PANEL)
    ] = None,
    width: Annotated[float | None, _number("Multiplier of the channel widths.", "1", YOLO_NAS_PANEL, 0.1)] = None,
    patience: Annotated[
        int | None, _number("Epochs without a better validation score before training stops.", "20", YOLO_NAS_PANEL, 1)
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip", help="Flip half of the images horizontally.", show_default=False, rich_help_panel=YOLO_NAS_PANEL
        ),
    ] = None,
) -> None:
    """Train a YOLO-NAS detector from scratch, for a built-in task or on a prepared dataset."""
    with require("train", "Training a detector"):
        import torch  # noqa: F401

    starter = {"data": data, "steps": steps, "minutes": minutes, "TASK": task}
    yolo_nas = {"epochs": epochs, "batch": batch, "rate": lr, "image_size": size, "width": width, "patience": patience}
    if recipe is DetectorRecipe.POSTER:
        typer.echo(
            "The recipe poster has been renamed to yolo-nas; the old name will be removed in the next release.",
            err=True,
        )
        recipe = DetectorRecipe.YOLO_NAS
    if recipe is DetectorRecipe.STARTER:
        _refuse(recipe.value, {"prepared": prepared, "model": model, "flip": flip, **yolo_nas})
        if task is None:
            message = f"The recipe starter needs a task: choose {' or '.join(t.value for t in Task)}."
            raise AutoMedSAMError(message)
        _starter_detector(task, _required(data, "data", recipe.value), out, steps, minutes, resume, start_from, device)
        return
    _refuse(recipe.value, starter)
    folder = _required(prepared, "prepared", recipe.value)
    with require("train", "Training a detector"):
        from automedsam_lab.data.prepared.detection_images import Movement
        from automedsam_lab.training.detector.yolo_nas_recipe import YoloNasSettings, train_yolo_nas_detector
        from automedsam_lab.training.distributed import is_main_process

    check_device(device)
    chosen = given({**yolo_nas, "model": model and model.value})
    settings = YoloNasSettings(movement=Movement(flip=bool(flip)), **chosen)
    with stoppable(out):
        checkpoint = train_yolo_nas_detector(
            folder, out, settings=settings, resume=resume, start_from=start_from, device=device
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
        from automedsam_lab.training.options import RunOptions

    check_device(device)
    settings = TrainingSettings(minutes=minutes, **given({"steps": steps}))
    with stoppable(out):
        options = RunOptions(device, resume, start_from)
        checkpoint = train_detector(task.value, data, out, settings=settings, options=options)
    typer.echo(f"Written: {checkpoint}")


@app.command()
def segmenter(
    out: Out,
    recipe: Annotated[SegmenterRecipe, typer.Option(help="Training recipe.")] = SegmenterRecipe.STARTER,
    resume: Resume = False,
    start_from: Annotated[
        Path | None,
        typer.Option(
            help="Initial weights: a segmenter.pt, or for medsam2 a published checkpoint. With universal, what fits.",
            show_default="random weights",
        ),
    ] = None,
    device: Device = "auto",
    data: StarterData = None,
    steps: Annotated[int | None, _number("Optimizer steps.", "20000", STARTER_PANEL, 1)] = None,
    minutes: Minutes = None,
    student: Annotated[
        Path | None,
        typer.Option(
            help="A student.pt of `train efficient`: initial weights of the image encoder and the mask decoder.",
            show_default="random weights",
            rich_help_panel=UNIVERSAL_PANEL,
        ),
    ] = None,
    architecture: Annotated[
        Path | None,
        typer.Option(
            help="An architecture.json of `search video` or `search run`.",
            show_default="the student's, or size M",
            rich_help_panel=UNIVERSAL_PANEL,
        ),
    ] = None,
    prepared: Annotated[Path | None, _prepared(MEDSAM2_PANEL)] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the original archive, if it was moved.",
            show_default="as prepared",
            rich_help_panel=MEDSAM2_PANEL,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Network of the checkpoint, as for `convert`.",
            show_default="recognized from the file",
            rich_help_panel=MEDSAM2_PANEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None, _number("Number of epochs; each case yields one clip per epoch.", "75", MEDSAM2_PANEL, 1)
    ] = None,
    batch: Annotated[int | None, _number("Batch size of each process, in clips.", "4", MEDSAM2_PANEL, 1)] = None,
    lr: Annotated[float | None, _number("Peak learning rate.", "5e-5", MEDSAM2_PANEL, 0)] = None,
    size: Annotated[
        int | None, _number("Side of the square frames in pixels.", "the network's own", MEDSAM2_PANEL, 64)
    ] = None,
) -> None:
    """Train the SAM 2 segmenter: a small one (starter, universal, universal-tracking), or fine-tune a checkpoint."""
    with require("train", "Training the segmenter"):
        import torch  # noqa: F401

    medsam2 = {"epochs": epochs, "batch": batch, "rate": lr, "image_size": size}
    if recipe is not SegmenterRecipe.MEDSAM2:
        _refuse(recipe.value, {"prepared": prepared, "root": root, "config": config, **medsam2})
        if recipe is not SegmenterRecipe.UNIVERSAL:
            _refuse(recipe.value, {"student": student, "architecture": architecture})
        folder = _required(data, "data", recipe.value)
        plan = SmallSegmenter(folder, out, SmallRecipe(recipe.value), student, architecture)
        train_small_segmenter(plan, given({"steps": steps, "minutes": minutes}), device, resume, start_from)
        return
    starter = {"data": data, "steps": steps, "minutes": minutes}
    _refuse(recipe.value, {**starter, "student": student, "architecture": architecture})
    folder = _required(prepared, "prepared", recipe.value)
    checkpoint = _required(start_from, "start-from", recipe.value)
    with require("train", "Training the segmenter"):
        from automedsam_lab.checkpoints.model_zoo import find_config
        from automedsam_lab.data.prepared.dataset import PreparedDataset
        from automedsam_lab.training.distributed import is_main_process
        from automedsam_lab.training.options import RunOptions
        from automedsam_lab.training.segmenter.medsam2_recipe import Medsam2Settings, finetune_medsam2

    check_device(device)
    with stoppable(out):
        weights, network = finetune_medsam2(
            PreparedDataset.open(folder, root),
            checkpoint,
            out,
            config=None if config is None else find_config(config),
            settings=Medsam2Settings(**given(medsam2)),
            options=RunOptions(device, resume),
        )
    if is_main_process():
        sized = "" if size is None else f" --image-size {size}"
        typer.echo(
            f"Written: {weights}. To make a model of it: automedsam-lab convert {weights} --config "
            f"{network.name}{sized} --calibration FOLDER --detector DETECTOR -o BUNDLE"
        )


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Ctrl-C ends a training in one sentence and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Stopped. The same command with --resume continues from the last checkpoint in {out}.", err=True)
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


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given as options: those that are not None."""
    return {name: value for name, value in settings.items() if value is not None}


def check_device(device: str) -> None:
    """Refuses a device that is not there before any data are read."""
    import torch

    if device == "auto":
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"PyTorch cannot use the device {device} here: choose auto or cpu."
        raise AutoMedSAMError(message) from error
