"""How far an object is tracked, and when tracking ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingSettings:
    """How tracklets become prompts.

    Attributes:
        fill: the share of the network's view, along each side, that the boxes of all objects fill together.
        prompt_score: boxes of at least this score prompt on their own slice, too; above 1 only the seed does.
        reach_mm: how far propagation goes beyond an object's first and last box.
        margin: how far a mask may leave its object's box, as a share of the box's sides; boxes between and beyond
            the detected ones are interpolated. It keeps a drifting memory from flooding what nobody detected.
    """

    fill: float
    prompt_score: float
    reach_mm: float
    margin: float
