"""Frames of one series as stacks of slices: each a grid in space, or with the reason why it is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from automedsam.dicom_frames import Frame, Vector, keys_of

# How far slices may lie off their grid, as a share of the distance between two. Some files round positions to 0.1 mm,
# so that much is let pass where it is not too large a share either.
_UNEVEN, _ROUNDED_MM, _UNEVEN_BY_ROUNDING = 0.1, 0.1, 0.2
# Positions nearer than this share of the usual distance are the same.
_SAME = 0.05
_DIRECTION_TOLERANCE = _SPACING_TOLERANCE = 1e-3
_STEEPEST = 45.0
_MOST_KEYS = 2

SamePixels = Callable[[Frame, Frame], bool]


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames that belong together.

    Attributes:
        frames: In the order of their position along the normal of the first.
        step: From one slice to the next in mm, LPS; None for a single slice, and where they make no grid.
        reason: Why the frames make no grid, as the rest of a sentence that begins with what they are; empty if they do.
        part: What tells it from other stacks of its series, such as "echo time 4.6".
        tilt: Between the step and the slices' normal in degrees, 0 for a grid of right angles.
    """

    frames: list[Frame]
    step: Vector | None = None
    reason: str = ""
    part: str = ""
    tilt: float = 0.0

    def __len__(self) -> int:
        return len(self.frames)


def stacks_of(frames: Sequence[Frame], same_pixels: SamePixels) -> list[Stack]:
    """Sort the frames of one series into stacks.

    Frames of one size, spacing and orientation make one stack if they lie evenly. Otherwise the series' own attributes
    (file, stack, acquisition, time, echo and so on) part them, where that makes each part even; else their order does,
    where each position holds equally many.

    Args:
        frames: All frames of the series.
        same_pixels: Whether two frames at one place hold the same picture, so that one of them is a copy.

    Returns:
        Stacks, of which some may be single slices or have a `reason`.
    """
    unplaced = [frame for frame in frames if not frame.placed]
    stacks = [
        stack for group in _alike([frame for frame in frames if frame.placed]) for stack in _split(group, same_pixels)
    ]
    for kind in _by(unplaced, lambda frame: (frame.header.rows, frame.header.columns)):
        if len(kind) == 1:
            stacks.append(Stack(kind))
        else:
            stacks.append(Stack(kind, reason=_UNPLACED))
    return stacks


_UNPLACED = (
    "do not say where each slice lies (ImagePositionPatient and ImageOrientationPatient of every slice, and "
    "PixelSpacing), so their order and distance are unknown"
)


def _alike(frames: list[Frame]) -> Iterator[list[Frame]]:
    """Groups of one size, pixel spacing and orientation."""
    for group in _by(frames, lambda frame: (frame.header.rows, frame.header.columns, frame.header.colour)):
        left = np.arange(len(group))
        spacing = np.array([frame.spacing for frame in group])
        directions = np.array([frame.rows_and_columns for frame in group])
        while len(left):
            same_spacing = np.isclose(spacing[left], spacing[left[0]], rtol=_SPACING_TOLERANCE).all(1)
            turned = np.abs(directions[left] - directions[left[0]]).max((1, 2))
            fits = same_spacing & (turned < _DIRECTION_TOLERANCE)
            yield [group[index] for index in left[fits]]
            left = left[~fits]


def _split(frames: list[Frame], same_pixels: SamePixels) -> list[Stack]:
    whole = _stack(frames)
    if len(frames) == 1 or not whole.reason:
        return [whole]
    kept = _without_copies(frames, same_pixels)
    if len(kept) < len(frames):
        return _split(kept, same_pixels)
    keys = keys_of(frames)
    if any(frame.header.frames > 1 for frame in frames):
        keys = {"file": [frame.header.path.name for frame in frames], **keys}
    keys |= _side_by_side(frames)
    for count in range(1, _MOST_KEYS + 1):
        for names in combinations(keys, count):
            if parts := _parts(frames, {name: keys[name] for name in names}):
                return parts
    return _in_order(frames) or [whole]


def _parts(frames: list[Frame], keys: dict[str, list[str]]) -> list[Stack] | None:
    """Stacks by the values of some keys, if each of them is even."""
    found: dict[tuple[str, ...], list[Frame]] = {}
    for frame, values in zip(frames, zip(*keys.values(), strict=True), strict=True):
        found.setdefault(values, []).append(frame)
    if len(found) < 2 or min(map(len, found.values())) < 2:
        return None
    stacks = []
    for values, part in sorted(found.items(), key=lambda one: [_sortable(text) for text in one[0]]):
        named = ", ".join(
            f"{name} {text.removesuffix('.0') or 'none'}" for name, text in zip(keys, values, strict=True)
        )
        stacks.append(_stack(part, named))
        if stacks[-1].reason:
            return None
    return stacks


