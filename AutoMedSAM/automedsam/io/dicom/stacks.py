"""Frames of one series as stacks of slices: each a grid in space, or with the reason why it is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from automedsam.io.dicom.frames import Frame, keys_of
from automedsam.io.dicom.grid import Stack, normal_of, places_of, stack_of

_DIRECTION_TOLERANCE = _SPACING_TOLERANCE = 1e-3
_MAX_KEYS = 2

SamePixels = Callable[[Frame, Frame], bool]


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
    "do not state the position of each slice (ImagePositionPatient and ImageOrientationPatient of every slice, and "
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
    whole = stack_of(frames)
    if len(frames) == 1 or not whole.reason:
        return [whole]
    kept = _without_copies(frames, same_pixels)
    if len(kept) < len(frames):
        return _split(kept, same_pixels)
    keys = keys_of(frames)
    if any(frame.header.frames > 1 for frame in frames):
        keys = {"file": [frame.header.path.name for frame in frames], **keys}
    keys |= _side_by_side(frames)
    for count in range(1, _MAX_KEYS + 1):
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
        stacks.append(stack_of(part, named))
        if stacks[-1].reason:
            return None
    return stacks


def _in_order(frames: list[Frame]) -> list[Stack] | None:
    """The first of each position, the second of each and so on, as they are numbered; None if positions differ."""
    places = places_of(frames)
    counts = {len(place) for place in places}
    if len(places) < 2 or len(counts) != 1:
        return None
    number = counts.pop()
    for place in places:
        place.sort(key=lambda frame: (frame.header.instance, frame.header.path, frame.index))
    stacks = [stack_of([place[turn] for place in places], f"{turn + 1} of {number}") for turn in range(number)]
    return None if any(stack.reason for stack in stacks) else stacks


def _without_copies(frames: list[Frame], same_pixels: SamePixels) -> list[Frame]:
    """The frames without those that repeat another at its own place, pixel for pixel."""
    places = places_of(frames)
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


def _side_by_side(frames: list[Frame]) -> dict[str, list[str]]:
    """A key for parallel stacks that lie beside each other, such as two breasts."""
    normal = normal_of(frames[0])
    positions = np.array([frame.position for frame in frames])
    aside = np.rint(positions - np.outer(positions @ normal, normal)).astype(int)
    values = [" ".join(map(str, place)) for place in aside]
    return {"corner": values} if 1 < len(set(values)) <= len(frames) // 2 else {}


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
