"""Assembles the built-in bundles from trained checkpoints: exports, quantizes, writes manifests, and measures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from automedsam import __version__
from automedsam.bundle import MANIFEST_NAME, SCHEMA_VERSION, Bundle, file_hash, load_bundle
from automedsam.contract.backends import Backend
from automedsam.contract.channels import channel_text
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.onnx_networks import NETWORK_NAMES
from automedsam_lab.bundling.detector_source import DetectorSource, open_detector_source
from automedsam_lab.bundling.expected_input import expected_image, expected_input
from automedsam_lab.bundling.starter_files import (
    CHECKPOINT,
    DETECTORS,
    SegmenterFiles,
    kept_segmenter,
    write_detector_files,
    write_segmenter_files,
)
from automedsam_lab.bundling.starter_tasks import SEGMENTER_HISTORY, STARTER_TASKS, Recipe, StarterTask
from automedsam_lab.common.json_files import write_json
from automedsam_lab.data import builtin_tasks

if TYPE_CHECKING:
    from automedsam_lab.data.dataset import Dataset, DatasetCase
    from automedsam_lab.data.prepared.dataset import PreparedDataset
    from automedsam_lab.quantization.detector import QuantizationCheck

logger = logging.getLogger(__name__)

# A bundle keeps the version of the release that built it until it is built again.
VERSION = __version__
SEGMENTERS = "segmenters"
SEGMENTER_NAME = f"universal-{VERSION}"
NMS_IOU = 0.5


@dataclass(frozen=True)
class StarterRuns:
    """Where trainings left their results.

    Attributes:
        folder: `segmenter/segmenter.pt`, `detector_<task>/detector.pt`, and `prepared_<task>` of a task of images.
        data: The folder that holds the datasets.
    """

    folder: Path
    data: Path

    @property
    def segmenter(self) -> Path:
        """The checkpoint of the segmenter.

        Raises:
            AutoMedSAMError: If it was not trained.
        """
        return _trained(self.folder / "segmenter" / "segmenter.pt", "train segmenter --recipe universal")

    def detector(self, task: StarterTask) -> DetectorSource:
        """The trained detector of a task.

        Raises:
            AutoMedSAMError: If it was not trained.
        """
        command = f"train detector {task.name}" if task.recipe is Recipe.SLICES else "train detector --recipe yolo-nas"
        return open_detector_source(str(_trained(self.folder / f"detector_{task.name}" / "detector.pt", command)))

    def prepared(self, task: StarterTask) -> PreparedDataset:
        """The images on which a task's detector was trained."""
        from automedsam_lab.data.prepared.dataset import PreparedDataset

        return PreparedDataset.open(self.folder / f"prepared_{task.name}")

    def dataset(self, task: StarterTask) -> Dataset:
        """The cases on which a task is measured."""
        from automedsam_lab.data.builtin_dataset import BuiltinDataset
        from automedsam_lab.data.prepared.native_dataset import NativeDataset

        if task.recipe is Recipe.IMAGES:
            return NativeDataset(self.prepared(task))
        return BuiltinDataset(task.name, self.data)

    def all_cases(self, task: StarterTask, part: str) -> list[DatasetCase]:
        """The cases of a part, "train" or "val"; gliomas without and with skull, and heads without glioma."""
        return [*self.dataset(task).cases(part), *self.in_heads(task, part)]

    def in_heads(self, task: StarterTask, part: str) -> list[DatasetCase]:
        """The gliomas of a part in heads with skull, and the heads; none for other tasks."""
        from automedsam_lab.data.head_dataset import HeadDataset

        return HeadDataset(self.data).cases(part) if task.name == builtin_tasks.GLIOMA else []


def build_starter(
    runs: StarterRuns,
    bundles: Path,
    out: Path,
    tasks: Mapping[str, StarterTask] = STARTER_TASKS,
    *,
    keep_segmenter: bool = False,
) -> list[Bundle]:
    """Makes and measures the built-in bundles.

    Args:
        runs: The trained models.
        bundles: The folder of all bundles.
        out: The evaluations go to `evaluation-<task>` in it.
        tasks: The bundles to make.
        keep_segmenter: Use the segmenter that the bundles in `bundles` share already, instead of a trained one.

    Returns:
        The bundles, with their held-out figures.

    Raises:
        AutoMedSAMError: If a model was not trained; nothing is written then.
    """
    weights = None if keep_segmenter else runs.segmenter
    detectors = {name: runs.detector(task) for name, task in tasks.items() if task.recipe is not None}
    segmenter = kept_segmenter(bundles, SEGMENTER_NAME) if weights is None else _segmenter(runs, weights, bundles)
    finished = []
    for name, task in tasks.items():
        folder = bundles / name
        folder.mkdir(parents=True, exist_ok=True)
        threshold = _add_detector(runs, task, detectors[name], folder) if name in detectors else 0.5
        facts = _facts(runs, task)
        bundle = write_manifest(task, folder, segmenter, detectors.get(name), threshold, facts)
        if name in detectors and (cases := runs.all_cases(task, "val")):
            bundle = write_manifest(task, folder, segmenter, detectors.get(name), _selected(task, bundle, cases), facts)
        finished.append(_measured(runs, task, bundle, out) if name in detectors else bundle)
    return finished


