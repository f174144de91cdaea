"""Assembles the starter bundles: exports, quantizes, and writes the manifests."""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automedsam import __version__
from automedsam.bundle import MANIFEST_NAME, SCHEMA_VERSION, Bundle, file_hash, load_bundle
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam_lab.bundling.starter_tasks import SEGMENTER_HISTORY, STARTER_TASKS, StarterTask
from automedsam_lab.common.json_files import write_json
from automedsam_lab.data import builtin_tasks

if TYPE_CHECKING:
    from automedsam_lab.quantization.detector import QuantizationCheck

logger = logging.getLogger(__name__)

# A bundle keeps the version of the release that built it until it is built again.
VERSION = __version__
SEGMENTERS = "segmenters"
SEGMENTER_NAME = f"starter-{VERSION}"


def build_segmenter(weights: Path, data: Path, bundles: Path) -> dict[str, float]:
    """Exports and quantizes the shared segmenter into `bundles/segmenters/starter-<version>`.

    Args:
        weights: `segmenter.pt` of `train segmenter`.
        data: the folder that holds the datasets, for calibration slices of training patients.
        bundles: the folder of all bundles.

    Returns:
        Each part's greatest difference from torch.
    """
    from automedsam.sam2.torch_networks import load_model
    from automedsam_lab.data.segmenter_clips import calibration_slices
    from automedsam_lab.export.segmenter import export_segmenter
    from automedsam_lab.quantization.segmenter import quantize_segmenter

    folder = bundles / SEGMENTERS / SEGMENTER_NAME
    model, architecture = load_model(weights)
    differences = export_segmenter(model, folder)
    fp32 = {part: (folder / f"{part}.onnx").replace(folder / f"{part}.fp32.onnx") for part in NETWORK_NAMES}
    quantize_segmenter(fp32, folder, calibration_slices(data, architecture.image_size))
    shutil.copyfile(weights, folder / "segmenter.pt")
    return differences


def quantize_with_training_slices(task: str, exported: Path, data: Path, out: Path) -> QuantizationCheck:
    """Quantizes a task's exported detector with slices of its training patients.

    Returns:
        How closely INT8 follows FP32.
    """
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS, read_stack
    from automedsam_lab.quantization.detector import calibration_frames, quantize_detector

    settings = DETECTOR_TASKS[task]
    stacks = [read_stack(settings, case) for case in builtin_tasks.cases_of(task, data, "train")]
    return quantize_detector(exported, calibration_frames(settings, stacks), out)


def best_threshold(task: str, detector: Path, data: Path) -> float:
    """The score of the best F1 as the engine runs the detector, on validation patients; else on training patients."""
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS, read_stack
    from automedsam_lab.models.onnx_predictor import onnx_predictor
    from automedsam_lab.training.detector.validation import measure_detector

    settings = DETECTOR_TASKS[task]
    part = "val" if builtin_tasks.split(task)["val"] else "train"
    stacks = [read_stack(settings, case) for case in builtin_tasks.cases_of(task, data, part)]
    scores = measure_detector(settings, onnx_predictor(detector), stacks, STARTER_TASKS[task].mirror)
    return round(scores.threshold, 3)


def build_starter(data: Path, runs: Path, bundles: Path, out: Path, *, minutes: float) -> list[Bundle]:
    """Trains what is missing in `runs`, and makes and measures both starter bundles.

    Args:
        data: the folder that holds the datasets.
        runs: `segmenter/segmenter.pt` and `detector_<task>/detector.pt` are looked for, or trained, here.
        bundles: the folder of all bundles.
        out: the evaluations go to `evaluation-<task>` in it.
        minutes: how long each missing model is trained.

    Returns:
        The bundles, with their held-out figures.
    """
    from automedsam_lab.data.builtin_dataset import BuiltinDataset
    from automedsam_lab.data.segmenter_clips import training_clips, validation_clips
    from automedsam_lab.evaluation.cases import held_out_cases
    from automedsam_lab.evaluation.run import evaluate
    from automedsam_lab.evaluation.summary import manifest_figures, summarize
    from automedsam_lab.export.detector import export_detector
    from automedsam_lab.models.starter_segmenter import STARTER
    from automedsam_lab.training.detector.starter_recipe import TrainingSettings, train_detector
    from automedsam_lab.training.segmenter.starter_recipe import Schedule, train_segmenter

    weights = runs / "segmenter" / "segmenter.pt"
    if not weights.is_file():
        logger.info("Training the segmenter for %g minutes", minutes)
        clips, fixed = training_clips(data), validation_clips(data, STARTER.image_size)
        train_segmenter(clips, fixed, weights.parent, schedule=Schedule(steps=10**9, minutes=minutes))
    for part, difference in build_segmenter(weights, data, bundles).items():
        logger.info("%s: at most %.1e from torch", part, difference)

    finished = []
    for task in STARTER_TASKS.values():
        checkpoint = runs / f"detector_{task.name}" / "detector.pt"
        if not checkpoint.is_file():
            logger.info("Training the %s detector for %g minutes", task.name, minutes)
            settings = TrainingSettings(steps=10**9, minutes=minutes)
            train_detector(task.name, data, checkpoint.parent, settings=settings)
        folder = bundles / task.name
        export_detector(checkpoint, folder / "detector.fp32.onnx")
        quantize_with_training_slices(task.name, folder / "detector.fp32.onnx", data, folder / "detector.int8.onnx")
        threshold = best_threshold(task.name, folder / "detector.int8.onnx", data)
        bundle = write_manifest(task, bundles, weights, threshold)
        logger.info("Measuring %s on its held-out patients", task.name)
        selection = held_out_cases(bundle, BuiltinDataset(task.name, data))
        # Without the folder of the data: the description becomes a part of the bundle.
        selection = replace(selection, description=f"test split of {task.name}, {len(selection.cases)} cases")
        rows = evaluate(bundle, selection, out / f"evaluation-{task.name}")
        record_measured(folder, manifest_figures(summarize(rows, bundle, selection.description)))
        finished.append(load_bundle(folder))
    return finished


