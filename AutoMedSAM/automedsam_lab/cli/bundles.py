"""`automedsam-lab convert`, `export`, `quantize` and `starter`: from checkpoints to bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from automedsam.core.volume import Plane
from automedsam.detection.detector import ResizeMode
from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.datasets import DataFolder, PreparedFolder, check_one_dataset, open_dataset
from automedsam_lab.cli.train import Data, Task
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()
export_app = typer.Typer(no_args_is_help=True, help="Export a checkpoint to ONNX and compare it with PyTorch.")
quantize_app = typer.Typer(no_args_is_help=True, help="Quantize exported models to INT8.")
app.add_typer(export_app, name="export")
app.add_typer(quantize_app, name="quantize")

Checkpoint = Annotated[Path, typer.Argument(help="Checkpoint written by a training.", exists=True, dir_okay=False)]
Folder = Annotated[Path, typer.Option("--out", "-o", help="Output folder.")]


@export_app.command("segmenter")
def export_segmenter_command(checkpoint: Checkpoint, out: Folder) -> None:
    """Export the four networks of a segmenter."""
    with require("train", "Exporting the segmenter"):
        from automedsam.quantization.export import export_segmenter
        from automedsam.sam2.torch_networks import load_model

    model, _ = load_model(checkpoint)
    for part, difference in export_segmenter(model, out).items():
        typer.echo(f"{part}: differs from PyTorch by at most {difference:.1e}")


@export_app.command("detector")
def export_detector_command(checkpoint: Checkpoint, out: Folder) -> None:
    """Export a detector to `detector.fp32.onnx`."""
    with require("train", "Exporting a detector"):
        from automedsam_lab.export.detector import export_detector

    check = export_detector(checkpoint, out / "detector.fp32.onnx")
    typer.echo(f"detector: differs from PyTorch by at most {check.boxes:.1e} pixels and {check.scores:.1e} in score")


@quantize_app.command("segmenter")
def quantize_segmenter_command(
    exported: Annotated[Path, typer.Argument(help="Folder written by `export segmenter`.", exists=True)],
    out: Folder,
    data: DataFolder = None,
    prepared: PreparedFolder = None,
) -> None:
    """Quantize each network: dynamic matrix products, static convolutions in the image encoder.

    The convolutions are calibrated on slices of training patients: of both built-in tasks, or of a prepared dataset.
    """
    with require("train", "Quantizing the segmenter"):
        from automedsam.quantization.segmenter import quantize_segmenter
        from automedsam.runtime.session import open_session
        from automedsam.sam2.onnx_networks import NETWORK_NAMES
        from automedsam_lab.data.segmenter_clips import calibration_slices
        from automedsam_lab.quantization.calibration import PreprocessingSpec, calibration_of_dataset

    check_one_dataset(data, prepared)
    fp32 = {part: exported / f"{part}.onnx" for part in NETWORK_NAMES}
    size = open_session(fp32["image_encoder"]).get_inputs()[0].shape[-1]
    if data is not None:
        slices = calibration_slices(data, size)
    else:
        calibration = calibration_of_dataset(open_dataset("", None, prepared), PreprocessingSpec(size))
        for warning in calibration.warnings:
            typer.echo(warning, err=True)
        slices = calibration.slices
    for part, path in quantize_segmenter(fp32, out, slices).items():
        typer.echo(f"{part}: {path.stat().st_size / 1e6:.1f} MB")


@quantize_app.command("detector")
def quantize_detector_command(
    exported: Annotated[list[Path], typer.Argument(metavar="EXPORTED", help="File written by `export detector`.")],
    out: Folder,
    data: DataFolder = None,
    task: Annotated[Task | None, typer.Option(help="Built-in task of the detector, for --data.")] = None,
    prepared: PreparedFolder = None,
) -> None:
    """Write `detector.int8.onnx`, statically quantized and calibrated on slices of the training patients."""
    with require("train", "Quantizing a detector"):
        from automedsam_lab.bundling.starter import quantize_with_training_slices
        from automedsam_lab.data.prepared.dataset import PreparedDataset
        from automedsam_lab.quantization.detector import prepared_calibration, quantize_detector

    check_one_dataset(data, prepared)
    file, task = _exported_detector(exported, task)
    if prepared is not None:
        frames = prepared_calibration(PreparedDataset.open(prepared), file)
        check = quantize_detector(file, frames, out / "detector.int8.onnx")
    else:
        assert data is not None
        if task is None:
            message = f"Name the built-in task of the detector: --task {' or --task '.join(t.value for t in Task)}."
            raise AutoMedSAMError(message)
        check = quantize_with_training_slices(task.value, file, data, out / "detector.int8.onnx")
    typer.echo(f"detector: {check.megabytes:.1f} MB, box edges differ by {check.boxes:.2f} pixels on average")


def _exported_detector(arguments: list[Path], task: Task | None) -> tuple[Path, Task | None]:
    """The file and the task; until version 0.2 the task was an argument before the file."""
    if len(arguments) == 2 and str(arguments[0]) in [known.value for known in Task]:
        typer.echo(f"The task is an option now: --task {arguments[0]}; the argument will be removed.", err=True)
        task = Task(str(arguments[0]))
        arguments = arguments[1:]
    if len(arguments) != 1 or not arguments[0].is_file():
        message = f"Give one file that 'automedsam-lab export detector' wrote, not {' '.join(map(str, arguments))}."
        raise AutoMedSAMError(message)
    return arguments[0], task


@app.command()
def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of MedSAM2, Medical SAM 2 or SAM 2.1, as published or fine-tuned.")
    ],
    config: Annotated[
        str, typer.Option(help="Network of the checkpoint: sam2.1_hiera_t512 for MedSAM2, sam2.1_hiera_t, ...")
    ],
    calibration: Annotated[Path, typer.Option(help="Folder of your own volumes or images; subfolders are searched.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="BUNDLE", help="Folder of the bundle: new or empty.")],
    detector: Annotated[
        str | None, typer.Option(help="A YOLO-NAS checkpoint, an ONNX export, or a model whose detector is reused.")
    ] = None,
    detector_size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Height and width of the detector's input.", show_default="from the checkpoint, else 640 640"
        ),
    ] = None,
    detector_fit: Annotated[
        ResizeMode | None,
        typer.Option(
            help="How slices are resized to the detector's input.", show_default="from the checkpoint, else stretch"
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the segmenter's square input in pixels.", show_default="the network's own"),
    ] = None,
    slices: Annotated[int, typer.Option(min=1, help="Number of calibration slices.")] = 32,
    only: Annotated[
        str, typer.Option(help="Calibrate only with files whose names match, for example '*flair*'.")
    ] = "*",
    name: Annotated[str | None, typer.Option(help="Name of the bundle.", show_default="the folder's name")] = None,
    task: Annotated[str | None, typer.Option(help="What the model finds, in a few words.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label of a detector class; repeat for each class, in order.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Modality of the volumes: CT, FLAIR, US, any.")] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Intensities that map to black and white.", show_default="-160 240 for CT, else percentiles"),
    ] = None,
    plane: Annotated[Plane | None, typer.Option(help="Plane of the slices.", show_default="axial")] = None,
    threshold: Annotated[float | None, typer.Option(help="Minimum score, 0 to 1, of an accepted box.")] = None,
    terms: Annotated[str | None, typer.Option("--license", help="License terms of the weights.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use the default quantization instead of measuring the best one.")
    ] = False,
    memories: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of earlier slices in the memory bank; fewer are faster.", show_default="as trained"
        ),
    ] = None,
    memory_stride: Annotated[int, typer.Option(min=1, help="Step between remembered slices.")] = 1,
    int8_only: Annotated[bool, typer.Option("--int8-only", help="Omit the FP32 files.")] = False,
    list_keys: Annotated[bool, typer.Option("--list-keys", help="List every key that does not match.")] = False,
) -> None:
    """Convert a checkpoint to an INT8 bundle; docs/converting.md lists published checkpoints."""
    with require("train", "Converting a checkpoint"):
        from automedsam_lab.bundling.convert import DoesNotFitError, Request
        from automedsam_lab.bundling.convert import convert as make_bundle
        from automedsam_lab.bundling.metadata import BundleMetadata
        from automedsam_lab.checkpoints.model_zoo import find_config

    metadata = BundleMetadata(name, task=task, labels=tuple(label or ()), modality=modality, window=window, plane=plane)
    request = Request(
        checkpoint=checkpoint,
        config=find_config(config),
        calibration=calibration,
        image_size=image_size,
        detector=detector,
        detector_size=detector_size,
        detector_fit=detector_fit,
        slices=slices,
        only=only,
        description=replace(metadata, license=terms, threshold=threshold),
        keep_fp32=not int8_only,
        quick=quick,
        memories=memories,
        memory_stride=memory_stride,
    )
    try:
        bundle = make_bundle(request, out)
    except DoesNotFitError as error:
        if list_keys:
            typer.echo("\n".join(error.mismatch.lines()))
        raise
    typer.echo(f"{bundle.name} {bundle.version}: {bundle.folder}, {bundle.size_bytes / 1e6:.1f} MB")


@app.command()
def starter(
    data: Data,
    runs: Annotated[
        Path, typer.Option(help="Folder of segmenter/, detector_TASK/ and, for tasks of images, prepared_TASK/.")
    ],
    bundles: Annotated[Path, typer.Option(help="Folder to write the bundles to.")],
    out: Annotated[Path, typer.Option(help="Folder for the evaluations.")],
    only: Annotated[list[str] | None, typer.Option(help="Build this bundle only; may be repeated.")] = None,
    keep_segmenter: Annotated[
        bool, typer.Option("--keep-segmenter", help="Use the segmenter that the bundles there share already.")
    ] = False,
) -> None:
    """Build the built-in bundles, FP32 and INT8, from trained models, and evaluate them on held-out patients."""
    with require("train", "Building the starter bundles"):
        from automedsam_lab.bundling.starter import StarterRuns, build_starter
        from automedsam_lab.bundling.starter_tasks import STARTER_TASKS

    unknown = sorted(set(only or ()) - STARTER_TASKS.keys())
    if unknown:
        message = f"There is no built-in bundle {unknown[0]}: choose among {', '.join(sorted(STARTER_TASKS))}."
        raise AutoMedSAMError(message)
    tasks = {name: task for name, task in STARTER_TASKS.items() if not only or name in only}
    for bundle in build_starter(StarterRuns(runs, data), bundles, out, tasks, keep_segmenter=keep_segmenter):
        typer.echo(f"{bundle.name} {bundle.version}: {bundle.folder}")
