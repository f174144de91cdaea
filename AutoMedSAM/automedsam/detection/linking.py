"""Linking: boxes of neighbouring slices become tracklets, one for each object in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automedsam.core.boxes import Box, Tracklet
from automedsam.core.memory import check_room_for_scipy


@dataclass(frozen=True)
class LinkSettings:
    """When boxes belong together, and which objects to accept.

    Attributes:
        threshold: an object needs a box of at least this score, 0 to 1.
        member_share: a weaker box may join an object from this share of the threshold on.
        iou: boxes on neighbouring slices overlap at least this much, 0 to 1.
        max_gap_mm: slices without a box are bridged over at most this distance.
        min_extent_mm: shorter objects are dropped, unless a box is sure (twice as near to 1 as the threshold).
        max_objects: how many objects of one label to keep, the best first; None keeps all.
    """

    threshold: float = 0.4
    member_share: float = 0.5
    iou: float = 0.3
    max_gap_mm: float = 4.0
    min_extent_mm: float = 3.0
    max_objects: int | None = None


def link(detections: Sequence[list[Box]], slice_spacing: float, settings: LinkSettings) -> list[Tracklet]:
    """Links boxes through the slices.

    On each slice the open tracklets and the boxes are matched one to one for the greatest total overlap.

    Args:
        detections: the boxes of each slice, in slice order; any score, so that the threshold can move later.
        slice_spacing: distance between slices in mm.
        settings: thresholds.

    Returns:
        Tracklets by falling evidence (the sum of their scores).
    """
    max_gap = max(1, round(settings.max_gap_mm / slice_spacing))
    chains: list[dict[int, Box]] = []
    for index, boxes in enumerate(detections):
        candidates = [box for box in boxes if box.score >= settings.threshold * settings.member_share]
        reachable = [chain for chain in chains if 0 < index - max(chain) <= max_gap + 1]
        taken = _match(reachable, candidates, settings.iou)
        for chain, box in taken:
            chain[index] = box
        joined = {id(box) for _, box in taken}
        chains.extend({index: box} for box in candidates if id(box) not in joined)
    accepted = [chain for chain in chains if _is_accepted(chain, slice_spacing, settings)]
    accepted.sort(key=lambda chain: -sum(box.score for box in chain.values()))
    kept: list[Tracklet] = []
    for chain in accepted:
        label = next(iter(chain.values())).label
        alike = sum(tracklet.label == label for tracklet in kept)
        if settings.max_objects is None or alike < settings.max_objects:
            kept.append(Tracklet(label, chain, seed_slice(chain)))
    return kept


def seed_slice(boxes: dict[int, Box]) -> int:
    """The slice where the object is both sure and large: the greatest score times box area."""
    return max(boxes, key=lambda index: boxes[index].score ** 2 * boxes[index].width * boxes[index].height)


def _match(chains: list[dict[int, Box]], boxes: list[Box], iou: float) -> list[tuple[dict[int, Box], Box]]:
    if not chains or not boxes:
        return []
    check_room_for_scipy()
    from scipy.optimize import linear_sum_assignment

    overlap = np.zeros((len(chains), len(boxes)))
    for row, chain in enumerate(chains):
        last = chain[max(chain)]
        for column, box in enumerate(boxes):
            overlap[row, column] = last.iou(box) if last.label == box.label else 0.0
    overlap[overlap < iou] = 0.0
    rows, columns = linear_sum_assignment(-overlap)
    return [(chains[row], boxes[column]) for row, column in zip(rows, columns, strict=True) if overlap[row, column] > 0]


def _is_accepted(chain: dict[int, Box], slice_spacing: float, settings: LinkSettings) -> bool:
    best = max(box.score for box in chain.values())
    extent = (max(chain) - min(chain) + 1) * slice_spacing
    sure = best >= (1 + settings.threshold) / 2
    return best >= settings.threshold and (extent >= settings.min_extent_mm or sure)
