"""Which segments of a segmentation were written by a run, and taking them out so that they can be put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from AutoMedSAMLib.geometry import Matrix
from AutoMedSAMLib.label_layer import BINARY_LABELMAP, content_of
from AutoMedSAMLib.provenance import PROVENANCE, WRITTEN, checksum, tag_of


@dataclass(frozen=True)
class OwnSegment:
    """A segment that a run of a model wrote.

    Attributes:
        id: its ID in the segmentation.
        value: the model's label value.
        written: the checksum of what was written on each slice that was not left empty.
        axis: the axis of `(K, J, I)` that those slices follow.
    """

    id: str
    value: int
    written: dict[int, int]
    axis: int


def own_segments(segmentation: slicer.vtkSegmentation, model_name: str) -> list[OwnSegment]:
    """The segments that runs of this model wrote, oldest first."""
    found = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        origin, written = tag_of(segment, PROVENANCE), tag_of(segment, WRITTEN)
        if origin and written and origin.get("model") == model_name:
            slices = {int(number): int(crc) for number, crc in written["slices"].items()}
            found.append(OwnSegment(segment_id, int(origin["label"]), slices, int(written["axis"])))
    return found


def is_as_written(
    own: OwnSegment, segmentation: slicer.vtkSegmentation, shape: tuple[int, int, int], matrix: Matrix
) -> bool:
    """Whether a segment lies on this grid and nobody has edited it since it was written."""
    content = content_of(segmentation.GetSegment(own.id), shape, matrix)
    if content is None:
        return False
    content = np.moveaxis(content, own.axis, 0)
    filled = np.flatnonzero(content.reshape(len(content), -1).any(axis=1)).tolist()
    return {number: checksum(content[number]) for number in filled} == own.written


@dataclass
class RemovedSegment:
    """A segment that was taken out, with all that is needed to put it back as it was."""

    id: str
    index: int
    segment: slicer.vtkSegment
    label_value: int
    representations: dict[str, Any]

    @classmethod
    def remove(cls, segmentation: slicer.vtkSegmentation, segment_id: str) -> RemovedSegment:
        """Takes a segment out; those that shared its image keep theirs."""
        separate(segmentation, {segment_id})
        segment = segmentation.GetSegment(segment_id)
        names: list[str] = []
        segment.GetContainedRepresentationNames(names)
        representations = {name: segment.GetRepresentation(name) for name in names}
        removed = cls(
            segment_id,
            segmentation.GetSegmentIndex(segment_id),
            segment,
            segment.GetLabelValue(),
            representations,
        )
        # Without its image Slicer need not copy the image for it first.
        segment.RemoveRepresentation(BINARY_LABELMAP)
        segmentation.RemoveSegment(segment_id)
        return removed

    def put_back(self, segmentation: slicer.vtkSegmentation) -> None:
        """Puts it where it was."""
        for name, representation in self.representations.items():
            self.segment.AddRepresentation(name, representation)
        self.segment.SetLabelValue(self.label_value)
        segmentation.AddSegment(self.segment, self.id)
        segmentation.SetSegmentIndex(self.id, min(self.index, segmentation.GetNumberOfSegments() - 1))


def separate(segmentation: slicer.vtkSegmentation, segment_ids: set[str]) -> None:
    """Gives these segments images of their own if others, such as drawn by hand, share theirs."""
    images = {
        other: segmentation.GetSegment(other).GetRepresentation(BINARY_LABELMAP)
        for other in segmentation.GetSegmentIDs()
    }
    for segment_id in segment_ids:
        image = images[segment_id]
        if image is not None and any(images[other] is image for other in images.keys() - segment_ids):
            segmentation.SeparateSegmentLabelmap(segment_id)
