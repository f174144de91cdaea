"""`automedsam-lab sensitivity` and `ablation`: what quantization costs a segmenter, layer by layer and idea by idea."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from automedsam_lab.cli.datasets import PreparedFolder, open_dataset
from automedsam_lab.common.optional_dependencies import require

if TYPE_CHECKING:
    from automedsam.sam2.architecture import Sam2Architecture
    from automedsam_lab.quantization.fidelity import PromptedClip

app = typer.Typer()

Checkpoint = Annotated[
    Path, typer.Argument(help="A segmenter.pt from a training or a converted bundle.", exists=True, dir_okay=False)
]
Slices = Annotated[
    Path | None,
    typer.Option("--calibration", help="Folder of your own volumes.", show_default="synthetic head phantoms"),
]
Patients = Annotated[
    Path | None,
    typer.Option("--data", help="Folder that contains the datasets: clips of hippocampus patients of the split val."),
]
Clips = Annotated[int, typer.Option(min=2, help="Number of short clips: half for selection, half for evaluation.")]
BoxAsMask = Annotated[
    bool,
    typer.Option(
        "--box-as-mask/--box-alone", help="Whether the box also prompts as a filled mask, as in the starters."
    ),
]


@app.command()
def sensitivity(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for plan.json and the INT8 files.")],
    calibration: Slices = None,
    data: Patients = None,
    prepared: PreparedFolder = None,
    clips: Clips = 12,
    box_as_mask: BoxAsMask = False,
    most: Annotated[int, typer.Option(min=0, help="Maximum number of layer groups to keep in FP32.")] = 3,
) -> None:
    """Evaluate quantization schemes for each network and layer group; write the best plan and its files."""
    with require("train", "The sensitivity scan"):
        from automedsam.quantization.export import export_segmenter
        from automedsam.sam2.onnx_networks import NETWORK_NAMES
        from automedsam.sam2.propagation import SegmenterSettings
        from automedsam.sam2.torch_networks import load_model
        from automedsam_lab.common.json_files import write_json
        from automedsam_lab.quantization.sensitivity import FidelityEvaluator, choose_and_quantize

    model, architecture = load_model(checkpoint)
    settings = SegmenterSettings.of(architecture, box_as_mask=box_as_mask)
    chosen, judged = _clips(calibration, _Patients(data, prepared), architecture, clips)
    export_segmenter(model, out)
    fp32 = {part: out / f"{part}.onnx" for part in NETWORK_NAMES}
    files, plan = choose_and_quantize(fp32, out, chosen, settings, most=most)
    write_json(plan.to_manifest(), out / "plan.json")
    found = FidelityEvaluator(fp32, judged, settings).of(files)
    size = sum(path.stat().st_size for path in files.values()) / 1e6
    typer.echo(f"Other clips: mask Dice {found.dice:.4f} with FP32, worst {found.worst:.4f}; {size:.1f} MB")


@app.command()
def ablation(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", "-o", help="Markdown file to write.")],
    calibration: Slices = None,
    data: Patients = None,
    prepared: PreparedFolder = None,
    clips: Clips = 12,
    box_as_mask: BoxAsMask = False,
) -> None:
    """Compare INT8 with the methods of PTQ4SAM (BIG, AGQ) at 8 and 6 bits."""
    with require("train", "The ablation"):
        from automedsam.sam2.propagation import SegmenterSettings
        from automedsam.sam2.torch_networks import load_model
        from automedsam_lab.quantization.ptq4sam.ablation import ablate, markdown

    model, architecture = load_model(checkpoint)
    chosen, judged = _clips(calibration, _Patients(data, prepared), architecture, clips)
    result = ablate(
        model,
        SegmenterSettings.of(architecture, box_as_mask=box_as_mask),
        chosen,
        judged,
    )
    where = "synthetic head phantoms" if calibration is None else "the user's own volumes"
    if data is not None:
        where = "hippocampus patients of the split val"
    elif prepared is not None:
        where = f"patients of the prepared dataset {prepared.name}"
    about = f"{checkpoint.name} at {architecture.image_size} px, {len(judged)} clips of {where}."
    out.write_text(markdown(result, about), encoding="utf-8")
    typer.echo(f"Written: {out}")


class _Patients(NamedTuple):
    """Where clips of patients come from: `--data` or `--prepared`, or neither."""

    data: Path | None
    prepared: Path | None


def _clips(
    folder: Path | None, patients: _Patients, architecture: Sam2Architecture, count: int
) -> tuple[list[PromptedClip], list[PromptedClip]]:
    """Clips to choose on, and others to judge on."""
    from automedsam.errors import AutoMedSAMError
    from automedsam_lab.quantization.calibration import CLIP_SLICES, PreprocessingSpec, read_calibration
    from automedsam_lab.quantization.fidelity import clips_of_calibration, dataset_clips, patient_clips, phantom_clips

    if patients.prepared is not None:
        clips = dataset_clips(open_dataset("", patients.data, patients.prepared), count)
    elif patients.data is not None:
        clips = patient_clips(patients.data, architecture.image_size, count)
    elif folder is None:
        clips = phantom_clips(count)
    else:
        calibration = read_calibration(folder, PreprocessingSpec(architecture.image_size), count * CLIP_SLICES)
        for doubt in calibration.warnings:
            typer.echo(doubt)
        clips = clips_of_calibration(calibration)
    if len(clips) < 2:
        source = folder or patients.prepared
        message = f"{source} gives {len(clips)} clip of neighbouring slices, but two are needed: add volumes."
        raise AutoMedSAMError(message)
    return clips[::2], clips[1::2]
