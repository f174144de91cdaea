"""What a run gives back: labels on the volume's own grid, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.channels import nesting_depth, values_within
from automedsam.core.volume import Plane, Volume

if TYPE_CHECKING:
    from automedsam.core.boxes import Box


@dataclass(frozen=True)
class Segment:
    """One label of a segmentation.

    Attributes:
        value: The label's value in the array, 1 or more.
        name: What a reader calls it.
        color: Red, green and blue, each 0 to 1.
        terminology: Its codes, in Slicer's serialized form (category, type, modifier, region).
        inside: The value of the segment that it is a part of, such as that of a whole tumour for its core.

    Example:
        >>> Segment(1, "Lesion", (1.0, 0.0, 0.0), "").value
        1
    """

    value: int
    name: str
    color: tuple[float, float, float]
    terminology: str
    inside: int | None = None


@dataclass(eq=False)
class Segmentation:
    """Labels on a volume's own grid.

    Attributes:
        labels: `(K, J, I)` uint8 or uint16 on the grid of `volume`; 0 is background. Where a segment lies inside
            another, the voxel has the inner one's value: `mask` gives whole segments.
        volume: The volume that was segmented, for its geometry.
        segments: The meaning of each value; a segment that was not found has no voxels.
        boxes: Slice index to the boxes found there, in frames of `plane`.
        provenance: How it was made (model, version, threshold), as JSON can hold it.
        plane: The plane of the frames that `boxes` lie in.
        objects: `(K, J, I)`, the number of the object at each voxel, 0 for none; None where objects are not known.

    Raises:
        ValueError: If the labels do not lie on the volume's grid or are not uint8 or uint16.

    Example:
        >>> volume = Volume(np.zeros((4, 5, 6)), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> labels = np.zeros(volume.shape, np.uint8)
        >>> labels[1, 2, 3] = 1
        >>> segmentation = Segmentation(labels, volume, [Segment(1, "Lesion", (1.0, 0.0, 0.0), "")])
        >>> int((segmentation.labels == 1).sum()) * volume.voxel_volume_ml
        0.002
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    volume: Volume
    segments: list[Segment]
    boxes: dict[int, list[Box]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    plane: Plane = Plane.AXIAL
    objects: NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.volume.shape:
            message = f"Labels of shape {self.labels.shape} do not lie on a volume of {self.volume.shape}."
            raise ValueError(message)
        if self.labels.dtype not in (np.uint8, np.uint16):
            message = f"Labels must be uint8 or uint16, not {self.labels.dtype}."
            raise ValueError(message)

    @property
    def inside(self) -> dict[int, int]:
        """For each segment that lies inside another, that one's value."""
        return {segment.value: segment.inside for segment in self.segments if segment.inside is not None}

    def mask(self, value: int) -> NDArray[np.bool_]:
        """The voxels `(K, J, I)` of a segment, with those of the segments inside it."""
        return mask_of(self.labels, self.inside, value)


def segment_masks(labels: NDArray[Any], segments: Sequence[Segment]) -> Iterator[tuple[Segment, NDArray[np.bool_]]]:
    """Each segment with its voxels in a label map of any shape, outer segments before those inside them."""
    inside = {segment.value: segment.inside for segment in segments if segment.inside is not None}
    for segment in sorted(segments, key=lambda one: nesting_depth(inside, one.value)):
        yield segment, mask_of(labels, inside, segment.value)


def mask_of(labels: NDArray[Any], inside: Mapping[int, int], value: int) -> NDArray[np.bool_]:
    """The voxels of a segment in a label map, with those of the segments inside it.

    Args:
        labels: Label values of any shape.
        inside: For each segment that lies inside another, that one's value.
        value: The segment.
    """
    values = values_within(inside, value)
    return labels == value if len(values) == 1 else np.isin(labels, list(values))
