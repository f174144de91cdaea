"""The comparison of runtimes as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from automedsam_lab.runtimes import PARTS, Timing
from automedsam_lab.table import Table


def markdown(timings: Sequence[Timing], repeats: int, machine: Mapping[str, str | int]) -> str:
    """One table: a line for each contender, a column for each part, wall and CPU milliseconds and their ratio."""
    lines = [
        f"Measured on {', '.join(f'{key} {value}' for key, value in machine.items())}.",
        "",
        f"Wall / CPU milliseconds for one input, medians of {repeats} turns; x is the wall time of the first line of "
        "a precision over this one's, as the median of each turn's ratio, and % how far the answers are from its.",
        "",
    ]
    table = Table(["", *(part.replace("_", " ") for part in PARTS)])
    failures = []
    for precision in dict.fromkeys(timing.precision for timing in timings):
        of_precision = [timing for timing in timings if timing.precision == precision]
        for contender in dict.fromkeys(timing.contender for timing in of_precision):
            table.add(f"{precision.upper()}, {contender}", *(_cell(of_precision, part, contender) for part in PARTS))
        failures += [
            f"- {precision.upper()}, {timing.contender}, {timing.part}: {timing.failed}"
            for timing in of_precision
            if timing.failed
        ]
    return "\n".join([*lines, table.to_markdown(), *([""] if failures else []), *failures])


def _cell(timings: Sequence[Timing], part: str, contender: str) -> str:
    of_part = [timing for timing in timings if timing.part == part]
    found = next((timing for timing in of_part if timing.contender == contender), None)
    if found is None:
        return "-"
    if found.failed:
        return "failed"
    told = f"{median(found.wall):.1f} / {median(found.cpu):.1f}"
    if found is of_part[0]:
        return told
    ratio = median(first / other for first, other in zip(of_part[0].wall, found.wall, strict=True))
    return f"{told}, x {ratio:.2f}, {found.apart:.1%}"
