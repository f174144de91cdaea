"""The report's tables: a mean with its interval a cell, headings that a screen reader can follow."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from automedsam_lab.evaluate_report import ALL_LABELS
from automedsam_lab.evaluate_scores import NO_PROMPT
from automedsam_lab.report_html_plots import scored

if TYPE_CHECKING:
    from automedsam_lab.evaluate_study import Figure, Method, Study

# Of figures: the heading, the digits, and whether more is better.
_FIGURES = {
    "dice": ("Dice", 3, True),
    "iou": ("IoU", 3, True),
    "nsd": ("NSD", 3, True),
    "hd95_mm": ("HD95, mm", 2, False),
    "lesion_recall": ("Lesion recall", 2, True),
    "false_positives": ("False positives a volume", 2, False),
}
_NONE = "&ndash;"
# What the poster set out to reach (2025).
_AIM = {"dice": "&gt; 0.85", "iou": "&gt; 0.75"}
_AIM_MS, _AIM_MB = "&lt; 500", "&le; 100"


def methods_table(study: Study) -> str:
    """Every method with all labels together, what it costs, and how far it is from the first."""
    label = ALL_LABELS if len(study.labels) > 1 else study.labels[0]
    masks = bool(scored(study))
    shown = list(_FIGURES) if masks else []
    heads = ["Method", "Told of the truth", *(_FIGURES[name][0] for name in shown)]
    heads += ["ms an image", "MB", *(["Dice less the first's"] if masks else [])]
    aim = "<tr class='aim'><th scope='row'>Aim of the poster (2025)</th><td class='text'>none</td>"
    aim += "".join(f"<td>{_AIM.get(name, '')}</td>" for name in shown)
    aim += f"<td>{_AIM_MS}</td><td>{_AIM_MB}</td>{'<td></td>' if masks else ''}</tr>"
    best = {name: _best(study, label, name) for name in shown}
    rows = [aim]
    for method in study.methods:
        cells = f"<th scope='row'>{escape(method.name)}</th><td class='text'>{escape(method.prompt)}</td>"
        if method.figures:
            for name in shown:
                figure = method.figures[label][name]
                mark = " class='best'" if method.name in best[name] else ""
                cells += f"<td{mark}>{shown_figure(figure, _FIGURES[name][1])}</td>"
        elif masks:
            why = "random weights: no accuracy" if method.weights == "random" else _NONE
            cells += f"<td class='text' colspan='{len(shown)}'>{why}</td>"
        cells += f"<td>{_ms(method)}</td><td>{_NONE if method.size_mb is None else f'{method.size_mb:.1f}'}</td>"
        if masks:
            cells += f"<td>{shown_figure(method.dice_apart, 3, sign=True) if method.dice_apart else _NONE}</td>"
        rows.append(f"<tr>{cells}</tr>")
    several = f"; {label}, the mean of a case's labels (false positives: their sum)" if len(study.labels) > 1 else ""
    told = f"Means over {study.cases} cases with 95 % intervals by patient{several}." if masks else "What each costs."
    if len([method for method in scored(study) if method.prompt == NO_PROMPT]) > 1:
        told += " Green: the best of those that are told nothing."
    return table(told, heads, rows, text=(1,))


def label_tables(study: Study) -> str:
    """The same figures, label by label, where there are several."""
    if len(study.labels) < 2:
        return ""
    heads = ["Method", *(head for head, _, _ in _FIGURES.values())]
    tables = ""
    for label in study.labels:
        rows = [
            f"<tr><th scope='row'>{escape(method.name)}</th>"
            + "".join(
                f"<td>{shown_figure(method.figures[label][name], digits)}</td>"
                for name, (_, digits, _) in _FIGURES.items()
            )
            + "</tr>"
            for method in scored(study)
        ]
        tables += f"<h3>{escape(label)}</h3>" + table(f"Means over {study.cases} cases.", heads, rows)
    return tables


def detection_table(study: Study) -> str:
    """The detectors' boxes."""
    heads = ["Detector of", "AP50", "AP50:95", "Box IoU", "Lesions boxed", "False objects a volume"]
    rows = []
    for detection in study.detections:
        told = detection.to_json()
        cells = [shown_json(told["ap50"], 3), shown_json(told["ap50_95"], 3), shown_figure(detection.box_iou, 3)]
        cells += [shown_figure(detection.box_recall, 2), shown_figure(detection.false_tracklets, 2)]
        rows.append(f"<tr><th scope='row'>{escape(detection.backend)}</th>{_cells(cells)}</tr>")
    precision = study.detections[0].precision
    caption = (
        f"AP over {precision.slices:,} slices with {precision.boxes:,} true boxes; the rest by case. Rivals give masks "
        "and no scored boxes."
    )
    return table(caption, heads, rows)


