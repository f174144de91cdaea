"""Measure a bundle on labelled cases: the automatic result, and what the detector and the segmenter contribute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.contract.backends import Backend
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.evaluation.baseline_scores import PredictionFolder
from automedsam_lab.evaluation.case import CaseResult, CaseScores, evaluate_boxes_alone, evaluate_case
from automedsam_lab.evaluation.cases import CaseSelection, ExcludedCase, check_fits
from automedsam_lab.evaluation.comparison import Comparison, Measurements, build_comparison
from automedsam_lab.evaluation.figures import agreement, dice_plot, overview
from automedsam_lab.evaluation.settings import EvaluationSettings
from automedsam_lab.evaluation.speed import time_images
from automedsam_lab.evaluation.summary import summarize, write_csv, write_methods_csv

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.segmentation import Segmentation
    from automedsam_lab.evaluation.mask_scores import MethodRow

# Both run on ONNX Runtime, without PyTorch.
_ONNX_BACKENDS = (Backend.INT8, Backend.FP32_ONNX)


@dataclass(frozen=True)
class ComparedMethods:
    """What is compared.

    Attributes:
        backends: The backends of the bundle; INT8 and, if its files are here, FP32 on ONNX Runtime if None.
        baselines: Other methods, whose label maps are scored in the same way.
    """

    backends: Sequence[Backend] | None = None
    baselines: Sequence[PredictionFolder] = ()

    def __post_init__(self) -> None:
        names = [baseline.method for baseline in self.baselines]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            message = (
                f"Two baselines are called {twice}; give another name in the baseline.json of one, or leave one out."
            )
            raise AutoMedSAMError(message)


def evaluate(
    bundle: Bundle,
    selection: CaseSelection,
    out: Path,
    methods: ComparedMethods | None = None,
    settings: EvaluationSettings | None = None,
    on_done: Callable[[list[CaseScores]], None] = lambda rows: None,
) -> list[CaseScores]:
    """Runs every case through every backend, and writes the results.

    Args:
        bundle: The model.
        selection: The cases.
        out: Folder for `results.csv` (by case, label and backend), `methods.csv` (by case, label and method, baselines
            and manual prompts included), `summary.json`, `report.html`, `dice.png`, `overview.png` and a picture
            of each case in `cases`; made if absent.
        methods: Backends and baselines to compare; the bundle's backends if None.
        settings: Tolerance, jitter, bootstrap and the like; the defaults if None.
        on_done: Called with the rows of each case and backend.

    Returns:
        A row for each case, backend and label.

    Raises:
        AutoMedSAMError: There are no cases, or one of them, the bundle or a baseline cannot be read or does not fit
            the others (with `settings.skip_bad`, such a case is left out), or `out` cannot be written.
    """
    settings, methods = settings or EvaluationSettings(), methods or ComparedMethods()
    backends = list(methods.backends) if methods.backends is not None else available_backends(bundle)
    if not selection.cases:
        message = "There are no cases to evaluate on: give a folder with cases of the bundle's task."
        raise AutoMedSAMError(message)
    with require("lab", "Evaluation"):
        import matplotlib  # noqa: F401
    try:
        (out / "cases").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {out} cannot be made ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error
    # Checked before the first run, which may be the first of many hours.
    cases, faulty = _usable(bundle, selection.cases, methods.baselines, skip=settings.skip_bad)

    results: list[CaseResult] = []
    baseline_rows: list[MethodRow] = []
    showing: list[tuple[DatasetCase, list[int]]] = []
    for case in cases:
        loaded = case.load()
        for backend in backends:
            result, segmentation = _evaluate(case, loaded, bundle, backend, settings)
            results.append(result)
            on_done(result.rows)
            if backend is backends[0]:
                showing.append((case, _labelled_frames(loaded, segmentation.plane)))
                if loaded.reference is not None:
                    agreement(segmentation, loaded.reference, out / "cases" / f"{case.name}.png")
                for baseline in methods.baselines:
                    baseline_rows += baseline.rows(case, loaded, bundle, segmentation.plane, settings.tolerance_mm)
        # Written after each case, so that an interrupted evaluation leaves what it has measured.
        write_csv([row for result in results for row in result.rows], out / "results.csv")

    rows = [row for result in results for row in result.rows]
    speeds = {}
    if settings.timed_images:
        for backend in backends:
            speeds[backend] = time_images(showing, bundle, backend, settings.timed_images, settings.seed)
    summary = summarize(rows, bundle, selection.description)
    measured = Measurements(results, baseline_rows, speeds, [*selection.excluded, *faulty])
    study = build_comparison(bundle, backends, methods.baselines, measured, settings, summary)
    write_methods_csv(study.method_rows, out / "methods.csv")
    write_json({**summary, **study.to_json()}, out / "summary.json")
    _draw(rows, bundle, study, out)
    return rows


def available_backends(bundle: Bundle) -> list[Backend]:
    """INT8, and FP32 on ONNX Runtime where the bundle has the files: both need no PyTorch."""
    return [backend for backend in _ONNX_BACKENDS if backend is Backend.INT8 or bundle.has(backend)]


def _usable(
    bundle: Bundle, cases: Sequence[DatasetCase], baselines: Sequence[PredictionFolder], *, skip: bool
) -> tuple[list[DatasetCase], list[ExcludedCase]]:
    """The cases that can be read, are of the bundle's task, and have a sound label map of every baseline."""
    usable, faulty = [], []
    for case in cases:
        try:
            loaded = case.load()
            check_fits(bundle, case, loaded)
            for baseline in baselines:
                if not baseline.random and loaded.reference is not None:
                    baseline.labels(case.name, loaded.volume, bundle)
        except AutoMedSAMError as error:
            if not skip:
                raise
            faulty.append(ExcludedCase(case.name, str(error)))
        else:
            usable.append(case)
    if not usable:
        message = f"None of the {len(cases)} cases can be used; the first one: {faulty[0].reason}"
        raise AutoMedSAMError(message)
    return usable, faulty


def _evaluate(
    case: DatasetCase, loaded: LoadedCase, bundle: Bundle, backend: Backend, settings: EvaluationSettings
) -> tuple[CaseResult, Segmentation]:
    if loaded.reference is None:
        return evaluate_boxes_alone(case, loaded, bundle, backend)
    return evaluate_case(case, loaded, bundle, backend, settings)


def _labelled_frames(loaded: LoadedCase, plane: Plane) -> list[int]:
    if loaded.reference is None:
        return [index for index, boxes in (loaded.boxes or {}).items() if boxes]
    frames = replace(loaded.volume, array=loaded.reference).to_frames(plane)[0]
    return [int(index) for index in np.flatnonzero(frames.any(axis=(1, 2)))]


def _draw(rows: Sequence[CaseScores], bundle: Bundle, study: Comparison, out: Path) -> None:
    from automedsam_lab.evaluation.report.html import write_report

    if study.method_rows:
        dice_plot(rows, f"{bundle.name} {bundle.version}", out / "dice.png")
        overview(rows, out / "cases", out / "overview.png")
    write_report(study, out / "cases", out / "report.html")
