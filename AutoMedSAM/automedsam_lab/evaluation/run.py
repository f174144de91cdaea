"""Measure a bundle on labelled cases: what a person would get from it, and what each half contributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data import builtin_tasks
from automedsam_lab.evaluation.baseline_scores import PredictionFolder
from automedsam_lab.evaluation.case import CaseResult, CaseScores, evaluate_boxes_alone, evaluate_case
from automedsam_lab.evaluation.cases import (
    EvaluationCase,
    ExcludedCase,
    LoadedCase,
    builtin_case,
    check_fits,
    check_unseen,
)
from automedsam_lab.evaluation.comparison import Comparison, build_comparison
from automedsam_lab.evaluation.figures import agreement, dice_plot, overview
from automedsam_lab.evaluation.settings import EvaluationSettings
from automedsam_lab.evaluation.speed import time_images
from automedsam_lab.evaluation.summary import summarize, write_csv, write_methods_csv

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.segmentation import Segmentation
    from automedsam_lab.evaluation.mask_scores import MethodRow

_Case = TypeVar("_Case")
UNSEEN = "unseen"
PARTS = ("test", "validation", "train", UNSEEN)
# Both run on ONNX Runtime, without PyTorch.
_ONNX_BACKENDS = (Backend.INT8, Backend.FP32_ONNX)


def evaluate(
    bundle: Bundle,
    cases: Sequence[builtin_tasks.Case | EvaluationCase],
    out: Path,
    backends: Sequence[Backend] | None = None,
    *,
    data: str = "",
    baselines: Sequence[PredictionFolder] = (),
    settings: EvaluationSettings | None = None,
    left_out: Sequence[ExcludedCase] = (),
    on_done: Callable[[list[CaseScores]], None] = lambda rows: None,
) -> list[CaseScores]:
    """Runs every case through every backend, and writes what came of it.

    Args:
        bundle: the model.
        cases: labelled cases of one of the lab's tasks, or of a prepared dataset.
        out: folder for `results.csv` (by case, label and backend), `methods.csv` (by case, label and method, baselines
            and manual prompts included), `summary.json`, `report.html`, `dice.png`, `overview.png` and a picture
            of each case in `cases`; made if absent.
        backends: what shall compute; INT8 and, where its files are here, FP32 on ONNX Runtime if None.
        data: what the cases are, for the summary.
        baselines: whose label maps are scored beside ours.
        settings: tolerance, jitter, bootstrap and the like; the defaults if None.
        left_out: cases that were left out before, for the report.
        on_done: is told the rows of each case and backend as they come.

    Returns:
        A row for each case, backend and label.

    Raises:
        AutoMedSAMError: if there are no cases, one, the bundle or a baseline cannot be read or does not fit the others
            (where `settings.skip_bad` says so, such a case is left out), or `out` cannot be written.
    """
    settings = settings or EvaluationSettings()
    chosen = list(backends) if backends is not None else available_backends(bundle)
    if not cases:
        message = "There are no cases to evaluate on: give a folder with cases of the bundle's task."
        raise AutoMedSAMError(message)
    with require("lab", "Evaluation"):
        import matplotlib  # noqa: F401
    pictures = out / "cases"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {out} cannot be made ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error
    _check_names(baselines)
    subjects = [case if isinstance(case, EvaluationCase) else builtin_case(case) for case in cases]
    # Before the first run, which may be the first of many hours.
    subjects, faulty = _usable(bundle, subjects, baselines, skip=settings.skip_bad)

    results: list[CaseResult] = []
    baseline_rows: list[MethodRow] = []
    showing: list[tuple[EvaluationCase, list[int]]] = []
    for subject in subjects:
        loaded = subject.load()
        for backend in chosen:
            result, segmentation = _evaluate(subject, loaded, bundle, backend, settings)
            results.append(result)
            plane = segmentation.plane
            if backend is chosen[0]:
                showing.append((subject, _frames_that_show(loaded, plane)))
                if loaded.truth is not None:
                    agreement(segmentation, loaded.truth, pictures / f"{subject.name}.png")
            on_done(result.rows)
        if loaded.truth is not None:
            for baseline in baselines:
                baseline_rows += baseline.rows(
                    subject.name, subject.patient, loaded.volume, loaded.truth, bundle, plane, settings.tolerance_mm
                )
        # Written anew after each case, so that an evaluation that is stopped leaves what it has measured.
        write_csv([row for result in results for row in result.rows], out / "results.csv")

    rows = [row for result in results for row in result.rows]
    speeds = {}
    if settings.timed_images:
        for backend in chosen:
            speeds[backend] = time_images(showing, bundle, backend, settings.timed_images, settings.seed)
    summary = summarize(rows, bundle, data)
    study = build_comparison(
        bundle, chosen, results, baseline_rows, baselines, speeds, settings, summary, [*left_out, *faulty]
    )
    write_methods_csv(study.method_rows, out / "methods.csv")
    write_json({**summary, **study.to_json()}, out / "summary.json")
    _draw(rows, bundle, study, out)
    return rows


def available_backends(bundle: Bundle) -> list[Backend]:
    """INT8, and FP32 on ONNX Runtime where the bundle has the files: both need no PyTorch."""
    return [backend for backend in _ONNX_BACKENDS if backend is Backend.INT8 or bundle.has(backend)]


def choose_cases(task: str, root: Path, part: str = "test", limit: int | None = None) -> list[builtin_tasks.Case]:
    """The expert-labelled cases to report on.

    Args:
        task: "hippocampus" or "glioma".
        root: the folder of datasets.
        part: of the task's written split, or "unseen": whatever is in `root` and is in no part that trains or
            selects, test patients and strangers alike.
        limit: at most so many, spread evenly over the patients; None for all.

    Raises:
        AutoMedSAMError: if the task or part is unknown, or there are no such cases in `root`.
    """
    if part not in PARTS:
        message = f"There is no part {part!r} of the split; use one of {', '.join(PARTS)}."
        raise AutoMedSAMError(message)
    found = builtin_tasks.cases(task, root)
    if part == UNSEEN:
        written = builtin_tasks.split(task)
        seen = {patient for name, patients in written.items() if name != "test" for patient in patients}
        found = [case for case in found if case.patient not in seen]
    else:
        wanted = set(builtin_tasks.split(task).get(part, []))
        found = [case for case in found if case.patient in wanted]
    found = [case for case in found if case.expert]
    if not found:
        message = f"No {task} cases of the part {part!r} are in {root}; choose another part or folder."
        raise AutoMedSAMError(message)
    return spread(found, limit)


def held_out_cases(
    bundle: Bundle, task: str, root: Path, part: str, limit: int | None = None, *, skip_bad: bool = False
) -> tuple[list[EvaluationCase], list[ExcludedCase], str]:
    """The cases of a task's split that a bundle may be reported on.

    Args:
        bundle: the model.
        task: "hippocampus" or "glioma".
        root: the folder of datasets.
        part: of the split; see `choose_cases`.
        limit: at most so many.
        skip_bad: leave out patients that are in two parts or that the bundle has seen, instead of ending.

    Returns:
        The cases, what was left out of them, and what they are in words.

    Raises:
        AutoMedSAMError: as `choose_cases`, or if such a patient is among the cases of a held-out part.
    """
    subjects = [builtin_case(case) for case in choose_cases(task, root, part, limit)]
    kept, left_out = _unseen(bundle, subjects, part, builtin_tasks.split(task), skip=skip_bad)
    return kept, left_out, f"{part} part of the {task} split, {_cases(len(kept))} in {root}"


def prepared_cases(
    bundle: Bundle, folder: Path, part: str, limit: int | None = None, *, skip_bad: bool = False
) -> tuple[list[EvaluationCase], list[ExcludedCase], str]:
    """The cases of a part of a prepared dataset; arguments, result and errors as of `held_out_cases`."""
    from automedsam_lab.data.prepared.dataset import PreparedDataset
    from automedsam_lab.evaluation.prepared_cases import prepared_subjects

    dataset = PreparedDataset.open(folder)
    # What the lab's tasks call validation, the datasets call val.
    part = "val" if part == "validation" else part
    subjects = spread(prepared_subjects(dataset, part), limit)
    kept, left_out = _unseen(bundle, subjects, part, dataset.manifest["patients"], skip=skip_bad)
    return kept, left_out, f"{part} part of {dataset.name}, {_cases(len(kept))} of the prepared dataset {folder}"


def spread(found: list[_Case], limit: int | None) -> list[_Case]:
    """At most so many, spread evenly; all if `limit` is None."""
    if limit is None or limit >= len(found):
        return found
    return [found[index * len(found) // limit] for index in range(limit)]


def _unseen(
    bundle: Bundle, subjects: list[EvaluationCase], part: str, parts: Mapping[str, list[str]], *, skip: bool
) -> tuple[list[EvaluationCase], list[ExcludedCase]]:
    """Those that a report on a part may show, and the others; of a part that trains, whatever there is."""
    if part not in ("test", UNSEEN):
        return subjects, []
    seen = check_unseen(bundle, subjects, parts)
    if seen and (not skip or len(seen) == len(subjects)):
        raise AutoMedSAMError(seen[0].reason)
    names = {unusable.name for unusable in seen}
    return [subject for subject in subjects if subject.name not in names], seen


def _cases(count: int) -> str:
    return f"{count} case" + ("" if count == 1 else "s")


def _check_names(baselines: Sequence[PredictionFolder]) -> None:
    names = [baseline.method for baseline in baselines]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"Two baselines are called {twice}; give another name in the baseline.json of one, or leave one out."
        raise AutoMedSAMError(message)


def _usable(
    bundle: Bundle, subjects: Sequence[EvaluationCase], baselines: Sequence[PredictionFolder], *, skip: bool
) -> tuple[list[EvaluationCase], list[ExcludedCase]]:
    """The cases that can be read, are of the bundle's task, and that every baseline has a sound label map of."""
    usable, faulty = [], []
    for subject in subjects:
        try:
            loaded = subject.load()
            check_fits(bundle, subject, loaded)
            for baseline in baselines:
                if not baseline.random and loaded.truth is not None:
                    baseline.labels(subject.name, loaded.volume, bundle)
        except AutoMedSAMError as error:
            if not skip:
                raise
            faulty.append(ExcludedCase(subject.name, str(error)))
        else:
            usable.append(subject)
    if not usable:
        message = f"None of the {len(subjects)} cases can be used; the first one: {faulty[0].reason}"
        raise AutoMedSAMError(message)
    return usable, faulty


def _evaluate(
    subject: EvaluationCase, loaded: LoadedCase, bundle: Bundle, backend: Backend, settings: EvaluationSettings
) -> tuple[CaseResult, Segmentation]:
    if loaded.truth is None:
        boxes = loaded.boxes or {}
        return evaluate_boxes_alone(subject.name, loaded.volume, boxes, bundle, backend, subject.patient)
    return evaluate_case(subject.name, loaded.volume, loaded.truth, bundle, backend, settings, subject.patient)


def _frames_that_show(loaded: LoadedCase, plane: Plane) -> list[int]:
    if loaded.truth is None:
        return [index for index, boxes in (loaded.boxes or {}).items() if boxes]
    frames = replace(loaded.volume, array=loaded.truth).to_frames(plane)[0]
    return [int(index) for index in np.flatnonzero(frames.any(axis=(1, 2)))]


def _draw(rows: Sequence[CaseScores], bundle: Bundle, study: Comparison, out: Path) -> None:
    from automedsam_lab.evaluation.report.html import write_report

    if study.method_rows:
        dice_plot(rows, f"{bundle.name} {bundle.version}", out / "dice.png")
        overview(rows, out / "cases", out / "overview.png")
    write_report(study, out / "cases", out / "report.html")
