"""The figures of an evaluation: what each method reaches, how sure that is, what it costs, and how ours is prompted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from automedsam.contract.backends import Backend
from automedsam_lab.evaluation.baseline_scores import PredictionFolder, machine_words
from automedsam_lab.evaluation.case import CaseResult, CaseScores, method_name
from automedsam_lab.evaluation.cases import ExcludedCase
from automedsam_lab.evaluation.estimates import Estimate, MethodTable
from automedsam_lab.evaluation.mask_scores import JITTERED_BOX, NO_PROMPT, TRUE_BOX, MethodRow
from automedsam_lab.evaluation.settings import EvaluationSettings
from automedsam_lab.evaluation.speed import Speed
from automedsam_lab.metrics.average_precision import AveragePrecision, average_precision
from automedsam_lab.metrics.bootstrap import Resamples

if TYPE_CHECKING:
    from automedsam.bundle import Bundle


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        name: what it is called.
        prompt: the prompt that it is given from the reference.
        ours: whether it is the bundle that is evaluated.
        weights: where they come from.
        size_mb: of the model files, in millions of bytes; None if unknown.
        ms_per_image: the mean; None if not measured.
        images: how many it is the mean of.
        machine: where it ran.
        license: its terms.
        training: what its training cost, in words; "" if unknown.
        note: what a reader has to know.
        figures: by label, and "all labels", the figures of `estimates.FIGURES`; empty with random weights.
        dice_apart: Dice less that of the first method, on the same cases; None for the first and where undefined.
    """

    name: str
    prompt: str
    ours: bool
    weights: str
    size_mb: float | None
    ms_per_image: float | None
    images: int
    machine: str
    license: str
    training: str
    note: str
    figures: Mapping[str, Mapping[str, Estimate]]
    dice_apart: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("figures", "dice_apart")}
        fields = {"licence" if name == "license" else name: value for name, value in plain.items()}
        figures = {label: {n: f.to_json() for n, f in of.items()} for label, of in self.figures.items()}
        return {**fields, "figures": figures, "dice_apart": self.dice_apart and self.dice_apart.to_json()}


@dataclass(frozen=True)
class Detection:
    """How well one backend's detector finds boxes.

    Attributes:
        backend: as tables have it.
        precision: over all slices of all cases.
        box_iou: by case.
        box_recall: the share of lesions that an accepted box touches.
        false_tracklets: accepted objects that touch nothing true, a case.
    """

    backend: str
    precision: AveragePrecision
    box_iou: Estimate
    box_recall: Estimate
    false_tracklets: Estimate

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        p = self.precision
        return {
            "backend": self.backend,
            "ap50": Estimate(_or_none(p.ap50), p.ap50_interval).to_json(),
            "ap50_95": Estimate(_or_none(p.ap), p.ap_interval).to_json(),
            "slices": p.slices,
            "boxes": p.boxes,
            **{name: getattr(self, name).to_json() for name in ("box_iou", "box_recall", "false_tracklets")},
        }


