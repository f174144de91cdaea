"""A benchmark as Markdown tables and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.benchmark.run import TITLES, Benchmark, Result
from automedsam_lab.benchmark.stages import FOLLOW, PART_STAGES, STAGES
from automedsam_lab.common.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN = (*PART_STAGES, "other")
_BEGIN, _END = "<!-- bench -->", "<!-- end of bench -->"


def markdown(benchmarks: Sequence[Benchmark], machine: dict[str, str | int]) -> str:
    """A table of the contenders and a table of the stages for each bundle, and what they were measured on."""
    packages = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("cpu", "cores"))
    lines = [f"Measured on {machine['cpu']}, {machine['cores']} cores ({packages}).", ""]
    for benchmark in benchmarks:
        lines += [*_head(benchmark), _contenders(benchmark).to_markdown(), "", _stages(benchmark).to_markdown(), ""]
    return "\n".join(lines)


def put_into(path: Path, text: str | None) -> None:
    """Replaces what a Markdown file has between the lines `<!-- bench -->` and `<!-- end of bench -->`.

    Args:
        path: the file.
        text: what stands there afterwards; None only looks whether it could.

    Raises:
        AutoMedSAMError: if the file is missing or has no such lines.
    """
    whole = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = whole.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        message = f"{path} has no lines {_BEGIN} and {_END} to put the table between: add them where it shall stand."
        raise AutoMedSAMError(message)
    if text is not None:
        with atomic_write(path) as unfinished:
            unfinished.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")


def plot(benchmarks: Sequence[Benchmark], path: Path) -> None:
    """Draws the wall time of a slice, stage upon stage, a row for each bundle.

    Raises:
        AutoMedSAMError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.1 + sum(0.95 + 0.4 * len(one.results) for one in benchmarks)), layout="constrained")
    heights = [1.5 + len(benchmark.results) for benchmark in benchmarks]
    axes = figure.subplots(len(benchmarks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, benchmark in zip(axes, benchmarks, strict=True):
        _draw(axis, benchmark)
    axes[-1].set_xlabel("wall time of a propagated slice, ms")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(_DRAWN), frameon=False)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=150)


def _head(benchmark: Benchmark) -> list[str]:
    options = benchmark.options
    load = "" if benchmark.load is None else f" System load at the start: {benchmark.load:.1f}."
    lines = [
        f"### {benchmark.bundle}: {benchmark.about}",
        "",
        f"{options.slices} slices in both directions, one object, cores: {options.cores}; medians of {options.repeats} "
        f"rounds. The speedup (x) and the mask Dice are relative to the first row; the speedup is the median of the "
        f"ratios of all rounds.{load}",
        "",
    ]
    return lines + [f"- {sentence}" for sentence in benchmark.absent] + ([""] if benchmark.absent else [])


def _contenders(benchmark: Benchmark) -> Table:
    times = ("wall ms per slice", "x", "CPU ms per slice", "x")
    table = Table(["", *times, "peak memory, MB", "MB on disk: segmenter + detector", "mask Dice"])
    for result in benchmark.results:
        wall, cpu = (_per_slice(benchmark, result, FOLLOW, clock) for clock in ("wall", "cpu"))
        disk = " + ".join(f"{size / 1e6:.1f}" for size in result.bytes.values())
        table.add(
            TITLES[result.name],
            wall,
            f"{benchmark.ratio(result):.2f}",
            cpu,
            f"{benchmark.ratio(result, 'cpu'):.2f}",
            f"{result.peak_mb:.0f}",
            disk,
            f"{result.dice:.4f}",
        )
    return table


def _stages(benchmark: Benchmark) -> Table:
    table = Table(["wall / CPU ms per slice", *(TITLES[result.name] for result in benchmark.results)])
    for stage in STAGES:
        table.add(stage, *(_cell(benchmark, result, stage) for result in benchmark.results))
    return table


def _cell(benchmark: Benchmark, result: Result, stage: str) -> str:
    if result.median(stage) is None:
        return "-"
    calls = result.runs[0].stages[stage].calls
    often = f" ({calls} calls)" if stage in PART_STAGES else ""
    return f"{_per_slice(benchmark, result, stage)} / {_per_slice(benchmark, result, stage, 'cpu')}{often}"


def _per_slice(benchmark: Benchmark, result: Result, stage: str, clock: str = "wall") -> str:
    return f"{_milliseconds(benchmark, result, stage, clock):.1f}"


def _milliseconds(benchmark: Benchmark, result: Result, stage: str, clock: str = "wall") -> float:
    return 1000 * (result.median(stage, clock) or 0.0) / benchmark.options.slices


def _draw(axis: Axes, benchmark: Benchmark) -> None:
    names = [TITLES[result.name] for result in benchmark.results]
    left = [0.0] * len(names)
    for stage in _DRAWN:
        widths = [_milliseconds(benchmark, result, stage) for result in benchmark.results]
        axis.barh(names, widths, left=left, label=stage, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for row, result in enumerate(benchmark.results):
        label = f" {_per_slice(benchmark, result, FOLLOW)} ms, x {benchmark.ratio(result):.1f}"
        axis.text(left[row], row, label, va="center", fontsize=8)
    axis.set_xlim(0, 1.25 * max(left))
    axis.invert_yaxis()
    axis.set_title(f"{benchmark.bundle}\n{benchmark.about}", fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
