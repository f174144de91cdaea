"""The report's plots: inline SVG whose ink is the page's own, so that they are read on dark and on light alike."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from automedsam_lab.evaluation.mask_scores import JITTERED_BOX, NO_PROMPT, TRUE_BOX

if TYPE_CHECKING:
    from automedsam_lab.evaluation.comparison import Comparison, Method

# A colour that no plot uses, which the page's own takes the place of.
INK = "#010203"
# At least 3:1 against the light page and the dark one; the shapes tell methods apart without colours.
COLORS = ("#2f7fd1", "#c9690e", "#279a6b", "#c2549d", "#8a6fd6", "#a58212", "#c9504f", "#5f8a94")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
_MAX_NAMED = 60


def dice_of_cases(study: Comparison) -> str:
    """Dice of every case by every method that has no prompt or all prompts, cases by falling Dice of the first."""
    methods = [m for m in scored(study) if not (m.ours and m.prompt == JITTERED_BOX)]
    first = study.dice_by_case(methods[0].name)
    order = sorted(first, key=lambda case: -first[case])
    figure, axes = new_figure(max(7.5, 2.2 + 0.19 * min(len(order), _MAX_NAMED)), 4.2)
    for method in methods:
        dices = study.dice_by_case(method.name)
        shown = [(place, dices[case]) for place, case in enumerate(order) if case in dices]
        axes.plot(*zip(*shown, strict=True), label=method.name, ls="none", ms=5, alpha=0.9, **_marker(study, method))
    if len(order) <= _MAX_NAMED:
        axes.set_xticks(range(len(order)), order, rotation=90, fontsize=8)
    else:
        axes.set_xlabel(f"{len(order)} cases, by falling Dice of {methods[0].name}")
    axes.set_xlim(-0.7, len(order) - 0.3)
    _dice_axis(axes.yaxis, [row.scores.dice for row in study.method_rows])
    axes.set_ylabel("Dice, mean of the labels")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return to_svg(figure, f"Dice of each of {len(order)} cases by {_list(methods)}.")


def boxplots(study: Comparison) -> str:
    """How Dice spreads over the cases, method by method."""
    methods = scored(study)[::-1]
    values = [list(study.dice_by_case(method.name).values()) for method in methods]
    figure, axes = new_figure(7.5, 0.9 + 0.42 * len(methods))
    lines = {"color": INK, "linewidth": 1}
    axes.boxplot(
        values,
        orientation="horizontal",
        widths=0.55,
        showfliers=False,
        boxprops=lines,
        whiskerprops=lines,
        capprops=lines,
        medianprops={"color": INK, "linewidth": 2},
    )
    spread = np.random.default_rng(0)
    for place, dices in enumerate(values, start=1):
        across = place + spread.uniform(-0.16, 0.16, len(dices))
        axes.plot(dices, across, ls="none", ms=3.5, alpha=0.75, **_marker(study, methods[place - 1]))
    axes.set_yticks(range(1, len(methods) + 1), [method.name for method in methods])
    _dice_axis(axes.xaxis, [one for some in values for one in some])
    axes.set_xlabel("Dice, one point a case; line: median, box: quartiles")
    return to_svg(figure, f"Box plots of Dice by case for {_list(methods[::-1])}.")


def automatic_against_manual(study: Comparison) -> str:
    """Dice without a prompt over Dice from a manual box, a point a case and label, by the first backend."""
    ours = [method for method in scored(study) if method.ours]
    automatic = next(method.name for method in ours if method.prompt == NO_PROMPT)
    dices = {(row.method, row.case, row.label): row.scores.dice for row in study.method_rows}
    figure, axes = new_figure(5.2, 4.9)
    every: list[float] = []
    for prompt in (TRUE_BOX, JITTERED_BOX):
        manual = next(method for method in ours if method.prompt == prompt)
        pairs = [
            (dices[manual.name, case, label], dice)
            for (method, case, label), dice in dices.items()
            if method == automatic and (manual.name, case, label) in dices
        ]
        every += [one for pair in pairs for one in pair]
        axes.plot(*zip(*pairs, strict=True), ls="none", ms=5, alpha=0.8, label=prompt, **_marker(study, manual))
    low = _floor(every)
    axes.plot([low, 1], [low, 1], color=INK, lw=0.8, ls="--")
    _dice_axis(axes.xaxis, every)
    _dice_axis(axes.yaxis, every)
    axes.set_aspect("equal")
    axes.set_xlabel("Dice with a manual box on one slice")
    axes.set_ylabel(f"Dice without a prompt ({automatic})")
    axes.legend(frameon=False, loc="upper left")
    return to_svg(figure, f"Dice of {automatic} without a prompt over that with a true and with a jittered box.")


def scored(study: Comparison) -> list[Method]:
    """The methods of which accuracy is known, in the order of the table."""
    return [method for method in study.methods if method.figures]


def _marker(study: Comparison, method: Method) -> dict[str, Any]:
    """The same for a method in every plot."""
    number = scored(study).index(method)
    colour = COLORS[number % len(COLORS)]
    hollow = method.ours and method.prompt != NO_PROMPT
    face = "none" if hollow else colour
    return {"marker": SHAPES[number % len(SHAPES)], "color": colour, "mec": colour, "mfc": face}


def _dice_axis(axis: Any, values: Sequence[float]) -> None:
    low = _floor(values)
    axis.axes.set_xlim(low, 1.005) if axis.axis_name == "x" else axis.axes.set_ylim(low, 1.005)
    axis.grid(True, color=INK, alpha=0.14)


def _floor(values: Sequence[float]) -> float:
    """Where a Dice axis begins: below the lowest value, at a tenth."""
    return max(0.0, np.floor(10 * (min(values, default=0.5) - 0.02)) / 10)


def _list(methods: Sequence[Method]) -> str:
    return ", ".join(method.name for method in methods)


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A transparent figure of so many inches with one axes."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_svg(figure: Any, description: str) -> str:
    """The figure as an SVG element with a text for those who do not see it."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    _paint(figure)
    written = io.StringIO()
    # Text stays text, and the names of clip paths must not be those of the page's other plots.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": description, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>p{abs(hash_of(description))}-", svg)
    svg = svg.replace(INK, "currentColor")
    name = f"<title>{escape(description)}</title>"
    return re.sub(r"<svg([^>]*)>", rf'<svg role="img" aria-label="{escape(description)}"\1>{name}', svg, count=1)


def hash_of(text: str) -> int:
    """A number that differs from plot to plot and is the same in every run."""
    import zlib

    return zlib.crc32(text.encode())


def _paint(figure: Any) -> None:
    """Gives texts, ticks and spines the page's ink."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_color(INK)
    for axes in figure.axes:
        axes.tick_params(color=INK, labelcolor=INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
