"""What a comparison of INT8 with FP32 gives, as text for a table and for the panel."""

from __future__ import annotations

from dataclasses import dataclass, field

from AutoMedSAMLib.model.run import Message

COLUMNS = ("measure", "segment", "unit", "INT8", "FP32", "INT8 vs FP32")  # no tr
"""As in the CSV file that the command line writes."""


@dataclass(frozen=True)
class ComparisonOutcome:
    """How a comparison ended.

    Attributes:
        status: "finished", "cancelled" or "failed".
        message: one sentence for the user.
        details: the table as text, or what the engine wrote last; may be empty.
        table: the vtkMRMLTableNode; None unless finished.
        difference: the vtkMRMLSegmentationNode of where the two differ; None unless finished.
    """

    status: str
    message: str
    details: str = ""
    table: object = field(default=None, compare=False)
    difference: object = field(default=None, compare=False)


def cells(row: Message) -> list[str]:
    """One line of the table; what a row does not have is empty."""
    return [row["measure"], row["segment"], row["unit"], *(_number(row[name]) for name in ("int8", "fp32", "between"))]


def as_text(rows: list[Message]) -> str:
    """The table, one line a row: "Dice, Whole tumor: 0.982"; two numbers are INT8 and FP32."""
    lines = []
    for row in rows:
        name = ", ".join(part for part in (row["measure"], row["segment"]) if part)
        _measure, _segment, unit, int8, fp32, between = cells(row)
        numbers = [f"INT8 {int8}, FP32 {fp32}"] if int8 or fp32 else []
        numbers += [between] if between and not numbers else []
        if numbers:
            lines.append(f"{name}: {numbers[0]} {unit}".strip())
    return "\n".join(lines)


def lowest_dice(rows: list[Message]) -> float:
    """The Dice of the segment on which the two agree least."""
    return float(min(row["between"] for row in rows if row["measure"] == "Dice"))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