@dataclass(frozen=True)
class Consistency:
    """How the result without a prompt stands to those of manual prompts, over all labels, by one backend.

    Attributes:
        backend: as tables have it.
        with_true_box: Dice between the two masks.
        with_jittered_box: Dice between the two masks.
        less_true_box: Dice with the reference, automatic less prompted.
        less_jittered_box: Dice with the reference, automatic less prompted.
    """

    backend: str
    with_true_box: Estimate
    with_jittered_box: Estimate
    less_true_box: Estimate
    less_jittered_box: Estimate

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {name: v.to_json() if isinstance(v, Estimate) else v for name, v in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that the report tells.

    Attributes:
        title: the bundle and its version.
        task: what the bundle finds.
        license: the terms of the bundle.
        data: what the cases are.
        date: of the evaluation, ISO 8601, UTC.
        machine: in one line.
        cases: how many were evaluated.
        patients: how many they are of.
        labels: the segments' names.
        settings: the choices that were made.
        methods: ours without a prompt first, then baselines, then ours with manual prompts.
        detections: one a backend.
        consistencies: one a backend; none where the cases have boxes alone.
        speeds: by backend's name and kind of prompt.
        ms_per_slice: of whole volumes, loading included, by backend's name.
        rows: by case, label and backend.
        method_rows: by case, label and method.
        left_out: cases that could not be used.
    """

    title: str
    task: str
    license: str
    data: str
    date: str
    machine: str
    cases: int
    patients: int
    labels: tuple[str, ...]
    settings: EvaluationSettings
    methods: list[Method]
    detections: list[Detection]
    consistencies: list[Consistency]
    speeds: Mapping[str, Mapping[str, Speed]]
    ms_per_slice: Mapping[str, float]
    rows: list[CaseScores]
    method_rows: list[MethodRow]
    left_out: list[ExcludedCase]

    def dice_by_case(self, method: str) -> dict[str, float]:
        """The mean Dice of the labels of each case by one method."""
        found: dict[str, list[float]] = {}
        for row in self.method_rows:
            if row.method == method:
                found.setdefault(row.case, []).append(row.scores.dice)
        return {case: fmean(values) for case, values in found.items()}

    def to_json(self) -> dict[str, Any]:
        """What `summary.json` has beyond `evaluation.summary.summarise`."""
        return {
            "patients": self.patients,
            "settings": self.settings.to_json(),
            "methods": [method.to_json() for method in self.methods],
            "detection": [detection.to_json() for detection in self.detections],
            "consistency": [consistency.to_json() for consistency in self.consistencies],
            "speed": {name: {kind: s.to_json() for kind, s in of.items()} for name, of in self.speeds.items()},
            "left_out": [asdict(unusable) for unusable in self.left_out],
        }


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured.

    Attributes:
        results: Every case by every backend.
        baseline_rows: Every case by every baseline.
        speeds: Speed of single slices, by backend and kind of prompt.
        excluded: Cases that could not be used.
    """

    results: Sequence[CaseResult]
    baseline_rows: Sequence[MethodRow]
    speeds: Mapping[Backend, Mapping[str, Speed]]
    excluded: Sequence[ExcludedCase]


def build_comparison(
    bundle: Bundle,
    backends: Sequence[Backend],
    baselines: Sequence[PredictionFolder],
    measured: Measurements,
    settings: EvaluationSettings,
    summary: Mapping[str, Any],
) -> Comparison:
    """Computes all figures.

    Args:
        bundle: The model.
        backends: The backends; the first one is the one to compare with.
        baselines: The baselines.
        measured: What was measured.
        settings: Seed and resamples.
        summary: Of `evaluation.summary.summarize`, for date, machine and data.
    """
    results, speeds = measured.results, measured.speeds
    rows = [row for result in results for row in result.rows]
    patients = {row.case: row.patient for row in rows}
    labels = tuple(segment.name for segment in bundle.segments)
    resamples = Resamples.draw(list(patients.values()), resamples=settings.resamples, seed=settings.seed)
    table = MethodTable(
        resamples, patients, labels, [m for result in results for m in result.methods] + [*measured.baseline_rows]
    )
    machine = machine_words(summary["machine"])

    def ours(backend: Backend, prompt: str) -> Method:
        name, kind = method_name(backend, prompt), NO_PROMPT if prompt == NO_PROMPT else TRUE_BOX
        speed = speeds.get(backend, {}).get(kind)
        return Method(
            name,
            prompt,
            True,
            "the bundle's",
            bundle.size_mb(backend),
            speed.mean_ms if speed else None,
            speed.images if speed else 0,
            machine,
            bundle.license,
            "",
            "",
            table.figures(name),
            table.apart(name, method_name(backends[0])),
        )

    def theirs(baseline: PredictionFolder) -> Method:
        manifest = baseline.baseline
        minutes = manifest.cpu_minutes_training
        return Method(
            baseline.method,
            manifest.prompted,
            False,
            manifest.weights,
            manifest.size_mb,
            baseline.ms_per_image(list(patients)),
            baseline.images_timed(list(patients)),
            baseline.machine,
            manifest.license,
            "" if minutes is None else f"{minutes:.0f} CPU minutes",
            manifest.note,
            table.figures(baseline.method),
            table.apart(baseline.method, method_name(backends[0])),
        )

    masks = any(result.methods for result in results)
    methods = [ours(backend, NO_PROMPT) for backend in backends] + [theirs(baseline) for baseline in baselines]
    if masks:
        methods += [ours(backend, prompt) for backend in backends for prompt in (TRUE_BOX, JITTERED_BOX)]
    by_backend = {backend: [row for row in rows if row.backend == backend.value] for backend in backends}
    return Comparison(
        title=f"{bundle.name} {bundle.version}",
        task=bundle.task,
        license=bundle.license,
        data=summary["data"],
        date=summary["date"],
        machine=machine,
        cases=len(patients),
        patients=len(resamples.patients),
        labels=labels,
        settings=settings,
        methods=methods,
        detections=[
            _detection(bundle, backend, [r for r in results if r.rows[0].backend == backend.value], table)
            for backend in backends
        ],
        consistencies=[_consistency(backend, table) for backend in backends] if masks else [],
        speeds={method_name(backend): of for backend, of in speeds.items()},
        ms_per_slice={method_name(backend): fmean(r.ms_per_slice for r in of) for backend, of in by_backend.items()},
        rows=rows,
        method_rows=table.rows,
        left_out=list(measured.excluded),
    )


def _detection(bundle: Bundle, backend: Backend, results: Sequence[CaseResult], table: MethodTable) -> Detection:
    def by_case(figure: str) -> Estimate:
        values: dict[str, float] = {}
        for result in results:
            defined = [v for v in (float(getattr(row, figure)) for row in result.rows) if not math.isnan(v)]
            values[result.rows[0].case] = fmean(defined) if defined else math.nan
        return table.figure(values)

    false = {result.rows[0].case: float(sum(row.false_tracklets for row in result.rows)) for result in results}
    return Detection(
        method_name(backend),
        average_precision(
            [result.boxes for result in results], [segment.value for segment in bundle.segments], table.resamples
        ),
        box_iou=by_case("box_iou"),
        box_recall=by_case("box_recall"),
        false_tracklets=table.figure(false),
    )


def _consistency(backend: Backend, table: MethodTable) -> Consistency:
    automatic, true, jittered = (method_name(backend, prompt) for prompt in (NO_PROMPT, TRUE_BOX, JITTERED_BOX))

    def between(method: str) -> Estimate:
        return table.figure(table.by_case(method, lambda row: row.consistency))

    return Consistency(
        automatic,
        between(true),
        between(jittered),
        table.paired_difference(automatic, true),
        table.paired_difference(automatic, jittered),
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
