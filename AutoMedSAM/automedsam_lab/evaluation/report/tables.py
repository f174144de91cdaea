"""The report's tables: a mean in each cell, its interval in small print below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automedsam_lab.common.table import MISSING, Cell, Column, Table
from automedsam_lab.evaluation.estimates import ALL_LABELS
from automedsam_lab.evaluation.mask_scores import NO_PROMPT
from automedsam_lab.evaluation.report.plots import scored

if TYPE_CHECKING:
    from automedsam_lab.evaluation.comparison import Comparison, Method
    from automedsam_lab.evaluation.estimates import Estimate

# By metric: the heading, the digits, and whether more is better.
_METRICS = {
    "dice": ("Dice", 3, True),
    "iou": ("IoU", 3, True),
    "nsd": ("NSD", 3, True),
    "hd95_mm": ("HD95, mm", 2, False),
    "lesion_recall": ("Lesion recall", 2, True),
    "false_positives": ("False positives per volume", 2, False),
}


def methods_table(study: Comparison) -> Table:
    """Every method with all labels together, its cost, and its difference to the first method."""
    label = ALL_LABELS if len(study.labels) > 1 else study.labels[0]
    has_masks = bool(scored(study))
    metrics = list(_METRICS) if has_masks else []
    columns: list[Column | str] = [Column("Method", is_text=True), Column("Prompt", is_text=True)]
    columns += [_METRICS[name][0] for name in metrics]
    columns += ["ms per image", "MB", *(["Dice minus the first method's"] if has_masks else [])]
    best = {name: _best(study, label, name) for name in metrics}
    table = Table(columns, caption=_methods_caption(study, label, has_masks))
    for method in study.methods:
        if method.figures:
            values = [
                estimate(method.figures[label][name], _METRICS[name][1], is_best=method.name in best[name])
                for name in metrics
            ]
        elif metrics:
            values = [Cell("random weights: no accuracy" if method.weights == "random" else MISSING, span=len(metrics))]
        else:
            values = []
        size = MISSING if method.size_mb is None else f"{method.size_mb:.1f}"
        difference = [estimate(method.dice_apart, 3, sign=True)] if has_masks else []
        table.add(method.name, method.prompt, *values, _milliseconds(method), size, *difference)
    return table


def label_tables(study: Comparison) -> list[tuple[str, Table]]:
    """The same metrics label by label; empty where there is one label."""
    if len(study.labels) < 2:
        return []
    tables = []
    for label in study.labels:
        table = Table(
            ["Method", *(head for head, _, _ in _METRICS.values())], caption=f"Means over {study.cases} cases."
        )
        for method in scored(study):
            found = method.figures[label]
            table.add(method.name, *(estimate(found[name], digits) for name, (_, digits, _) in _METRICS.items()))
        tables.append((label, table))
    return tables


def detection_table(study: Comparison) -> Table:
    """The detectors' boxes."""
    precision = study.detections[0].precision
    table = Table(
        ["Detector of", "AP50", "AP50:95", "Box IoU", "Lesions with a box", "False objects per volume"],
        caption=f"AP over {precision.slices:,} slices with {precision.boxes:,} reference boxes; the other columns by "
        "case. Baselines return masks without scored boxes.",
    )
    for detection in study.detections:
        values = detection.to_json()
        table.add(
            detection.backend,
            _json_estimate(values["ap50"], 3),
            _json_estimate(values["ap50_95"], 3),
            estimate(detection.box_iou, 3),
            estimate(detection.box_recall, 2),
            estimate(detection.false_tracklets, 2),
        )
    return table


def prompt_table(study: Comparison) -> Table:
    """How the automatic result agrees with that of manual prompts."""
    table = Table(
        [
            "Backend",
            "Agreement with the ground-truth box",
            "with the perturbed box",
            "Dice minus the ground-truth box's",
            "minus the perturbed box's",
        ],
        caption="Over the labels in the reference. Agreement is the Dice between the two masks. A difference above 0 "
        "means that the automatic result is better.",
    )
    for one in study.consistencies:
        table.add(
            one.backend,
            estimate(one.with_true_box, 3),
            estimate(one.with_jittered_box, 3),
            estimate(one.less_true_box, 3, sign=True),
            estimate(one.less_jittered_box, 3, sign=True),
        )
    return table


