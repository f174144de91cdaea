"""An evaluation as a CSV by case, as a JSON summary, and as a table on the terminal."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from automedsam.contract.backends import Backend
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.common.table import Table
from automedsam_lab.evaluation.case import CaseScores
from automedsam_lab.evaluation.estimates import ALL_LABELS
from automedsam_lab.evaluation.mask_scores import MaskScores, MethodRow
from automedsam_lab.metrics.lesions import MIN_LESION_ML

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from automedsam.bundle import Bundle

METRICS = tuple(field.name for field in fields(CaseScores) if field.name not in ("case", "backend", "label", "patient"))
_DICES = ("dice", "prompted_dice", "prompted_slice_dice", "boxes_dice")
_METHOD_COLUMNS = ("method", "case", "patient", "label", "consistency")


def write_csv(rows: Sequence[CaseScores], path: Path) -> None:
    """Writes one line a row; what is not defined (NaN) is left empty.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    with atomic_write(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(CaseScores)])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _short(value) for name, value in asdict(row).items()})


def write_methods_csv(rows: Sequence[MethodRow], path: Path) -> None:
    """Writes one line for each case, label and method; what is not defined (NaN) is left empty.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    columns = [*_METHOD_COLUMNS[:-1], *(field.name for field in fields(MaskScores)), _METHOD_COLUMNS[-1]]
    with atomic_write(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            values = {name: getattr(row, name) for name in _METHOD_COLUMNS} | asdict(row.scores)
            writer.writerow({name: _short(value) for name, value in values.items()})


def summarize(rows: Sequence[CaseScores], bundle: Bundle, data: str) -> dict[str, Any]:
    """The figures that a README or a manifest quotes, and what they were measured on.

    Args:
        rows: of `evaluate`.
        bundle: the model that was measured.
        data: what the cases are.

    Returns:
        JSON values. `results` by backend, label and figure has mean and median over the cases that define it;
        "all labels" is the mean of a case's labels. `int8_minus_fp32` is the difference of Dice by case.
    """
    backends = _distinct(row.backend for row in rows)
    return {
        "bundle": bundle.name,
        "version": bundle.version,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "data": data,
        "cases": _distinct(row.case for row in rows),
        "results": {
            backend: {
                label: {figure: _mean_and_median(values) for figure, values in columns.items()}
                for label, columns in _columns([row for row in rows if row.backend == backend]).items()
            }
            for backend in backends
        },
        "int8_minus_fp32": _differences(rows),
    }


def manifest_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """What a bundle's manifest tells of `summarize`: means by backend and label, and where they come from."""
    reported = ("dice", "prompted_dice", "hd95_mm", "lesion_recall")
    return {
        "date": summary["date"],
        "data": summary["data"],
        "machine": summary["machine"],
        **{
            backend: {
                **{
                    name: {label: figures[name]["mean"] for label, figures in labels.items() if label != ALL_LABELS}
                    for name in reported
                },
                "ms_per_slice": next(iter(labels.values()))["ms_per_slice"]["mean"],
            }
            for backend, labels in summary["results"].items()
        },
    }


def summary_tables(rows: Sequence[CaseScores]) -> tuple[RichTable, RichTable]:
    """What a run gives without a prompt, and what true boxes give and a run costs; means over the cases."""
    automatic = _table(
        "No prompt",
        f"Of the true lesions of {MIN_LESION_ML:g} ml or more, hit: the share that the mask touches; boxed: that "
        "an accepted box touches. False: lesions of the mask, a case, that touch no true one.",
        rows,
        {
            "Dice": ("dice", 3),
            "IoU": ("iou", 3),
            "NSD": ("nsd", 3),
            "HD95 mm": ("hd95_mm", 1),
            "hit": ("lesion_recall", 2),
            "boxed": ("box_recall", 2),
            "false": ("false_positives", 2),
        },
    )
    prompted = _table(
        "Dice from true boxes, and what an automatic run costs",
        "One box: on the slice where the label is largest, followed through the volume.",
        rows,
        {
            "one box": ("prompted_dice", 3),
            "its slice": ("prompted_slice_dice", 3),
            "all boxes": ("boxes_dice", 3),
            "ms a slice": ("ms_per_slice", 0),
            "peak MB": ("peak_memory_mb", 0),
        },
    )
    return automatic, prompted


def _table(title: str, caption: str, rows: Sequence[CaseScores], figures: dict[str, tuple[str, int]]) -> RichTable:
    """Means by label and backend; Dice has its median beside it."""
    headings = [part for name in figures for part in ((name, "median") if name == "Dice" else (name,))]
    table = Table(["Label", "Backend", *headings], caption=caption)
    for backend in _distinct(row.backend for row in rows):
        for label, columns in _columns([row for row in rows if row.backend == backend]).items():
            cells = []
            for name, (figure, digits) in figures.items():
                average = _mean_and_median(columns[figure])
                cells.append(_shown(average["mean"], digits))
                if name == "Dice":
                    cells.append(_shown(average["median"], digits))
            table.add(label, backend, *cells)
    return table.to_rich(title)


def dice_by_case(rows: Sequence[CaseScores], backend: str) -> dict[str, float]:
    """The mean Dice of the labels of each case by one backend."""
    cases = _distinct(row.case for row in rows if row.backend == backend)
    return {case: fmean(r.dice for r in rows if (r.case, r.backend) == (case, backend)) for case in cases}


def _columns(rows: Sequence[CaseScores]) -> dict[str, dict[str, list[float]]]:
    """Values by label and figure, one a case; with several labels, also the mean of each case's labels."""
    labels = _distinct(row.label for row in rows)
    found = {
        label: {figure: [float(getattr(r, figure)) for r in rows if r.label == label] for figure in METRICS}
        for label in labels
    }
    if len(labels) > 1:
        by_label = list(found.values())
        found[ALL_LABELS] = {
            figure: [_mean(values) for values in zip(*(columns[figure] for columns in by_label), strict=True)]
            for figure in METRICS
        }
    return found


def _differences(rows: Sequence[CaseScores]) -> dict[str, Any] | None:
    """INT8 less FP32 of each Dice, by case and label, with the mean and the extremes; None without FP32."""
    int8 = {(r.case, r.label): r for r in rows if r.backend == Backend.INT8.value}
    fp32 = {(r.case, r.label): r for r in rows if r.backend in (Backend.FP32_ONNX.value, Backend.FP32_TORCH.value)}
    both = [key for key in int8 if key in fp32]
    if not both:
        return None
    summary: dict[str, Any] = {}
    for figure in _DICES:
        apart = {key: getattr(int8[key], figure) - getattr(fp32[key], figure) for key in both}
        defined = [value for value in apart.values() if not math.isnan(value)]
        if not defined:
            continue
        by_case: dict[str, dict[str, float | None]] = {}
        for (case, label), value in apart.items():
            by_case.setdefault(case, {})[label] = None if math.isnan(value) else value
        summary[figure] = {
            "mean": fmean(defined),
            "lowest": min(defined),
            "highest": max(defined),
            "by_case": by_case,
        }
    return summary


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def _mean_and_median(values: Sequence[float]) -> dict[str, float | None]:
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return {"mean": None, "median": None}
    return {"mean": fmean(defined), "median": median(defined)}


def _distinct(values: Any) -> list[str]:
    """Without repetition, in the order of the first appearance."""
    return list(dict.fromkeys(values))


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