def consistency_table(study: Study) -> str:
    """How the automatic result and that of manual prompts agree."""
    heads = [
        "Backend",
        "Dice with the mask from the true box",
        "from the jittered box",
        "Dice with the truth, less the true box's",
        "less the jittered box's",
    ]
    rows = []
    for one in study.consistencies:
        cells = [shown_figure(one.with_true_box, 3), shown_figure(one.with_jittered_box, 3)]
        cells += [shown_figure(figure, 3, sign=True) for figure in (one.less_true_box, one.less_jittered_box)]
        rows.append(f"<tr><th scope='row'>{escape(one.backend)}</th>{_cells(cells)}</tr>")
    caption = "Over the labels that the truth has. Above 0: better without a prompt than with the manual one."
    return table(caption, heads, rows)


def speed_table(study: Study) -> str:
    """Slices run alone, and whole volumes."""
    heads = ["Backend", "Prompt", "Images", "Mean, ms", "Median, ms", "95th percentile, ms", "ms a slice of a volume"]
    rows = []
    for backend, kinds in study.speeds.items():
        for kind, speed in kinds.items():
            of_volume = f"{study.ms_per_slice[backend]:.1f}" if kind == NO_PROMPT else _NONE
            cells = [str(speed.images), *(f"{v:.1f}" for v in (speed.mean_ms, speed.median_ms, speed.p95_ms))]
            rows.append(
                f"<tr><th scope='row'>{escape(backend)}</th><td class='text'>{escape(kind)}</td>"
                f"{_cells([*cells, of_volume])}</tr>"
            )
    caption = (
        f"Slices drawn from those that show a label, each run alone, on {study.machine}. In a volume (last column, "
        "loading included) slices without an object are only looked at by the detector."
    )
    return table(caption, heads, rows, text=(1,))


def cases_table(study: Study) -> str:
    """Dice of every case by every method."""
    methods = scored(study)
    dices = {method.name: study.dice_by_case(method.name) for method in methods}
    rows = [
        f"<tr><th scope='row'>{escape(case)}</th>"
        + _cells([f"{dices[method.name][case]:.3f}" if case in dices[method.name] else _NONE for method in methods])
        + "</tr>"
        for case in dices[methods[0].name]
    ]
    return table("Dice, the mean of a case's labels.", ["Case", *(method.name for method in methods)], rows)


def left_out_table(study: Study) -> str:
    """Cases that could not be used."""
    rows = [
        f"<tr><th scope='row'>{escape(one.name)}</th><td class='text'>{escape(one.reason)}</td></tr>"
        for one in study.left_out
    ]
    return table("They count nowhere above.", ["Case", "Why"], rows, text=(1,))


def provenance_table(study: Study) -> str:
    """Weights, terms and machines."""
    heads = ["Method", "Weights", "Training here", "Machine of its times", "Licence", "Note"]
    rows = [
        f"<tr><th scope='row'>{escape(method.name)}</th>"
        + "".join(
            f"<td class='text'>{escape(text) or _NONE}</td>"
            for text in (method.weights, method.training, method.machine, method.licence, method.note)
        )
        + "</tr>"
        for method in study.methods
        if not method.ours or method.prompt == NO_PROMPT
    ]
    return table("", heads, rows, text=(1, 2, 3, 4, 5))


def table(caption: str, heads: Sequence[str], rows: Sequence[str], text: Sequence[int] = ()) -> str:
    """A table that scrolls sideways by itself where the window is narrow.

    Args:
        caption: plain text; none if empty.
        heads: plain text.
        rows: HTML.
        text: which columns hold words.
    """
    head = "".join(
        f"<th scope='col'{' class=text' if number in text else ''}>{escape(name)}</th>"
        for number, name in enumerate(heads)
    )
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(caption or heads[0], quote=True)}'>"
        f"<table>{told}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def shown_figure(figure: Figure, digits: int, *, sign: bool = False) -> str:
    """A mean over its interval, as HTML."""
    return shown_json(figure.to_json(), digits, sign=sign)


def shown_json(figure: dict, digits: int, *, sign: bool = False) -> str:
    """The same from a figure's JSON values."""
    if figure["mean"] is None:
        return _NONE
    form = f"{'+' if sign else ''}.{digits}f"
    interval = figure["interval"]
    between = f"<small>{interval[0]:{form}} to {interval[1]:{form}}</small>" if interval else ""
    return f"{figure['mean']:{form}}{between}".replace("-", "&minus;")


def _best(study: Study, label: str, name: str) -> set[str]:
    """Who is best of those that are told nothing, to the digits shown; nobody where there is no choice."""
    _, digits, more = _FIGURES[name]
    means = {
        method.name: round(mean, digits)
        for method in scored(study)
        if method.prompt == NO_PROMPT and (mean := method.figures[label][name].mean) is not None
    }
    if len(set(means.values())) < 2:
        return set()
    top = (max if more else min)(means.values())
    return {method for method, mean in means.items() if mean == top}


def _ms(method: Method) -> str:
    if method.ms_per_image is None:
        return _NONE
    took = f"{method.ms_per_image:,.{0 if method.ms_per_image >= 1000 else 1}f}"
    return f"{took}<small>{method.images:,} image{'' if method.images == 1 else 's'}</small>"


def _cells(values: Sequence[str]) -> str:
    return "".join(f"<td>{value}</td>" for value in values)
