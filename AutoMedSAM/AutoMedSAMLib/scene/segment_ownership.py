"""Which segments of a segmentation a run wrote, for which volume and with which model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import slicer

from AutoMedSAMLib.scene.geometry import Matrix
from AutoMedSAMLib.scene.provenance import PROVENANCE, WRITTEN, checksum, tag_of
from AutoMedSAMLib.scene.shared_labelmap import BINARY_LABELMAP, segment_mask_on_grid

# A node reference follows its volume through saved and merged scenes, where IDs and names may change or repeat.
_VOLUME_ROLE = "AutoMedSAM.Volume"


@dataclass(frozen=True)
class ManagedSegment:
    """A segment that a run of a model wrote.

    Attributes:
        id: its ID in the segmentation.
        value: the model's label value.
        written: the checksum of what was written on each slice that was not left empty.
        axis: the axis of `(K, J, I)` that those slices follow.
        run: the ID of the run that wrote it last; empty where an older version wrote it.
    """

    id: str
    value: int
    written: dict[int, int]
    axis: int
    run: str = ""


def managed_segments(
    segmentation: slicer.vtkMRMLSegmentationNode,
    model_name: str,
    volume: slicer.vtkMRMLScalarVolumeNode,
    *,
    by_name: bool = False,
) -> dict[int, ManagedSegment]:
    """For each label value the newest segment that a run of this model wrote for this volume.

    Args:
        segmentation: where to look.
        model_name: the model.
        volume: the (first) volume that was segmented.
        by_name: also take segments of older versions, which kept no more of the volume than its name.
    """
    number = volume_number(segmentation, volume)
    found: dict[int, ManagedSegment] = {}
    for segment_id, origin, written in _results_in(segmentation):
        if origin.get("model") != model_name:
            continue
        if "volume" in origin:
            is_same = number is not None and origin["volume"] == number
        else:
            is_same = by_name and origin.get("volumes", [""])[:1] == [volume.GetName()]
        if is_same:
            slices = {int(at): int(crc) for at, crc in written["slices"].items()}
            value = int(origin["label"])
            found[value] = ManagedSegment(segment_id, value, slices, int(written["axis"]), str(origin.get("run", "")))
    return found


def volume_number(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> int | None:
    """The number by which the segments of a segmentation name this volume; None if none of them is of it."""
    for number in _volume_numbers(segmentation):
        if segmentation.GetNodeReference(f"{_VOLUME_ROLE}{number}") is volume:
            return number
    return None


def register_volume(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    """Gives a volume a number in a segmentation, or finds the one that it has."""
    number = volume_number(segmentation, volume)
    if number is None:
        # A file of segments keeps the numbers, but not the references: a number is never used again.
        taken = [int(origin.get("volume", 0)) for _, origin, _ in _results_in(segmentation)]
        number = 1 + max([*taken, *_volume_numbers(segmentation)], default=0)
        segmentation.SetNodeReferenceID(f"{_VOLUME_ROLE}{number}", volume.GetID())
    return number


def is_as_written(
    own: ManagedSegment,
    segmentation: slicer.vtkSegmentation,
    shape: tuple[int, int, int],
    matrix: Matrix,
    axis: int,
    slices: tuple[int, int],
) -> bool:
    """Whether a segment has this grid and is unchanged since it was written.

    Args:
        own: the segment.
        segmentation: what holds it.
        shape: voxels along K, J, I of the grid.
        matrix: 4 x 4, the grid's voxel indices (I, J, K) to mm in the segmentation's own RAS.
        axis: the axis of `(K, J, I)` that `slices` count along.
        slices: first and last slice to look at, inclusive; the whole segment if it was written along another axis.
    """
    content = segment_mask_on_grid(segmentation.GetSegment(own.id), shape, matrix)
    if content is None:
        return False
    first, last = slices if own.axis == axis else (0, shape[own.axis] - 1)
    planes = np.moveaxis(content, own.axis, 0)[first : last + 1]
    found = {number: checksum(plane) for number, plane in enumerate(planes, first)}
    written = {number: crc for number, crc in own.written.items() if first <= number <= last}
    return {number: crc for number, crc in found.items() if crc} == written


def remove_segment(segmentation: slicer.vtkSegmentation, segment_id: str) -> None:
    """Takes a segment out; those that shared its image keep theirs."""
    separate(segmentation, {segment_id})
    # Without its image Slicer need not copy the image for it first.
    segmentation.GetSegment(segment_id).RemoveRepresentation(BINARY_LABELMAP)
    segmentation.RemoveSegment(segment_id)


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


def _results_in(segmentation: slicer.vtkMRMLSegmentationNode) -> Iterator[tuple[str, dict, dict]]:
    """ID, provenance and checksums of each segment that a run wrote."""
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        origin, written = tag_of(segment, PROVENANCE), tag_of(segment, WRITTEN)
        if origin and written:
            yield segment_id, origin, written


def _volume_numbers(segmentation: slicer.vtkMRMLSegmentationNode) -> list[int]:
    roles = [segmentation.GetNthNodeReferenceRole(n) for n in range(segmentation.GetNumberOfNodeReferenceRoles())]
    numbers = [role.removeprefix(_VOLUME_ROLE) for role in roles if role.startswith(_VOLUME_ROLE)]
    return [int(number) for number in numbers if number.isdigit()]
