"""Views: the parts of the slices that the segmenter looks at, one for objects that lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.core.boxes import Tracklet
from automedsam.sam2.propagation import CropBox


@dataclass(frozen=True)
class SliceRange:
    """A tracklet and the slices, first and last, to which it may be followed.

    `found` has the boxes that tell where the object is, if its prompts are more than boxes.
    """

    tracklet: Tracklet
    first: int
    last: int
    found: Tracklet | None = None

    @property
    def outline(self) -> Tracklet:
        """A tracklet of boxes: where the object is."""
        return self.found or self.tracklet


@dataclass(frozen=True)
class Crop:
    """A part of the slices, and the objects that are segmented in it.

    In one view a slice is encoded once, however many objects it holds. Objects that lie far apart have a view
    each, so that a small lesion is seen as large as the network learnt to see objects.
    """

    region: CropBox
    objects: tuple[SliceRange, ...]


def group_into_crops(objects: Sequence[SliceRange], fill: float, size: tuple[int, int]) -> list[Crop]:
    """Puts objects into one view that share slices and whose surroundings overlap.

    Args:
        objects: what will be segmented.
        fill: the share of a view, along each side, that its objects' boxes fill together.
        size: height and width of a slice in pixels.

    Returns:
        Views, each with its objects in the order given.
    """
    groups: list[list[int]] = []
    for number in range(len(objects)):
        group = [number]
        while touching := [
            g for g in groups if _meet([objects[i] for i in g], [objects[i] for i in group], fill, size)
        ]:
            group = sorted(group + [i for g in touching for i in g])
            groups = [g for g in groups if g not in touching]
        groups.append(group)
    crops = []
    for group in sorted(groups):
        members = tuple(objects[i] for i in group)
        crops.append(Crop(region_of_interest([member.outline for member in members], fill, size), members))
    return crops


def region_of_interest(tracklets: Sequence[Tracklet], fill: float, size: tuple[int, int]) -> CropBox:
    """The part of the slices in which the boxes of the tracklets fill `fill` of each side, within the slice.

    Args:
        tracklets: one or more.
        fill: above 0, at most 1.
        size: height and width of a slice in pixels.
    """
    corners = np.array([box.corners for tracklet in tracklets for box in tracklet.boxes.values()])
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    center, half = (low + high) / 2, (high - low) / (2 * fill)
    left, top = np.floor(np.clip(center - half, 0, None)).astype(int)
    right, bottom = np.ceil(np.minimum(center + half, [size[1], size[0]])).astype(int)
    return CropBox(int(top), int(left), int(bottom), int(right))


def _meet(one: Sequence[SliceRange], other: Sequence[SliceRange], fill: float, size: tuple[int, int]) -> bool:
    if not any(a.first <= b.last and b.first <= a.last for a in one for b in other):
        return False
    a, b = (region_of_interest([reach.outline for reach in group], fill, size) for group in (one, other))
    return a.top < b.bottom and b.top < a.bottom and a.left < b.right and b.left < a.right
