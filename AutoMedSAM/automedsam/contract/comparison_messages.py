"""The messages of `protocol` about comparisons of INT8 and FP32."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from automedsam.contract.object_messages import VolumeFields


class CompareRequest(TypedDict):
    """Segment in INT8 and in FP32 and compare; where the two differ is written to `difference`, an `.npy` file.

    Answered by comparing, then compared, or cancelled.
    """

    op: Literal["compare"]
    id: int
    volume: VolumeFields
    difference: str
    model: str
    device: NotRequired[str]
    threshold: NotRequired[float | None]
    plane: NotRequired[str | None]
    slices: NotRequired[tuple[int, int] | None]
    names: NotRequired[list[dict[str, str]]]


class ComparingEvent(TypedDict):
    """How far a comparison is: the backend that computes, its stage ("load", "detect" or "segment"), and 0 to 1."""

    event: Literal["comparing"]
    id: int
    backend: str
    stage: str
    done: float


class ComparisonRowFields(TypedDict):
    """One line of a comparison's table; a number that it does not have is None.

    `between` is of the two together: their agreement, their distance, or for volumes INT8 minus FP32.
    """

    measure: str
    segment: str
    unit: str
    int8: float | None
    fp32: float | None
    between: float | None


class ComparedEvent(TypedDict):
    """A comparison is over: its table, and the segments (value, name, color) of the difference."""

    event: Literal["compared"]
    id: int
    reference: str
    rows: list[ComparisonRowFields]
    segments: list[dict[str, Any]]
