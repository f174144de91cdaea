"""`automedsam-lab boxes`: what a segmenter makes of exact and jittered boxes on every set of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require

app = typer.Typer()


@app.command("boxes")
def boxes(
    weights: Annotated[
        list[str],
        typer.Argument(
            help="Models: names of bundles, their folders, segmenter.pt files of trainings, or folders of "
            "`train efficient`."
        ),
    ],
    cache: Annotated[Path, typer.Option(help="Folder of packed images and teacher's scores of `train efficient`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.json, results.md and results.html.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder that contains the datasets, if the cache has no images yet.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="Backend of the bundles: int8, fp32-onnx or fp32.")] = Backend.INT8,
    split: Annotated[str, typer.Option(help="val to select a model, test to report it.")] = "test",
    images_per_set: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of images of each set.", show_default="all")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--set", help="Name of a set, such as kvasir; can be repeated.", show_default="all"),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="A bundle whose detector's boxes are segmented as well.", show_default="reference boxes only"
        ),
    ] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Measure parameters, MACs, times and sizes as well.")] = False,
    teacher: Annotated[bool, typer.Option(help="Measure LiteMedSAM as well.")] = True,
) -> None:
    """Dice of segmenters from one box per object, on every set, beside LiteMedSAM and the filled box."""
    with require("train", "Measuring segmenters"):
        from automedsam_lab.data.sets.images import Part
        from automedsam_lab.distillation.box_study import BoxStudy, measure_boxes

    if split not in (Part.VALIDATION.value, Part.TEST.value):
        message = f"There is no split {split}: choose val or test."
        raise AutoMedSAMError(message)
    study = BoxStudy(
        tuple(weights),
        cache,
        data=data,
        backend=backend,
        part=Part(split),
        images_per_set=images_per_set,
        sets=tuple(only or ()),
        detector=detector,
        cost=cost,
        teacher=teacher,
    )
    typer.echo(measure_boxes(study, out).read_text("utf-8"))