def _segmenter(runs: StarterRuns, weights: Path, bundles: Path) -> SegmenterFiles:
    from automedsam_lab.data.segmenter_clips import calibration_slices
    from automedsam_lab.data.sets.clip_sets import UNIVERSAL_SHARES

    slices = calibration_slices(runs.data, _image_size(weights), shares=UNIVERSAL_SHARES)
    segmenter = write_segmenter_files(weights, slices, bundles / SEGMENTERS / SEGMENTER_NAME)
    for part, difference in segmenter.differences.items():
        logger.info("%s: at most %.1e from PyTorch", part, difference)
    return segmenter


def _selected(task: StarterTask, bundle: Bundle, cases: Sequence[DatasetCase]) -> float:
    """The threshold that suits validation patients best."""
    from automedsam_lab.evaluation.box_figures import detected_boxes, threshold_within
    from automedsam_lab.evaluation.threshold import threshold_of_best_dice

    if task.most_false_boxes is None:
        selected, *_ = threshold_of_best_dice(bundle, cases)
        logger.info("%s: mean Dice %.3f on validation at %.2f", task.name, fmean(selected.dice), selected.threshold)
        return selected.threshold
    boxes, labels = detected_boxes(bundle, cases, Backend.INT8), [segment.value for segment in task.segments]
    point = threshold_within(boxes, labels, task.most_false_boxes)
    logger.info("%s on validation: %s", task.name, point)
    return point.threshold


def write_manifest(
    task: StarterTask,
    folder: Path,
    segmenter: SegmenterFiles,
    detector: DetectorSource | None,
    threshold: float,
    facts: Mapping[str, Any],
) -> Bundle:
    """Writes `bundle.json` for the files that lie in a bundle's folder, not measured yet, and reads it back.

    Args:
        task: What the bundle finds.
        folder: The bundle's folder, beside that of the segmenters.
        segmenter: The shared segmenter.
        detector: The trained detector; None for a bundle that only follows prompts.
        threshold: The detector's confidence, 0 to 1, from which an object is accepted.
        facts: `expected_input` and `training`.
    """
    shared = f"../{SEGMENTERS}/{SEGMENTER_NAME}"
    segmenters = {
        "int8": {part: f"{shared}/{part}.int8.onnx" for part in NETWORK_NAMES},
        "torch": {"checkpoint": f"{shared}/{CHECKPOINT}"},
    }
    detectors = DETECTORS if detector is not None else {}
    named = [*detectors.values(), *(path for files in segmenters.values() for path in files.values())]
    manifest = {
        "schema": SCHEMA_VERSION,
        "name": task.name,
        "version": VERSION,
        "task": task.task,
        "license": task.license,
        "modalities": list(task.modalities),
        "window": None,
        "plane": task.plane.value,
        "segments": [
            {**asdict(segment), "segmented_on": task.segmented_on.get(segment.value)} for segment in task.segments
        ],
        "detector": {
            "input_size": list(detector.input_size) if detector else [640, 640],
            "labels": [segment.value for segment in task.segments],
            "context_mm": detector.context_mm if detector else 0.0,
            "score_threshold": threshold,
            "nms_iou": NMS_IOU,
            "mirror": task.mirror and task.mirror.value,
            "files": detectors,
            **({"fit": detector.fit.value} if detector else {}),
            **_declared_channels(task),
        },
        "linking": task.linking,
        "tracking": task.tracking,
        "segmenter": {
            "architecture": segmenter.architecture,
            "box_as_mask": True,
            "knows_points": True,
            "files": segmenters,
            "golden": {"int8": segmenter.golden},
        },
        "files": {
            path: {"sha256": file_hash(folder / path), "bytes": (folder / path).stat().st_size} for path in named
        },
        **facts,
        **({"caution": task.caution} if task.caution else {}),
        "measured": {},
    }
    write_json(manifest, folder / MANIFEST_NAME)
    return load_bundle(folder)


def record_measured(folder: Path, measured: Mapping[str, Any]) -> None:
    """Puts held-out figures into a bundle's manifest."""
    manifest = load_bundle(folder).manifest
    write_json({**manifest, "measured": dict(measured)}, folder / MANIFEST_NAME)


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


