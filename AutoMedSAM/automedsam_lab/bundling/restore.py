"""A starter bundle's INT8 files as the checkpoints that `train` goes on from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.detector_slices import DETECTOR_TASKS, read_stack
from automedsam_lab.data.segmenter_clips import calibration_slices
from automedsam_lab.export.detector import export_model
from automedsam_lab.models.yolo_nas import build_detector, fuse
from automedsam_lab.quantization.dequantize import dequantize, fill, randomize_weights, recalibrate_batchnorm, trace
from automedsam_lab.quantization.dequantize_segmenter import restored_segmenter
from automedsam_lab.quantization.detector import calibration_frames

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from automedsam.bundle import Bundle

_STEM_CHANNELS = 48


class Restored(NamedTuple):
    """The two checkpoints."""

    segmenter: Path
    detector: Path


def restore_bundle(bundle: Bundle, data: Path, out: Path) -> Restored:
    """Writes `segmenter/segmenter.pt` and `detector_<task>/detector.pt`, where `starter` looks for them.

    Args:
        bundle: one of the lab's own tasks.
        data: the folder of datasets; training slices tell the batch norms what images look like.
        out: the folder of runs; made if absent.

    Raises:
        AutoMedSAMError: if the lab has no such task, files are missing, or another version exported them.
    """
    if bundle.name not in DETECTOR_TASKS:
        message = f"{bundle.name} is no model that the lab trains: it can take back {', '.join(DETECTOR_TASKS)}."
        raise AutoMedSAMError(message)
    files = bundle.files(Backend.INT8)
    with tempfile.TemporaryDirectory() as folder:
        segmenter = _segmenter(bundle, files, data, Path(folder))
        detector = _detector(bundle, files["detector"], data, Path(folder))
    architecture = bundle.architecture.to_manifest()
    task = DETECTOR_TASKS[bundle.name]
    settings = {
        "task": task.name,
        "classes": list(task.classes),
        "width": _width(files["detector"]),
        "input_size": list(bundle.detector.input_size),
        "context_mm": bundle.detector.context_mm,
        "fused": True,
    }
    weights = detector.state_dict()
    return Restored(
        _save({"model": segmenter.state_dict(), "architecture": architecture}, out / "segmenter" / "segmenter.pt"),
        _save(
            {"settings": settings, "model": weights, "average": weights},
            out / f"detector_{task.name}" / "detector.pt",
        ),
    )


def _segmenter(bundle: Bundle, files: dict[str, Path], data: Path, folder: Path) -> SAM2Base:
    model = restored_segmenter(bundle.architecture, files, folder)
    slices = torch.from_numpy(calibration_slices(data, bundle.architecture.image_size))
    recalibrate_batchnorm(model, lambda: [model.image_encoder(batch) for batch in slices.split(8)])
    return model


def _detector(bundle: Bundle, path: Path, data: Path, folder: Path) -> torch.nn.Module:
    task = DETECTOR_TASKS[bundle.name]
    model = build_detector(len(task.classes), _width(path)).eval()
    fuse(model, bundle.detector.input_size)
    randomize_weights(model)
    graph = folder / "detector.onnx"
    export_model(model, bundle.detector.input_size, graph, bundle.name)
    fill(model, trace(model, [graph]), {graph: dequantize(path)})
    stacks = [read_stack(task, case) for case in builtin_tasks.cases_of(task.name, data, "train")]
    frames = torch.from_numpy(calibration_frames(task, stacks))
    recalibrate_batchnorm(model, lambda: [model(batch) for batch in frames.split(8)])
    return model


def _width(detector: Path) -> float:
    """The factor of YOLO-NAS-S's widths, by the first convolution's channels."""
    import onnx

    first = next(node for node in onnx.load(detector).graph.node if node.op_type == "Conv")
    weight = first.input[1].removesuffix("_DequantizeLinear_Output")
    return float(len(dequantize(detector)[weight]) / _STEM_CHANNELS)


def _save(stored: dict[str, object], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_checkpoint(stored, path)
