"""A study as a plot (PNG, HTML), with a plain sentence whether the search was worth it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.table import Column, Table
from automedsam_lab.evaluation.report.page import Section, write_page
from automedsam_lab.evaluation.report.plots import COLORS, INK, SHAPES, new_figure, to_svg

RESULT, PLOT, PAGE = "search.json", "search.png", "search.html"


def read_result(folder: Path, name: str = RESULT, command: str = "run") -> dict[str, Any]:
    """What a study wrote.

    Args:
        folder: of the study.
        name: of its file.
        command: of `automedsam-lab search` that writes it.

    Raises:
        AutoMedSAMError: if the folder holds none.
    """
    path = folder / name
    try:
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        _ = result["networks"][0]
    except (OSError, ValueError, LookupError, TypeError) as error:
        message = f"{path} is no result of a search ({error}): run `automedsam-lab search {command}` to its end."
        raise AutoMedSAMError(message) from error
    return result


def write_search_report(folders: Sequence[Path], out: Path) -> None:
    """Draws Dice against milliseconds for the networks of one or more studies, such as those of S, M and L.

    Args:
        folders: of the studies.
        out: for `search.png` and `search.html`.

    Raises:
        AutoMedSAMError: if a folder holds no study, or nothing can be written.
    """
    studies = [read_result(folder) for folder in folders]
    out.mkdir(parents=True, exist_ok=True)
    networks = [network for study in studies for network in study["networks"]]
    unit = str(studies[0].get("unit", "ms"))
    axis = f"Stem and stages ({unit})"
    write_plot(networks, axis, out / PLOT)
    described = "Mean validation Dice from exact boxes over the cost of stem and stages, of each network trained alone."
    sections = [
        Section(
            "Dice against cost",
            text=[study["verdict"] for study in studies],
            figures=[(to_svg(plot_networks(networks, axis), described), described)],
            tables=[networks_table(study) for study in studies],
        ),
        Section("What the search learnt", tables=[probabilities_table(study) for study in studies]),
    ]
    write_page("Architecture search of the image encoder", _facts(studies), sections, out / PAGE)


def networks_table(study: dict[str, Any]) -> Table:
    """The networks of a study, best first."""
    table = Table(
        [Column("Network", is_text=True), Column("Won among", is_text=True), "Cost", "Shared loss", "Dice",
         Column("Widths", is_text=True), Column("Operations by stage", is_text=True)],
        caption=f"Target {study['settings']['target']:g}; each trained alone for {study['final_steps']} steps",
    )  # fmt: skip
    for one in study["networks"]:
        built = one["architecture"]
        table.add(
            built["name"],
            one["origin"],
            f"{one['cost']:.2f}",
            f"{one['shared_loss']:.3f}",
            f"{one['dice']['validation']:.3f}",
            "-".join(map(str, built["widths"])),
            " | ".join(" ".join(stage) for stage in built["stages"]),
        )
    return table


def probabilities_table(study: dict[str, Any]) -> Table:
    """The most probable operations of each block."""
    names = study["space"]["operations"]
    table = Table([Column("Block", is_text=True), Column("Most probable operations", is_text=True)])
    for block, row in enumerate(study["probabilities"]["operations"]):
        best = sorted(zip(row, names, strict=True), reverse=True)[:3]
        table.add(str(block + 1), ", ".join(f"{name} {value:.2f}" for value, name in best))
    return table


def _facts(studies: Sequence[dict[str, Any]]) -> dict[str, str]:
    first = studies[0]
    budgets = ", ".join(f"{one['cpu_minutes']:.1f} CPU minutes ({one['steps']} steps)" for one in studies)
    return {
        "Machine": ", ".join(f"{name} {value}" for name, value in first["machine"].items()),
        "Budget of each search and of each random search": budgets,
        "Images with a teacher's targets": ", ".join(str(one["with_targets"]) for one in studies),
    }


def plot_networks(networks: Sequence[dict[str, Any]], axis: str) -> Any:
    """A figure of Dice against cost, which `axis` describes, with the front that nothing beats in both."""
    figure, axes = new_figure(7.0, 4.4)
    origins = list(dict.fromkeys(one["origin"] for one in networks))
    for place, origin in enumerate(origins):
        chosen = [one for one in networks if one["origin"] == origin]
        axes.plot(
            [one["cost"] for one in chosen],
            [one["dice"]["validation"] for one in chosen],
            ls="none", ms=8, marker=SHAPES[place % len(SHAPES)], color=COLORS[place % len(COLORS)], label=origin,
        )  # fmt: skip
    for one in networks:
        point = (one["cost"], one["dice"]["validation"])
        axes.annotate(one["architecture"]["name"], point, (6, 4), textcoords="offset points", fontsize=8)
    front = pareto_front([(one["cost"], one["dice"]["validation"]) for one in networks])
    axes.plot(*zip(*front, strict=True), color=INK, lw=0.8, ls="--", zorder=0)
    axes.grid(True, color=INK, alpha=0.14)
    axes.set_xlabel(axis)
    axes.set_ylabel("Mean validation Dice")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of cost and Dice that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, dice in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or dice > front[-1][1]:
            front.append((cost, dice))
    return front


def write_plot(networks: Sequence[dict[str, Any]], axis: str, path: Path) -> None:
    """The same as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_networks(networks, axis)
    figure.patch.set_alpha(1)
    with atomic_write(path) as unfinished:
        FigureCanvasAgg(figure).print_png(unfinished, metadata={"Software": None})