def _add_detector(runs: StarterRuns, task: StarterTask, source: DetectorSource, folder: Path) -> float:
    """Writes a bundle's detector; the score of the best F1 on validation patients, as the engine runs it in INT8."""
    from automedsam.detection.detector import MIN_SCORE, DetectorSettings
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS, read_stack
    from automedsam_lab.models.onnx_predictor import onnx_predictor
    from automedsam_lab.quantization.detector import calibration_frames, draw_calibration
    from automedsam_lab.training.detector.validation import measure_detector, measure_on_images, score_offsets

    path = folder / DETECTORS["int8"]
    if task.recipe is Recipe.IMAGES:
        dataset = runs.prepared(task)
        check = write_detector_files(source, draw_calibration(dataset, source.input_size[0]), folder)
        labels = tuple(segment.value for segment in task.segments)
        settings = DetectorSettings(source.input_size, labels, 0.0, MIN_SCORE, NMS_IOU, task.mirror, source.fit)
        scores = measure_on_images(dataset.part("val"), onnx_predictor(path), settings)
    else:
        spec = DETECTOR_TASKS[task.name]
        stacks = {
            part: [read_stack(spec, case) for case in builtin_tasks.cases_of(task.name, runs.data, part)]
            for part in ("train", "val")
        }

        def offsets(exported: Path) -> list[float]:
            return score_offsets(spec, onnx_predictor(exported), stacks["val"], task.mirror)

        balanced = offsets if len(task.segments) > 1 else None
        check = write_detector_files(source, calibration_frames(spec, stacks["train"]), folder, balanced)
        scores = measure_detector(spec, onnx_predictor(path), stacks["val"], task.mirror)
    logger.info(
        "%s: the detector's INT8 file has %.1f MB and moves a box edge by %.2f pixels; AP50 %.3f",
        task.name, check.megabytes, check.boxes, scores.ap50,
    )  # fmt: skip
    return round(scores.threshold, 3)


def _declared_channels(task: StarterTask) -> dict[str, list[str]]:
    """The detector's input channels where they are not those of a manifest without such a field."""
    from automedsam_lab.data.detector_slices import DETECTOR_TASKS

    spec = DETECTOR_TASKS.get(task.name)
    if spec is None or len(task.modalities) == 1:
        return {}
    return {"channels": [channel_text(channel, task.modalities) for channel in spec.channels]}


def _facts(runs: StarterRuns, task: StarterTask) -> dict[str, Any]:
    """What the training data were, and what a volume must look like."""
    training: dict[str, Any] = {"data": task.data, "history": SEGMENTER_HISTORY, "seed": builtin_tasks.SPLIT_SEED}
    if task.recipe is None:
        return {"training": training}
    dataset = runs.dataset(task)
    # Not every glioma has the second sequence of "brats".
    there = {part: {case.patient for case in dataset.cases(part)} for part in dataset.patients}
    training["split"] = {part: sorted(there[part] & set(patients)) for part, patients in dataset.patients.items()}
    if task.single_image:
        expected, count = expected_image(case.load().volume for case in dataset.cases("train"))
        return {"expected_input": expected.to_manifest(count), "training": training}
    if task.recipe is Recipe.IMAGES:
        return {"training": training}
    images, composites = (
        (case.load().volume for case in cases) for cases in (dataset.cases("train"), runs.in_heads(task, "train"))
    )
    expected, count = expected_input(images, task.plane, None, skull=task.skull, composites=composites)
    return {"expected_input": expected.to_manifest(count), "training": training}


def _measured(runs: StarterRuns, task: StarterTask, bundle: Bundle, out: Path) -> Bundle:
    from automedsam_lab.evaluation.box_figures import figures_of_boxes
    from automedsam_lab.evaluation.cases import held_out_cases
    from automedsam_lab.evaluation.run import ComparedMethods, evaluate
    from automedsam_lab.evaluation.summary import manifest_figures, summarize

    logger.info("Measuring %s on its held-out patients", task.name)
    selection = held_out_cases(bundle, runs.dataset(task))
    # Without the folder of the data: the description becomes a part of the bundle.
    selection = replace(selection, description=f"test split of {task.name}, {len(selection.cases)} cases")
    backends = [Backend.INT8, Backend.FP32_TORCH]
    if task.most_false_boxes is None:
        both = ComparedMethods(backends=backends)
        rows = evaluate(bundle, selection, out / f"evaluation-{task.name}", both)
        figures = manifest_figures(summarize(rows, bundle, selection.description))
    else:
        figures = figures_of_boxes(bundle, selection, backends)
    record_measured(bundle.folder, figures)
    return load_bundle(bundle.folder)


def _image_size(weights: Path) -> int:
    from automedsam.sam2.torch_networks import load_model

    return load_model(weights)[1].image_size


def _trained(path: Path, command: str) -> Path:
    if not path.is_file():
        message = f"There is no {path}: run 'automedsam-lab {command} -o {path.parent}' first."
        raise AutoMedSAMError(message)
    return path
