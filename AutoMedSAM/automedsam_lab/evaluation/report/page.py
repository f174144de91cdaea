"""A report of tables and plots as one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automedsam.io.atomic import atomic_write
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.common.table import Table
from automedsam_lab.evaluation.report.html import read_template, report_environment


@dataclass(frozen=True)
class Section:
    """A part of a page, in this order.

    Attributes:
        title: The heading.
        text: Plain paragraphs.
        figures: Pairs of an SVG element of `plots.to_svg` and a plain caption.
        tables: The tables.
    """

    title: str
    text: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = field(default=())


def write_page(title: str, facts: dict[str, str], sections: Sequence[Section], path: Path) -> None:
    """Renders `page.html.j2`.

    Args:
        title: The heading of the page.
        facts: What the results rest on, by name: data, machine, date.
        sections: The parts.
        path: An HTML file.

    Raises:
        AutoMedSAMError: If the file cannot be written, or Jinja2 is not installed.
    """
    with require("lab", "The report"):
        from markupsafe import Markup

    template = report_environment().from_string(read_template("page.html.j2"))
    shown = [(one, [(Markup(svg), caption) for svg, caption in one.figures]) for one in sections]
    page = template.render(title=title, facts=facts, sections=shown, style=Markup(read_template("style.css")))
    with atomic_write(path) as unfinished:
        unfinished.write_text(page + "\n", encoding="utf-8")