def write_manifest(task: StarterTask, bundles: Path, weights: Path, threshold: float) -> Bundle:
    """Writes `bundles/<task>/bundle.json` for the files that lie there, not measured yet, and reads it back.

    Args:
        task: what the bundle finds.
        bundles: the folder of all bundles, with the built detector and segmenter.
        weights: `segmenter.pt`, for its architecture.
        threshold: the detector's confidence, 0 to 1, from which an object is accepted.
    """
    import torch

    from automedsam_lab.data.detector_slices import DETECTOR_TASKS

    detector = DETECTOR_TASKS[task.name]
    architecture = torch.load(weights, map_location="cpu", weights_only=True)["architecture"]
    shared = f"../{SEGMENTERS}/{SEGMENTER_NAME}"
    parts = {
        precision: {part: f"{shared}/{part}.{precision}.onnx" for part in NETWORK_NAMES}
        for precision in ("int8", "fp32")
    }
    detectors = {precision: f"detector.{precision}.onnx" for precision in ("int8", "fp32")}
    segmenters = {**parts, "torch": {"checkpoint": f"{shared}/segmenter.pt"}}
    folder = bundles / task.name
    named = [*detectors.values(), *(path for files in segmenters.values() for path in files.values())]
    manifest = {
        "schema": SCHEMA_VERSION,
        "name": task.name,
        "version": VERSION,
        "task": task.task,
        "license": task.license,
        "modalities": list(task.modalities),
        "window": None,
        "plane": detector.spec.plane.value,
        "segments": [asdict(segment) for segment in task.segments],
        "detector": {
            "input_size": list(detector.input_size),
            "labels": [segment.value for segment in task.segments],
            "context_mm": detector.context_mm,
            "score_threshold": threshold,
            "nms_iou": 0.5,
            "mirror": task.mirror.value,
            "files": detectors,
        },
        "linking": task.linking,
        "tracking": task.tracking,
        "segmenter": {"architecture": architecture, "box_as_mask": True, "files": segmenters},
        "files": {
            path: {"sha256": file_hash(folder / path), "bytes": (folder / path).stat().st_size} for path in named
        },
        "release_asset": release_asset_name(),
        "training": {
            "data": task.data,
            "split": builtin_tasks.split(task.name),
            "seed": builtin_tasks.SPLIT_SEED,
            "history": SEGMENTER_HISTORY,
        },
        "measured": {},
    }
    write_json(manifest, folder / MANIFEST_NAME)
    return load_bundle(folder)


def record_measured(folder: Path, measured: Mapping[str, Any]) -> None:
    """Puts held-out figures into a bundle's manifest."""
    manifest = load_bundle(folder).manifest
    write_json({**manifest, "measured": dict(measured)}, folder / MANIFEST_NAME)


def release_asset_name() -> str:
    """The archive of the FP32 files, which are too large for the repository."""
    return f"automedsam-starter-fp32-{VERSION}.zip"


def write_release_asset(bundles: Path, out: Path) -> tuple[Path, str]:
    """Packs the FP32 files of all starter bundles, and returns the archive's SHA-256.

    The archive unpacks over `automedsam/bundles`. Equal files give an equal archive.

    Raises:
        AutoMedSAMError: if there are no FP32 files.
    """
    files = sorted(
        path for pattern in ("*/*.fp32.onnx", "*/*/*.fp32.onnx", "*/*/*.pt") for path in bundles.glob(pattern)
    )
    if not files:
        message = f"There are no FP32 files in {bundles}: run 'automedsam-lab starter' first."
        raise AutoMedSAMError(message)
    out.mkdir(parents=True, exist_ok=True)
    archive = out / release_asset_name()
    with atomic_write(archive) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(bundles).as_posix())
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive, file_hash(archive)
