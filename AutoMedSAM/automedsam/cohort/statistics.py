"""The statistics of a cohort as one HTML file with plots in SVG; nothing in it is loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import mean, median, quantiles, stdev

from automedsam.cohort.journal import Record
from automedsam.cohort.settings import CohortSettings
from automedsam.cohort.worker import DONE
from automedsam.io.atomic import atomic_write

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 460, 190, 44, 40
_MAX_BINS = 20
_MAX_LISTED = 200

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #dde3ea; }
th:first-child, td:first-child { text-align: left; } td.text { text-align: left; }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; } figcaption { font-size: .9rem; }
rect { fill: #3b7ea1; } text { font-size: 11px; fill: #44505c; } line { stroke: #9aa6b2; }
"""


def write_statistics(path: Path, records: Iterable[Record], settings: CohortSettings, segments: Sequence[str]) -> None:
    """Writes the statistics.

    Args:
        path: The HTML file.
        records: The last record of each case; gone through once.
        settings: Of the cohort.
        segments: The names of the model's segments.

    Raises:
        AutoMedSAMError: If it cannot be written.
    """
    values: dict[str, list[float]] = {}
    failed: list[tuple[str, str]] = []
    done = warned = empty = 0
    for record in records:
        if record["state"] != DONE:
            failed.append((record["case"], record["message"]))
            continue
        done += 1
        warned += bool(record["warnings"])
        empty += not record["figures"]["objects"]
        for name, value in _values(record, segments):
            values.setdefault(name, []).append(value)
    counts = (
        ("Cases", done + len(failed)), ("Segmented", done), ("Failed", len(failed)), ("Nothing found", empty),
        ("With warnings of the input check", warned),
    )  # fmt: skip
    title = f"Cohort: {settings.model_name} {settings.model_version}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>Research software: not for clinical use.</p><table>",
        *(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in counts),
        "</table><h2>Figures</h2><table><tr><th></th><th>n</th><th>mean</th><th>SD</th><th>median</th>"
        "<th>quartiles</th><th>min</th><th>max</th></tr>",
        *(_summary(name, numbers) for name, numbers in values.items()),
        "</table><h2>Distributions</h2><div class='plots'>",
        *(_histogram(name, numbers) for name, numbers in values.items()),
        "</div>",
    ]
    if failed:
        parts.append("<h2>Failed cases</h2><table>")
        parts += [
            f"<tr><td>{escape(name)}</td><td class='text'>{escape(sentence)}</td></tr>"
            for name, sentence in failed[:_MAX_LISTED]
        ]
        parts.append("</table>")
        if len(failed) > _MAX_LISTED:
            parts.append(f"<p>And {len(failed) - _MAX_LISTED} more: see cohort.csv.</p>")
    with atomic_write(path) as unfinished:
        text = "\n".join(parts) + "</html>\n"
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


def _values(record: Record, segments: Sequence[str]) -> Iterable[tuple[str, float]]:
    figures = record["figures"]
    for name in segments:
        yield f"Volume of {name} (ml)", figures["volume_ml"][name]
        diameter = figures["diameter_mm"][name]
        if diameter is not None:
            yield f"Longest diameter of {name} (mm)", diameter
        if name in figures.get("dice", {}):
            yield f"Dice of {name}", figures["dice"][name]
    yield "Objects", figures["objects"]
    if figures["confidence"] is not None:
        yield "Mean confidence of the slices", figures["confidence"]
    yield "Seconds", record["seconds"]


def _summary(name: str, numbers: Sequence[float]) -> str:
    low, _, high = quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else (numbers[0],) * 3
    spread = f"{stdev(numbers):.3g}" if len(numbers) > 1 else "-"
    cells = (
        len(numbers), f"{mean(numbers):.3g}", spread, f"{median(numbers):.3g}", f"{low:.3g} to {high:.3g}",
        f"{min(numbers):.3g}", f"{max(numbers):.3g}",
    )  # fmt: skip
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _histogram(name: str, numbers: Sequence[float]) -> str:
    """Counts in bins of equal width, the last one closed on both sides."""
    low, high = min(numbers), max(numbers)
    bins = 1 if high == low else min(_MAX_BINS, max(4, math.isqrt(len(numbers)) + 1))
    counts = [0] * bins
    for number in numbers:
        counts[min(bins - 1, int((number - low) / (high - low) * bins)) if high > low else 0] += 1
    most = max(counts)
    wide, tall = (_WIDTH - _LEFT) / bins, _HEIGHT - _BOTTOM - 10
    bars = "".join(
        f"<rect x='{_LEFT + index * wide + 1:.1f}' y='{10 + tall * (1 - count / most):.1f}' width='{wide - 2:.1f}' "
        f"height='{tall * count / most:.1f}'><title>{count}</title></rect>"
        for index, count in enumerate(counts)
    )
    base = _HEIGHT - _BOTTOM
    return (
        f"<figure><svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='{escape(name, quote=True)}'>{bars}"
        f"<line x1='{_LEFT}' x2='{_WIDTH}' y1='{base}' y2='{base}'/>"
        f"<text x='{_LEFT}' y='{base + 16}'>{low:.3g}</text>"
        f"<text x='{_WIDTH}' y='{base + 16}' text-anchor='end'>{high:.3g}</text>"
        f"<text x='{_LEFT - 6}' y='20' text-anchor='end'>{most}</text>"
        f"<text x='{_LEFT - 6}' y='{base}' text-anchor='end'>0</text></svg>"
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )
