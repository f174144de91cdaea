"""Several segmenters on the same images, from reference boxes and from a detector's: one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import open_detector
from automedsam_lab.data.sets.images import Part
from automedsam_lab.distillation.automatic import Automatic, detect_boxes, evaluate_automatic
from automedsam_lab.distillation.cost import Cost, student_cost, teacher_cost
from automedsam_lab.distillation.engine_cost import engine_cost
from automedsam_lab.distillation.engine_segmenter import open_engine_segmenter
from automedsam_lab.distillation.evaluate import evaluate, rows_with_masks
from automedsam_lab.distillation.export import PRECISIONS
from automedsam_lab.distillation.pack import Pack
from automedsam_lab.distillation.pipeline import ONNX, Sources, prepare_pack, teacher_evaluation
from automedsam_lab.distillation.report import MARKDOWN, results, write_report
from automedsam_lab.distillation.segmenters import BoxSegmenter, FilledBox, OnnxStudent, TeacherSegmenter
from automedsam_lab.distillation.teacher import LiteMedSam, Teacher, load_teacher, packaged_checkpoint
from automedsam_lab.distillation.train import STUDENT
from automedsam_lab.models.student.network import load_student


@dataclass(frozen=True)
class BoxStudy:
    """What is measured.

    Attributes:
        weights: names or folders of bundles, `segmenter.pt` files, or folders of `train efficient`.
        cache: folder of packed images and of the teacher's scores.
        data: folder that contains the datasets, if the cache has no images yet.
        backend: of the bundles.
        part: of the split.
        images_per_set: at most so many of each set; all if None.
        sets: names of sets; all if empty.
        detector: name or folder of the bundle whose detector's boxes are segmented as well.
        cost: whether times and sizes are measured.
        teacher: whether LiteMedSAM is measured.
    """

    weights: tuple[str, ...]
    cache: Path
    data: Path | None = None
    backend: Backend = Backend.INT8
    part: Part = Part.TEST
    images_per_set: int | None = None
    sets: tuple[str, ...] = ()
    detector: str | None = None
    cost: bool = False
    teacher: bool = True


def measure_boxes(study: BoxStudy, out: Path) -> Path:
    """Measures all segmenters and writes `results.json`, `results.md` and `results.html`.

    Returns:
        The Markdown file.

    Raises:
        AutoMedSAMError: weights are of no known kind, a set is unknown, the bundle has no detector, or there are no
            images.
    """
    segmenters = [one for weights in study.weights for one in _segmenters(weights, study.backend)]
    detector_bundle = None if study.detector is None else load_bundle(study.detector)
    if detector_bundle is not None and not detector_bundle.has_detector:
        raise AutoMedSAMError(detector_bundle.no_detector_message)
    pack = prepare_pack(Sources(study.data, study.cache))
    rows = _rows(pack, study)
    teacher = load_teacher() if study.teacher else None
    evaluations = [evaluate(FilledBox(), pack, rows)]
    if teacher:
        evaluations.append(teacher_evaluation(pack, rows, teacher, study.cache))
    evaluations += [evaluate(one, pack, rows) for one in segmenters]
    automatic: list[Automatic] = []
    about = {"Models": ", ".join(study.weights)}
    if detector_bundle is not None:
        settings = detector_bundle.detector
        found = detect_boxes(open_detector(detector_bundle, Backend.INT8), settings, pack, rows)
        prompted: list[BoxSegmenter] = [FilledBox(), *([TeacherSegmenter(teacher)] if teacher else []), *segmenters]
        automatic = [evaluate_automatic(one, pack, rows, found, settings.score_threshold) for one in prompted]
        about["Detector"] = f"{detector_bundle.name} {detector_bundle.version}, int8, threshold of its bundle"
    costs = list(_costs(study, teacher)) if study.cost else []
    out.mkdir(parents=True, exist_ok=True)
    write_report(results(evaluations, costs, about, study.part.value, automatic), out)
    return out / MARKDOWN


def _is_student(weights: str) -> bool:
    return (Path(weights) / STUDENT).is_file()


def _segmenters(weights: str, backend: Backend) -> Iterator[BoxSegmenter]:
    if _is_student(weights):
        folder = Path(weights)
        for precision in PRECISIONS:
            yield OnnxStudent(folder / ONNX, precision, name=f"Student {folder.name}")
    else:
        yield open_engine_segmenter(weights, backend)


def _rows(pack: Pack, study: BoxStudy) -> list[int]:
    unknown = sorted(set(study.sets) - set(pack.sets))
    if unknown:
        message = f"There is no set {unknown[0]} in {pack.folder}: choose from {', '.join(pack.sets)}."
        raise AutoMedSAMError(message)
    rows = rows_with_masks(pack, study.part, study.images_per_set)
    rows = [row for row in rows if not study.sets or pack.images[row].set in study.sets]
    if not rows:
        message = f"The images in {study.cache} have no masks of {study.part.value} patients: nothing can be measured."
        raise AutoMedSAMError(message)
    return rows


def _costs(study: BoxStudy, teacher: Teacher | None) -> Iterator[Cost]:
    if isinstance(teacher, LiteMedSam):
        yield teacher_cost(teacher, packaged_checkpoint())
    for weights in _only_measurable(study.weights):
        if _is_student(weights):
            folder = Path(weights)
            yield student_cost(load_student(folder / STUDENT), folder / ONNX, name=f"Student {folder.name}")
        else:
            yield engine_cost(load_bundle(weights))


def _only_measurable(weights: Sequence[str]) -> list[str]:
    """Weights in training are not measured: they have no INT8 yet."""
    return [one for one in weights if Path(one).suffix not in (".pt", ".safetensors")]
