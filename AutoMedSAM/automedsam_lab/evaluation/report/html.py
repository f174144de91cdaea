"""The report of an evaluation: one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import base64
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automedsam.io.atomic import atomic_write
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.evaluation.report.plots import automatic_against_manual, boxplots, dice_of_cases, scored
from automedsam_lab.evaluation.report.tables import (
    cases_table,
    detection_table,
    label_tables,
    left_out_table,
    methods_table,
    prompt_table,
    provenance_table,
    speed_table,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from automedsam_lab.evaluation.comparison import Comparison

_TEMPLATES = resources.files("automedsam_lab.evaluation.report") / "templates"


def write_report(study: Comparison, pictures: Path, path: Path) -> None:
    """Renders `report.html.j2`.

    Args:
        study: The results.
        pictures: The folder with `figures.agreement`'s image of each case.
        path: An HTML file.

    Raises:
        AutoMedSAMError: If the file cannot be written, or Jinja2 is not installed.
    """
    with require("lab", "The report"):
        from markupsafe import Markup

    template = report_environment().from_string(read_template("report.html.j2"))
    style = read_template("style.css")
    plots = {name: Markup(svg) for name, svg in _plots(study).items()}
    overlays = [{"image": Markup(image), "caption": caption} for image, caption in _overlays(study, pictures)]
    page = template.render(study=study, style=Markup(style), plots=plots, overlays=overlays, **_context(study))
    with atomic_write(path) as unfinished:
        unfinished.write_text(page + "\n", encoding="utf-8")


def report_environment() -> Environment:
    """Jinja2 as all reports have it: values are escaped, what is missing is an error.

    Raises:
        AutoMedSAMError: If Jinja2 is not installed.
    """
    with require("lab", "The report"):
        from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(read_template),
    )


def read_template(name: str) -> str:
    """The text of a file in `templates`."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _context(study: Comparison) -> dict[str, Any]:
    methods = scored(study)
    return {
        "has_masks": bool(methods),
        "methods": methods_table(study),
        "labels": label_tables(study) if methods else [],
        "detection": detection_table(study),
        "prompts": prompt_table(study) if study.consistencies else None,
        "speed": speed_table(study) if study.speeds else None,
        "by_case": cases_table(study),
        "left_out": left_out_table(study) if study.left_out else None,
        "provenance": provenance_table(study),
        "overlay_method": methods[0].name if methods else "",
    }


def _plots(study: Comparison) -> dict[str, str]:
    """SVG elements by name; "manual" is empty where nothing was prompted."""
    if not scored(study):
        return {"dice": "", "spread": "", "manual": ""}
    prompted = any(method.ours and method.figures and method.prompt != "none" for method in study.methods)
    manual = automatic_against_manual(study) if study.consistencies and prompted else ""
    return {"dice": dice_of_cases(study), "spread": boxplots(study), "manual": manual}


def _overlays(study: Comparison, pictures: Path) -> list[tuple[str, str]]:
    """An `img` element and a caption for the best, the median and the worst case of the first method."""
    methods = scored(study)
    if not methods or not study.settings.pictures:
        return []
    dices = study.dice_by_case(methods[0].name)
    order = sorted(dices, key=lambda case: -dices[case])
    ranks: dict[int, str] = {}
    for rank, at in {"Best": 0, "Median": len(order) // 2, "Worst": len(order) - 1}.items():
        # With one or two cases, some are several of the three.
        ranks[at] = f"{ranks[at]} and {rank.lower()}" if at in ranks else rank
    found = []
    for at, rank in ranks.items():
        caption = f"{rank} case: {order[at]}, Dice {dices[order[at]]:.3f}"
        encoded = base64.b64encode((pictures / f"{order[at]}.png").read_bytes()).decode("ascii")
        alt = escape(f"{caption}. Slices with the result of {methods[0].name} over the reference.")
        found.append((f'<img src="data:image/png;base64,{encoded}" alt="{alt}">', caption))
    return found
