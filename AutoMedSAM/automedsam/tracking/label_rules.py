"""What differs between the labels of one model: the image that each is segmented on, and which lie inside others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.channels import nesting_depth
from automedsam.core.boxes import Tracklet


class _HasTracklet(Protocol):
    @property
    def tracklet(self) -> Tracklet: ...


_Object = TypeVar("_Object", bound=_HasTracklet)


@dataclass(frozen=True, eq=False)
class LabelRules:
    """Rules for some labels; the others lie in no other label and are segmented on the tracker's own slices.

    Attributes:
        inside: for each label that lies inside another, that label.
        slices: for labels that are segmented on other images `(N, H, W)` or `(N, 3, H, W)`, uint8.
    """

    inside: Mapping[int, int] = field(default_factory=dict)
    slices: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)

    def by_image(self, objects: Sequence[_Object]) -> list[list[_Object]]:
        """Objects in groups that are segmented on one image, so that each group's slices are encoded once."""
        groups: dict[int, list[_Object]] = {}
        for one in objects:
            groups.setdefault(id(self.slices.get(one.tracklet.label)), []).append(one)
        return list(groups.values())

    def by_depth(self, objects: Iterable[_Object]) -> list[list[_Object]]:
        """Objects in groups of equal depth, outer ones first."""
        groups: dict[int, list[_Object]] = {}
        for one in objects:
            groups.setdefault(nesting_depth(self.inside, one.tracklet.label), []).append(one)
        return [groups[depth] for depth in sorted(groups)]
