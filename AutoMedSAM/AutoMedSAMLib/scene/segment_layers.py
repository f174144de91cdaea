"""The images of a model's segments: one for all, or one for each depth where segments lie inside others.

Slicer keeps segments that do not overlap in one image, and those that do in several ("layers").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.channels import enclosing_segments, nesting_depth, values_within
from AutoMedSAMLib.scene.geometry import Matrix
from AutoMedSAMLib.scene.shared_labelmap import SharedLabelmap

Labels = NDArray[np.uint8]


class SegmentLayers:
    """Label maps over a whole volume, outermost segments first, to be cleared before they are used.

    Args:
        shape: voxels along K, J, I.
        matrix: 4 x 4, voxel indices (I, J, K) to mm in the segmentation's own RAS.
        segments: the model's, with `value` and `inside`.
    """

    def __init__(self, shape: tuple[int, int, int], matrix: Matrix, segments: Sequence[dict[str, Any]]) -> None:
        inside = enclosing_segments(segments)
        values = [segment["value"] for segment in segments]
        self._depths = {value: nesting_depth(inside, value) for value in values}
        self._shown = {value: sorted(values_within(inside, value)) for value in values}
        self._layers = [SharedLabelmap(shape, matrix) for _ in range(1 + max(self._depths.values(), default=0))]

    def of(self, value: int) -> SharedLabelmap:
        """The label map that holds the segment of this value."""
        return self._layers[self._depths[value]]

    def has_parts(self, value: int) -> bool:
        """Whether other segments lie inside this one."""
        return len(self._shown[value]) > 1

    def clear(self, seconds: float = math.inf) -> bool:
        """Continues to set all labels to zero for about so long; whether all are zero."""
        return all(layer.clear(seconds) for layer in self._layers)

    @property
    def images(self) -> list[Any]:
        """The images of all layers."""
        return [layer.image for layer in self._layers]

    @property
    def is_intact(self) -> bool:
        """Whether no image was cropped, extended or converted since."""
        return all(layer.is_intact for layer in self._layers)

    def expand(self, labels: Labels) -> Labels:
        """The layers `(layers, rows, columns)` of a slice of the engine's labels, which show the innermost segment."""
        if len(self._layers) == 1:
            return labels[np.newaxis]
        slices = np.zeros((len(self._layers), *labels.shape), np.uint8)
        for value, depth in self._depths.items():
            slices[depth][np.isin(labels, self._shown[value])] = value
        return slices

    def slices(self, axis: int, number: int) -> Labels:
        """A copy `(layers, rows, columns)` of a slice, counted along an axis of `(K, J, I)`."""
        return np.stack([np.moveaxis(layer.array, axis, 0)[number] for layer in self._layers])

    def write(self, axis: int, number: int, slices: Labels) -> None:
        """Writes a slice, as `slices` or `expand` gives it."""
        for layer, plane in zip(self._layers, slices, strict=True):
            np.moveaxis(layer.array, axis, 0)[number] = plane

    def content(self, slices: Labels, value: int) -> NDArray[np.bool_]:
        """The pixels of a segment on a slice, as `slices` or `expand` gives it."""
        shown: NDArray[np.bool_] = slices[self._depths[value]] == value
        return shown