def speed_table(study: Comparison) -> Table:
    """Slices processed alone, and whole volumes."""
    heads = ["Images", "Mean, ms", "Median, ms", "95th percentile, ms", "ms per slice of a volume"]
    table = Table(
        [Column("Backend", is_text=True), Column("Prompt", is_text=True), *heads],
        caption=f"Slices drawn from those that show a label, each processed alone, on {study.machine}. In a volume "
        "(last column, loading included) slices without an object are seen by the detector only.",
    )
    for backend, kinds in study.speeds.items():
        for kind, speed in kinds.items():
            of_volume = f"{study.ms_per_slice[backend]:.1f}" if kind == NO_PROMPT else MISSING
            times = (f"{value:.1f}" for value in (speed.mean_ms, speed.median_ms, speed.p95_ms))
            table.add(backend, kind, str(speed.images), *times, of_volume)
    return table


def cases_table(study: Comparison) -> Table:
    """Dice by case and method, the mean of the case's labels."""
    methods = scored(study)
    by_method = [study.dice_by_case(method.name) for method in methods]
    table = Table(["Case", *(method.name for method in methods)], caption="Dice, the mean of a case's labels.")
    for case in by_method[0] if by_method else ():
        table.add(case, *(f"{dices[case]:.3f}" if case in dices else MISSING for dices in by_method))
    return table


def left_out_table(study: Comparison) -> Table:
    """Cases that could not be used."""
    table = Table(["Case", Column("Reason", is_text=True)], caption="They are not part of any result above.")
    for one in study.left_out:
        table.add(one.name, one.reason)
    return table


def provenance_table(study: Comparison) -> Table:
    """Weights, terms and machines."""
    heads = ("Method", "Weights", "Training here", "Machine of its times", "License", "Note")
    table = Table([Column(head, is_text=True) for head in heads])
    for method in study.methods:
        if not method.ours or method.prompt == NO_PROMPT:
            texts = (method.weights, method.training, method.machine, method.license, method.note)
            table.add(method.name, *(text or MISSING for text in texts))
    return table


def estimate(figure: Estimate | None, digits: int, *, sign: bool = False, is_best: bool = False) -> Cell:
    """A mean with its interval in small print; a dash where it is not defined."""
    return _json_estimate(figure.to_json() if figure else {"mean": None}, digits, sign=sign, is_best=is_best)


def _json_estimate(values: Mapping[str, Any], digits: int, *, sign: bool = False, is_best: bool = False) -> Cell:
    if values["mean"] is None:
        return Cell(MISSING)
    form = f"{'+' if sign else ''}.{digits}f"
    interval: Sequence[float] | None = values["interval"]
    note = f"{interval[0]:{form}} to {interval[1]:{form}}" if interval else ""
    return Cell(_with_minus(f"{values['mean']:{form}}"), _with_minus(note), is_best)


def _with_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _methods_caption(study: Comparison, label: str, has_masks: bool) -> str:
    if not has_masks:
        return "The cost of each method."
    several = f"; {label}: the mean over a case's labels (false positives: their sum)" if len(study.labels) > 1 else ""
    caption = f"Means over {study.cases} cases with 95 % intervals by patient{several}."
    if len([method for method in scored(study) if method.prompt == NO_PROMPT]) > 1:
        caption += " Green: the best of the methods without a prompt."
    return caption


def _best(study: Comparison, label: str, name: str) -> set[str]:
    """The best methods without a prompt, to the digits shown; empty where all are equal."""
    _, digits, more = _METRICS[name]
    means = {
        method.name: round(mean, digits)
        for method in scored(study)
        if method.prompt == NO_PROMPT and (mean := method.figures[label][name].mean) is not None
    }
    if len(set(means.values())) < 2:
        return set()
    top = (max if more else min)(means.values())
    return {method for method, mean in means.items() if mean == top}


def _milliseconds(method: Method) -> Cell:
    if method.ms_per_image is None:
        return Cell(MISSING)
    digits = 0 if method.ms_per_image >= 1000 else 1
    return Cell(f"{method.ms_per_image:,.{digits}f}", f"{method.images:,} image{'' if method.images == 1 else 's'}")
