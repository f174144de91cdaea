"""How far each slice of a segmentation is to be trusted, so that a reader looks first where it may be wrong.

Nothing here knows the truth. What counts is whether the two networks, which know nothing of each other, agree
(the detector's box and the segmenter's mask), and whether an object changes from slice to slice as bodies do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from automedsam.core.boxes import Box, Tracklet

LOW_CONFIDENCE = 0.5
"""Slices of a lower confidence deserve a look."""

# An outline drawn by a careful reader and a detector's box overlap by about this much or more.
_FULL_AGREEMENT = 0.8
# Across a gap in its boxes nothing confirms a mask, however well it fits.
_GAP_SHARE = 0.45
# Beyond the last box nothing confirms the mask: after this many slices or mm, whichever comes first, it is doubtful.
_BEYOND_SLICES, _BEYOND_MM = 3, 6.0
_BEYOND_START, _BEYOND_MIN = 0.6, 0.1
# What an input gets at most that is unlike the training images.
_UNTRUSTED_MAX = 0.3


class MaskSummary(Protocol):
    """What is looked at of an object's mask on one slice."""

    @property
    def bounds(self) -> Box | None: ...

    @property
    def area(self) -> int: ...


class TrackedMasks(Protocol):
    """An object that was followed: its boxes, and its outline on each slice that it was followed to."""

    @property
    def tracklet(self) -> Tracklet: ...

    @property
    def masks(self) -> Mapping[int, MaskSummary]: ...


@dataclass(frozen=True)
class SliceConfidence:
    """The confidence in one slice.

    Attributes:
        index: the slice.
        confidence: 0 to 1, that of the slice's least certain object.
        reason: why it is doubtful, in words for a person; empty if it is not.
    """

    index: int
    confidence: float
    reason: str


def slice_confidence(objects: Sequence[TrackedMasks], spacing: float, untrusted: str = "") -> list[SliceConfidence]:
    """Judges every slice on which an object has a box or a mask.

    For each object the lower of two shares counts. Agreement: intersection over union of the box and the mask's
    bounding box, 0.8 being full; in a gap the box between its neighbours stands in, at less than half the worth;
    beyond the first and the last box it falls with the distance, below 0.5 after three slices or 6 mm, whichever
    comes first. Steadiness: of the mask's area and the mean of its two neighbours' the smaller over the larger; the
    slices where an object ends have no such pair.

    Args:
        objects: everything that was followed.
        spacing: between slices in mm.
        untrusted: why no slice of this input is to be trusted, if so: all are then doubtful, for this reason.

    Returns:
        One entry a slice, in order.
    """
    lowest: dict[int, tuple[float, str]] = {}
    for followed in objects:
        for index, judged in _judged(followed, spacing, untrusted).items():
            lowest[index] = min(lowest.get(index, judged), judged, key=_share)
    return [
        SliceConfidence(index, confidence, reason if confidence < LOW_CONFIDENCE else "")
        for index, (confidence, reason) in sorted(lowest.items())
    ]


def object_confidence(followed: TrackedMasks, spacing: float, untrusted: str = "") -> dict[int, float]:
    """The confidence of one object on each slice with its box or its mask, 0 to 1; see `slice_confidence`."""
    return {index: confidence for index, (confidence, _) in sorted(_judged(followed, spacing, untrusted).items())}


def _judged(followed: TrackedMasks, spacing: float, untrusted: str) -> dict[int, tuple[float, str]]:
    judged = {}
    areas = {index: mask.area for index, mask in followed.masks.items()}
    for index, mask in followed.masks.items():
        if not areas[index] and index not in followed.tracklet.boxes:
            continue
        judged[index] = min(_agreement(followed.tracklet, index, mask, spacing), _steadiness(areas, index), key=_share)
        if untrusted:
            judged[index] = min(judged[index], (_UNTRUSTED_MAX, untrusted), key=_share)
    return judged


def _share(judged: tuple[float, str]) -> float:
    return judged[0]


def _agreement(tracklet: Tracklet, index: int, mask: MaskSummary, spacing: float) -> tuple[float, str]:
    bounds = mask.bounds
    if bounds is None:
        return 0.0, "there is a box here, and the mask is empty"
    if not tracklet.first <= index <= tracklet.last:
        beyond = max(tracklet.first - index, index - tracklet.last)
        # Rounded, since headers give 2 mm as 2.00001.
        distance = max(beyond / _BEYOND_SLICES, round(beyond * spacing, 1) / _BEYOND_MM)
        share = max(_BEYOND_MIN, LOW_CONFIDENCE + (_BEYOND_START - LOW_CONFIDENCE) * (1 - distance))
        slices = "1 slice" if beyond == 1 else f"{beyond} slices"
        return share, f"no box confirms the mask here, {slices} from the nearest one"
    overlap = tracklet.box_at(index).iou(bounds)
    share = min(1.0, overlap / _FULL_AGREEMENT)
    if index in tracklet.boxes:
        return share, f"box and mask disagree (overlap {overlap:.2f})"
    return share * _GAP_SHARE, "the detector has no box here"


def _steadiness(areas: Mapping[int, int], index: int) -> tuple[float, str]:
    before, here, after = (areas.get(at, 0) for at in (index - 1, index, index + 1))
    if not (before and after):
        return 1.0, ""
    expected = (before + after) / 2
    share = min(here, expected) / max(here, expected)
    return share, f"the mask's area jumps ({here} pixels, {expected:.0f} expected)"
