"""A study of the video part as a plot (PNG, HTML), with a plain sentence whether the search was worth it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from automedsam_lab.common.table import Column, Table
from automedsam_lab.evaluation.report.page import Section, write_page
from automedsam_lab.evaluation.report.plots import to_svg
from automedsam_lab.search.report import plot_networks, read_result, write_plot

RESULT, PLOT, PAGE = "video.json", "video.png", "video.html"


def write_video_report(folder: Path) -> None:
    """Draws Dice against milliseconds a slice, as `video.png` and `video.html` in the study's folder.

    Raises:
        AutoMedSAMError: if the folder holds no study, or nothing can be written.
    """
    study = read_result(folder, RESULT, "video")
    axis = f"Video part of a slice ({study['unit']})"
    write_plot(study["networks"], axis, folder / PLOT)
    described = "Mean validation Dice of propagated slices over the cost of a slice, of each network trained alone."
    sections = [
        Section(
            "Dice against cost",
            text=[study["verdict"]],
            figures=[(to_svg(plot_networks(study["networks"], axis), described), described)],
            tables=[networks_table(study)],
        ),
        Section("What the search learnt", tables=[_probabilities_table(study)]),
        Section("What each video part costs", tables=[_costs_table(study)]),
    ]
    facts = {
        "Machine": ", ".join(f"{name} {value}" for name, value in study["machine"].items()),
        "Budget of the search and of the random search": f"{study['cpu_minutes']:.1f} CPU minutes each "
        f"({study['steps']} steps of the search)",
    }
    write_page("Architecture search of the video part", facts, sections, folder / PAGE)


def networks_table(study: dict[str, Any]) -> Table:
    """The networks of a study, best first."""
    table = Table(
        [
            Column("Won among", is_text=True),
            "d_model",
            "Layers",
            "Memories",
            "ms",
            "Shared loss",
            "Prompted",
            "Propagated",
        ],
        caption=f"Target {study['settings']['target']:.3g}; each trained alone for {study['final_steps']} steps",
    )
    for one in study["networks"]:
        built, dice = one["architecture"], one["dice"]
        table.add(
            one["origin"],
            str(built["d_model"]),
            str(built["memory_layers"]),
            str(built["memories"]),
            f"{one['cost']:.2f}",
            f"{one['shared_loss']:.3f}",
            f"{dice['prompted']:.3f}",
            f"{dice['validation']:.3f}",
        )
    return table


def _probabilities_table(study: dict[str, Any]) -> Table:
    table = Table([Column("Number", is_text=True), Column("Probability of each option", is_text=True)])
    for name, chances in study["probabilities"].items():
        table.add(name, ", ".join(f"{option}: {value:.2f}" for option, value in chances.items()))
    return table


def _costs_table(study: dict[str, Any]) -> Table:
    table = Table([Column("d_model-layers-memories", is_text=True), "Cost"])
    for name, cost in study["costs"].items():
        table.add(name, f"{cost:.2f}")
    return table
