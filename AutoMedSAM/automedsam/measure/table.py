"""Measures as a table: rows of text for a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from automedsam.measure.objects import Measures

COLUMNS = (
    "level",
    "label",
    "segment",
    "object",
    "volume_ml",
    "voxels",
    "plane",
    "first_slice",
    "last_slice",
    "slices",
    "diameter_slice",
    "largest_diameter_mm",
    "perpendicular_diameter_mm",
    "product_mm2",
    "agreement",
    "doubtful_count",
    "doubtful_slices",
    "mean_intensity",
    "sd_intensity",
    "dice",
)


def to_csv(measures: Sequence[Measures]) -> str:
    """The table as CSV (RFC 4180 with line feeds), `COLUMNS` first; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in measures:
        first, last = one.slices or ("", "")
        found = one.voxels > 0
        judged = one.agreement is not None
        writer.writerow(
            [
                "segment" if one.number is None else "object",
                one.label,
                one.segment,
                "" if one.number is None else one.number,
                f"{one.volume_ml:.4f}",
                one.voxels,
                one.plane,
                first,
                last,
                one.slice_count,
                one.diameter_slice if found else "",
                f"{one.long_mm:.2f}" if found else "",
                f"{one.short_mm:.2f}" if found else "",
                f"{one.product_mm2:.1f}" if found else "",
                f"{one.agreement:.3f}" if one.agreement is not None else "",
                len(one.doubtful) if judged else "",
                " ".join(map(str, one.doubtful)),
                *("" if value is None else f"{value:.6g}" for value in (one.mean, one.deviation)),
                "" if one.dice is None else f"{one.dice:.4f}",
            ]
        )
    return text.getvalue()
