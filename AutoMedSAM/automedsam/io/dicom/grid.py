"""Whether frames make a grid in space: evenly one behind the other, at right angles or sheared by a tilted gantry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.io.dicom.frames import Frame, Vector

# How far slices may lie off their grid, as a share of the distance between two. Some files round positions to 0.1 mm,
# so that much is let pass where it is not too large a share either.
_UNEVEN, _ROUNDED_MM, _UNEVEN_BY_ROUNDING = 0.1, 0.1, 0.2
# Positions nearer than this share of the usual distance are the same.
_SAME = 0.05
_STEEPEST = 45.0


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames that belong together.

    Attributes:
        frames: In the order of their position along the normal of the first.
        step: From one slice to the next in mm, LPS; None for a single slice, and where they make no grid.
        reason: Why the frames make no grid, as the rest of a sentence that begins with what they are; empty if they do.
        part: What distinguishes it from other stacks of its series, such as "echo time 4.6".
        tilt: Between the step and the slices' normal in degrees, 0 for a grid of right angles.
    """

    frames: list[Frame]
    step: Vector | None = None
    reason: str = ""
    part: str = ""
    tilt: float = 0.0

    def __len__(self) -> int:
        return len(self.frames)


def stack_of(frames: list[Frame], part: str = "") -> Stack:
    """The frames in order, with the step between them or with what is wrong with them."""
    if len(frames) == 1:
        return Stack(frames, part=part)
    along, order = _order(frames)
    ordered = [frames[index] for index in order]
    positions = np.array([frame.position for frame in ordered])
    gaps = np.diff(along[order])
    usual = _usual(gaps)
    if usual is None:
        return Stack(
            ordered,
            reason=f"all {len(frames)} have the same position, so they are moments or versions of one slice",
            part=part,
        )
    if repeated := int((gaps <= _SAME * usual).sum()):
        return Stack(
            ordered,
            reason=f"are at {len(frames) - repeated} positions, {repeated} of them repeated with another image, and "
            "nothing in the headers shows which belong together",
            part=part,
        )
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    length = float(np.linalg.norm(step))
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(frames))[:, None] * step), axis=1).max()
    tolerance = max(_UNEVEN * length, min(_ROUNDED_MM, _UNEVEN_BY_ROUNDING * length))
    if off > tolerance:
        return Stack(ordered, reason=_uneven(gaps, usual), part=part)
    normal = normal_of(frames[0])
    aside = float(np.linalg.norm(step - (step @ normal) * normal))
    if aside * (len(frames) - 1) <= tolerance:
        return Stack(ordered, step=length * normal, part=part)
    tilt = math.degrees(math.acos(min(1.0, float(step @ normal) / length)))
    if tilt > _STEEPEST:
        return Stack(ordered, reason=f"are side by side, not stacked (at {tilt:.0f} degrees)", part=part)
    return Stack(ordered, step=step, part=part, tilt=tilt)


def _uneven(gaps: Vector, usual: float) -> str:
    counts = np.rint(gaps / usual)
    low, high = float(gaps.min()), float(gaps.max())
    if counts.max() > 1 and float(np.abs(gaps / usual - counts).max()) <= 2 * _UNEVEN:
        missing = int((counts - 1).sum())
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        return f"have gaps: {slices} missing among the {len(gaps) + 1} that are there, {usual:.4g} mm apart"
    return f"are unevenly spaced, {low:.4g} to {high:.4g} mm apart"


def _order(frames: Sequence[Frame]) -> tuple[Vector, np.ndarray]:
    along = np.array([frame.position for frame in frames]) @ normal_of(frames[0])
    return along, np.argsort(along, kind="stable")


def places_of(frames: list[Frame]) -> list[list[Frame]]:
    """Frames by their position along the normal."""
    along, order = _order(frames)
    gaps = np.diff(along[order])
    usual = _usual(gaps) or math.inf
    places = [[frames[order[0]]]]
    for index, gap in zip(order[1:], gaps, strict=True):
        if gap > _SAME * usual:
            places.append([])
        places[-1].append(frames[index])
    return places


def _usual(gaps: Vector) -> float | None:
    """The median distance of those that are not rounding; None if there is none."""
    apart = gaps[gaps > max(1e-4, 1e-3 * float(gaps.max()))]
    return float(np.median(apart)) if len(apart) else None


def normal_of(frame: Frame) -> Vector:
    """The unit vector at right angles to a frame that has a place: rows x columns."""
    assert frame.rows_and_columns is not None
    return np.cross(*frame.rows_and_columns)
