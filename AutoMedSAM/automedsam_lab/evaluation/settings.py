"""What a person may choose about an evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from automedsam.errors import AutoMedSAMError
from automedsam_lab.metrics.bootstrap import RESAMPLES


@dataclass(frozen=True)
class EvaluationSettings:
    """The choices, all of which the report states.

    Attributes:
        tolerance_mm: of the surface Dice; 1 mm is what the Decathlon allows for the hippocampus.
        jitter: the most that each edge of a manual box moves, as a share of the box's side.
        jitter_pixels: the most that it moves in pixels, 20 being MedSAM's.
        seed: of jitter, resamples and the slices that are timed.
        resamples: of the bootstrap.
        timed_images: how many slices are run alone for the milliseconds an image; 0 leaves that out.
        pictures: whether the report shows slices of the data, whose license may forbid to pass it on.
        skip_bad: leave out cases that cannot be used, and say which; else the first of them ends the evaluation.
    """

    tolerance_mm: float = 1.0
    jitter: float = 0.1
    jitter_pixels: float = 20.0
    seed: int = 2025
    resamples: int = RESAMPLES
    timed_images: int = 100
    pictures: bool = True
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if not (self.tolerance_mm >= 0 and 0 <= self.jitter < 0.5 and self.jitter_pixels >= 0):
            message = (
                f"A tolerance of {self.tolerance_mm:g} mm and a jitter of {self.jitter:g} of a side are not both "
                "sound: give 0 or more millimetres, and a share from 0 to below 0.5."
            )
            raise AutoMedSAMError(message)
        if self.resamples < 1 or self.timed_images < 0:
            message = "Give at least 1 resample, and 0 or more timed images."
            raise AutoMedSAMError(message)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the summary."""
        return asdict(self)
