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
        typer.Argument(help="Models: names of bundles, their folders, or segmenter.pt files of trainings."),
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
    teacher: Annotated[bool, typer.Option(help="Measure LiteMedSAM as well.")] = True,
) -> None:
    """Dice of segmenters from one box per object, on every set, beside LiteMedSAM and the filled box."""
    with require("train", "Measuring segmenters"):
        from automedsam_lab.data.sets.images import Part
        from automedsam_lab.distillation.engine_segmenter import open_engine_segmenter
        from automedsam_lab.distillation.evaluate import evaluate, rows_with_masks
        from automedsam_lab.distillation.pipeline import Sources, prepare_pack, teacher_evaluation
        from automedsam_lab.distillation.report import results, write_report
        from automedsam_lab.distillation.segmenters import FilledBox
        from automedsam_lab.distillation.teacher import load_teacher

    if split not in (Part.VALIDATION.value, Part.TEST.value):
        message = f"There is no split {split}: choose val or test."
        raise AutoMedSAMError(message)
    segmenters = [open_engine_segmenter(one, backend) for one in weights]
    pack = prepare_pack(Sources(data, cache))
    rows = rows_with_masks(pack, Part(split), images_per_set)
    if not rows:
        message = f"The images in {cache} have no masks of {split} patients: nothing can be measured."
        raise AutoMedSAMError(message)
    evaluations = [evaluate(FilledBox(), pack, rows)]
    if teacher:
        evaluations.append(teacher_evaluation(pack, rows, load_teacher(), cache))
    evaluations += [evaluate(one, pack, rows) for one in segmenters]
    out.mkdir(parents=True, exist_ok=True)
    write_report(results(evaluations, [], {"Models": ", ".join(weights)}, split), out)
    typer.echo((out / "results.md").read_text("utf-8"))
