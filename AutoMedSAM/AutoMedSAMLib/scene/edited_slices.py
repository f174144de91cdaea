"""Finds the slices of a result that were edited by hand, a little at each call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.provenance import checksum
from AutoMedSAMLib.scene.segment_ownership import managed_segments
from AutoMedSAMLib.scene.shared_labelmap import SegmentPlanes

Edited = dict[int, dict[int, NDArray[np.bool_]]]


def edited_slices(segmentation: Any, model_name: str, volume: Any, axis: int) -> Iterator[Edited | None]:
    """Looks at one slice after the other.

    Args:
        segmentation: the node that the result is in.
        model_name: the model that made it.
        volume: the volume that it is of.
        axis: the axis of `(K, J, I)` that its slices follow.

    Yields:
        None for each slice; at the end, for each label value the edited slices with their masks `(rows, columns)`.
        Segments on another grid, and those of a run along another axis, are left out.
    """
    shape, matrix = shape_of(volume), ijk_to_segmentation(volume, segmentation)
    found: Edited = {}
    for value, own in managed_segments(segmentation, model_name, volume, by_name=True).items():
        planes = SegmentPlanes(segmentation.GetSegmentation().GetSegment(own.id), shape, matrix, axis)
        if own.axis != axis or not planes.is_on_grid:
            continue
        for number in range(shape[axis]):
            plane = planes.plane(number)
            if checksum(plane) != own.written.get(number, 0):
                found.setdefault(value, {})[number] = plane
            yield None
    yield found