def _in_order(frames: list[Frame]) -> list[Stack] | None:
    """The first of each position, the second of each and so on, as they are numbered; None if positions differ."""
    places = _places(frames)
    counts = {len(place) for place in places}
    if len(places) < 2 or len(counts) != 1:
        return None
    number = counts.pop()
    for place in places:
        place.sort(key=lambda frame: (frame.header.instance, frame.header.path, frame.index))
    stacks = [_stack([place[turn] for place in places], f"{turn + 1} of {number}") for turn in range(number)]
    return None if any(stack.reason for stack in stacks) else stacks


def _without_copies(frames: list[Frame], same_pixels: SamePixels) -> list[Frame]:
    """The frames without those that repeat another at its own place, pixel for pixel."""
    places = _places(frames)
    repeated = [place for place in places if len(place) > 1]
    # One place in the middle decides whether a whole series of copies is worth reading.
    if not repeated or not _has_copies(repeated[len(repeated) // 2], same_pixels):
        return frames
    kept: list[Frame] = []
    for place in places:
        first = len(kept)
        for frame in place:
            if not any(same_pixels(frame, other) for other in kept[first:]):
                kept.append(frame)
    return kept


def _has_copies(place: list[Frame], same_pixels: SamePixels) -> bool:
    return any(same_pixels(place[0], other) for other in place[1:])


def _stack(frames: list[Frame], part: str = "") -> Stack:
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
            reason=f"all {len(frames)} lie at one position, so they are moments or versions of one slice and no volume",
            part=part,
        )
    if repeated := int((gaps <= _SAME * usual).sum()):
        return Stack(
            ordered,
            reason=f"lie at {len(frames) - repeated} positions, {repeated} of them again with another picture, and "
            "nothing tells which belong together",
            part=part,
        )
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    length = float(np.linalg.norm(step))
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(frames))[:, None] * step), axis=1).max()
    tolerance = max(_UNEVEN * length, min(_ROUNDED_MM, _UNEVEN_BY_ROUNDING * length))
    if off > tolerance:
        return Stack(ordered, reason=_uneven(gaps, usual), part=part)
    normal = _normal(frames[0])
    aside = float(np.linalg.norm(step - (step @ normal) * normal))
    if aside * (len(frames) - 1) <= tolerance:
        return Stack(ordered, step=length * normal, part=part)
    tilt = math.degrees(math.acos(min(1.0, float(step @ normal) / length)))
    if tilt > _STEEPEST:
        return Stack(
            ordered, reason=f"lie beside each other rather than on each other (at {tilt:.0f} degrees)", part=part
        )
    return Stack(ordered, step=step, part=part, tilt=tilt)


def _uneven(gaps: Vector, usual: float) -> str:
    counts = np.rint(gaps / usual)
    low, high = float(gaps.min()), float(gaps.max())
    if counts.max() > 1 and float(np.abs(gaps / usual - counts).max()) <= 2 * _UNEVEN:
        missing = int((counts - 1).sum())
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        return f"have gaps: {slices} missing among the {len(gaps) + 1} that are there, {usual:.4g} mm apart"
    return f"lie unevenly, {low:.4g} to {high:.4g} mm apart"


def _order(frames: Sequence[Frame]) -> tuple[Vector, np.ndarray]:
    along = np.array([frame.position for frame in frames]) @ _normal(frames[0])
    return along, np.argsort(along, kind="stable")


def _places(frames: list[Frame]) -> list[list[Frame]]:
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


def _side_by_side(frames: list[Frame]) -> dict[str, list[str]]:
    """A key for parallel stacks that lie beside each other, such as two breasts."""
    normal = _normal(frames[0])
    positions = np.array([frame.position for frame in frames])
    aside = np.rint(positions - np.outer(positions @ normal, normal)).astype(int)
    values = [" ".join(map(str, place)) for place in aside]
    return {"corner": values} if 1 < len(set(values)) <= len(frames) // 2 else {}


def _normal(frame: Frame) -> Vector:
    assert frame.rows_and_columns is not None
    return np.cross(*frame.rows_and_columns)


def _by(frames: Sequence[Frame], key: Callable[[Frame], object]) -> list[list[Frame]]:
    groups: dict[object, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _sortable(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text
