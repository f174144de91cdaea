"""The report of an evaluation: one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.whole_file import whole_file
from automedsam_lab.report_html_plots import automatic_against_manual, boxplots, dice_of_cases, scored
from automedsam_lab.report_html_style import STYLE
from automedsam_lab.report_html_tables import (
    cases_table,
    consistency_table,
    detection_table,
    label_tables,
    left_out_table,
    methods_table,
    provenance_table,
    speed_table,
)

if TYPE_CHECKING:
    from automedsam_lab.evaluate_study import Study

_CLOSED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(study: Study, pictures: Path, path: Path) -> None:
    """Writes the report.

    Args:
        study: the figures.
        pictures: the folder with `evaluate_pictures.agreement`'s picture of each case.
        path: an HTML file.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    parts = [_head(study), _results(study), _boxes(study), _prompts(study), _speed(study)]
    if study.settings.pictures:
        parts.append(_overlays(study, pictures))
    parts += [_by_case(study), _left_out(study), _how(study), _provenance(study)]
    title = escape(f"Evaluation of {study.title}")
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CLOSED}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _head(study: Study) -> str:
    facts = [
        ("Model", f"{study.title}: {study.task}"),
        ("Data", study.data or "not told"),
        ("Evaluated", f"{_count(study.cases, 'case')} of {_count(study.patients, 'patient')}"),
        ("Machine", study.machine),
        ("Date", study.date.replace("T", " ").replace("+00:00", " UTC")),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    few = (
        f"<p class='note'>With {_count(study.patients, 'patient')} the intervals say little: "
        "read the figures as examples, not as an estimate.</p>"
        if study.patients < 10
        else ""
    )
    return (
        f"<header><h1>Evaluation of {escape(study.title)}</h1>"
        "<p class='warning'><strong>Research software: not for clinical use.</strong></p>"
        f"<dl class='facts'>{rows}</dl>{few}</header>"
    )


def _results(study: Study) -> str:
    if not scored(study):
        text = "The cases have boxes and no masks: what follows concerns the detector and the time alone."
        return _section("Methods", f"<p>{text}</p>{methods_table(study)}")
    return _section(
        "Methods",
        methods_table(study)
        + _figure(dice_of_cases(study), "Dice of each case. Hollow marks: with a manual box.")
        + _figure(boxplots(study), "How Dice spreads over the cases.")
        + label_tables(study),
    )


def _boxes(study: Study) -> str:
    return _section("The detector's boxes", detection_table(study))


def _prompts(study: Study) -> str:
    if not study.consistencies:
        return ""
    plot = ""
    if any(method.ours and method.figures and method.prompt != "none" for method in study.methods):
        plot = _figure(
            automatic_against_manual(study),
            "One point a case and label. On the dashed line the result is as good without a prompt as with one; "
            "above it, better.",
        )
    return _section("Without a prompt against a manual prompt", consistency_table(study) + plot)


def _speed(study: Study) -> str:
    return _section("Time", speed_table(study)) if study.speeds else ""


def _overlays(study: Study, pictures: Path) -> str:
    methods = scored(study)
    if not methods:
        return ""
    dices = study.dice_by_case(methods[0].name)
    order = sorted(dices, key=lambda case: -dices[case])
    ranks = {"Best": 0, "Median": len(order) // 2, "Worst": len(order) - 1}
    shown: dict[int, str] = {}
    for rank, at in ranks.items():
        # Of one or two cases some are several of the three.
        shown[at] = f"{shown[at]} and {rank.lower()}" if at in shown else rank
    figures = []
    for at, rank in shown.items():
        case = order[at]
        told = f"{rank} case: {case}, Dice {dices[case]:.3f}"
        encoded = base64.b64encode((pictures / f"{case}.png").read_bytes()).decode("ascii")
        alt = escape(f"{told}. Slices with the result of {methods[0].name} over the truth.")
        figures.append(_figure(f'<img src="data:image/png;base64,{encoded}" alt="{alt}">', told))
    key = (
        "<p class='key'><span class='right'></span> right <span class='missed'></span> missed "
        "<span class='wrong'></span> wrong: another label, or none, is true</p>"
    )
    return _section(f"Best, median and worst case of {methods[0].name}", key + "".join(figures))


def _by_case(study: Study) -> str:
    if not scored(study):
        return ""
    return (
        f"<section><h2>By case</h2><details><summary>Dice of {_count(study.cases, 'case')}</summary>"
        f"{cases_table(study)}</details><p>All figures by case, label and method are in <code>methods.csv</code> and "
        "<code>results.csv</code> beside this file.</p></section>"
    )


def _left_out(study: Study) -> str:
    if not study.left_out:
        return ""
    return _section(f"Left out: {_count(len(study.left_out), 'case')}", left_out_table(study))


def _how(study: Study) -> str:
    chosen = study.settings
    told = [
        ("Dice, IoU", "Overlap of the masks of a volume, voxel by voxel, by label; over several labels the mean."),
        (
            "NSD",
            f"Normalised surface Dice: the share of surface voxels of both masks that lie within "
            f"{chosen.tolerance_mm:g} mm of the other surface (pixels, where the file has no spacing).",
        ),
        ("HD95", "95th percentile Hausdorff distance, the larger direction; mm."),
        (
            "Empty masks",
            "Both empty: perfect. One empty: Dice, IoU and NSD 0, HD95 the diagonal of the volume. No case is left "
            "out for it.",
        ),
        (
            "Lesion recall, false positives",
            "Connected components of 0.1 ml or more: the share of the true ones that the mask touches; those of the "
            "mask that touch no truth, a volume.",
        ),
        (
            "AP50, AP50:95",
            "COCO's average precision of all boxes of score 0.05 or more, pooled over the slices of all cases; slices "
            "on which a label has too few pixels to teach a detector are not judged.",
        ),
        ("Box IoU", "The mean over the true boxes of the best overlap with an accepted box of that slice; none is 0."),
        (
            "True box",
            "A manual prompt: the tight box on the one slice where the label is the largest, followed over the slices "
            "that show the label (and as far beyond as the model does on its own).",
        ),
        (
            "Jittered box",
            f"The same, with each edge moved by chance up to {100 * chosen.jitter:g} % of the side, at most "
            f"{chosen.jitter_pixels:g} pixels (seed {chosen.seed}); the same boxes for every backend.",
        ),
        ("Consistency", "Dice between the mask without a prompt and the mask from the manual prompt."),
        (
            "Intervals",
            f"95 %, percentile bootstrap of {chosen.resamples:,} resamples of the patients (seed {chosen.seed}); "
            "differences are paired by case. They tell of the choice of patients, not of a training repeated.",
        ),
        (
            "ms an image",
            "Ours: the mean over slices that show a label, each run alone through the loaded model, from grey levels "
            "in memory to the mask. Rivals: as they tell, on the machine that they name. Times of different "
            "machines do not compare.",
        ),
        ("Size", "The model files that a precision needs, in millions of bytes."),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told)
    return _section("How it was measured", f"<dl>{rows}</dl>")


def _provenance(study: Study) -> str:
    return _section("Where the methods come from", provenance_table(study))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _count(number: int, of: str) -> str:
    return f"{number:,} {of}" + ("" if number == 1 else "s")
