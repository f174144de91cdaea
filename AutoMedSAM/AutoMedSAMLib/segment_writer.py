"""A run's masks into a segmentation, slice by slice, with everything else in it left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.geometry import Matrix
from AutoMedSAMLib.label_layer import BINARY_LABELMAP, LabelLayer, content_of
from AutoMedSAMLib.models import Model
from AutoMedSAMLib.own_segments import OwnSegment, RemovedSegment, is_as_written, own_segments, separate
from AutoMedSAMLib.provenance import PROVENANCE, WRITTEN, checksum, set_tag

CLOSED_SURFACE = "Closed surface"

Labels = NDArray[np.uint8]


class SegmentWriter:
    """The segments of one run: one for each label of the model, all in one image of the volume's own grid.

    Nothing is touched before the first slice is written. Segments of an earlier run of the same model that
    nobody has edited make room then; edited ones stay, and the new ones get a numbered name.

    Args:
        segmentation: where to write.
        model: whose labels they are.
        shape: voxels along K, J, I of the volume.
        matrix: 4 x 4, the volume's voxel indices (I, J, K) to mm in the segmentation's own RAS.
        axis: the axis of `(K, J, I)` that the slices follow.
        again: write into the last run's segments, as far as they are there, and only what has changed.

    Raises:
        AutoMedSAMError: If the segmentation is not one of label maps.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        model: Model,
        shape: tuple[int, int, int],
        matrix: Matrix,
        axis: int,
        *,
        again: bool = False,
    ) -> None:
        check_segmentation(segmentation)
        self.node, self._segments = segmentation, segmentation.GetSegmentation()
        self._model, self._shape, self.matrix, self._axis = model, shape, matrix, axis
        self.segment_ids: dict[int, str] = {}
        self._written: dict[int, dict[int, int]] = {label["value"]: {} for label in model.segments}
        self._layer: LabelLayer | None = None
        self._prepared = LabelLayer(shape, matrix)
        self._removed: list[RemovedSegment] = []
        self._added: list[str] = []
        self._before: dict[int, Labels] = {}
        self._surfaces_before: dict[str, vtk.vtkPolyData | None] = {}
        self._adopted = self._last_run() if again else {}

    @property
    def is_installed(self) -> bool:
        """Whether the segments are in the segmentation already."""
        return self._layer is not None

    def prepare(self, seconds: float) -> bool:
        """Makes ready for the first slice for about so long; without it, that slice would take all the time.

        Returns:
            Whether it is ready.
        """
        return self._prepared.clear(seconds)

    def install(self) -> None:
        """Puts the segments in, empty, or takes over the last run's; does nothing the second time."""
        if self._layer is not None:
            return
        if not self._adopted:
            for own in own_segments(self._segments, self._model.name):
                if is_as_written(own, self._segments, self._shape, self.matrix):
                    self._removed.append(RemovedSegment.remove(self._segments, own.id))
        layer = self._prepared
        layer.clear()
        for value, own in self._adopted.items():
            content = content_of(self._segments.GetSegment(own.id), self._shape, self.matrix)
            layer.array[content] = value
            self._written[value] = dict(own.written)
            self._surfaces_before[own.id] = self._segments.GetSegment(own.id).GetRepresentation(CLOSED_SURFACE)
            self.segment_ids[value] = own.id
        self._layer = layer
        self._own_image(layer)
        for label in self._model.segments:
            if label["value"] not in self.segment_ids:
                self.segment_ids[label["value"]] = self._add(label, layer)

    def write(self, labels: Mapping[int, Labels]) -> list[int]:
        """Writes slices, given as label values of the model `(rows, columns)` by slice.

        A slice that is as this run, or the one before it, has written it is passed over: what a person has drawn
        into it since is kept.

        Returns:
            The slices that have changed.
        """
        changed = [number for number, plane in labels.items() if self._is_news(number, plane)]
        if not changed and self.is_installed:
            return []
        self.install()
        layer = self._whole_layer()
        planes = np.moveaxis(layer.array, self._axis, 0)
        for number in changed:
            self._before.setdefault(number, planes[number].copy())
            planes[number] = labels[number]
            for value, written in self._written.items():
                crc = checksum(labels[number] == value)
                written.pop(number, None)
                if crc:
                    written[number] = crc
        self._tell()
        return changed

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Writes into each segment where it comes from, and how it was left."""
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            if segment is not None:
                _sign(segment, self._axis, self._written[value])
                set_tag(segment, PROVENANCE, {**provenance, "label": value})

    def undo(self) -> None:
        """Takes back all that was written: the segmentation is as it was before."""
        if self._layer is None:
            return
        for segment_id in self._added:
            if self._segments.GetSegment(segment_id) is not None:
                RemovedSegment.remove(self._segments, segment_id)
        if any(self._segments.GetSegment(own.id) is not None for own in self._adopted.values()):
            self._undo_adopted()
        for removed in sorted(self._removed, key=lambda one: one.index):
            removed.put_back(self._segments)
        self._layer = None

    def _undo_adopted(self) -> None:
        planes = np.moveaxis(self._whole_layer().array, self._axis, 0)
        for number, plane in self._before.items():
            planes[number] = plane
        for own in self._adopted.values():
            segment = self._segments.GetSegment(own.id)
            if segment is not None:
                _sign(segment, own.axis, own.written)
                surface = self._surfaces_before[own.id]
                if surface is None:
                    segment.RemoveRepresentation(CLOSED_SURFACE)
                else:
                    segment.AddRepresentation(CLOSED_SURFACE, surface)
        self._tell()

    @property
    def labels(self) -> Labels | None:
        """The label values `(K, J, I)` as they are in the segmentation now, no copy; None before `install`."""
        return None if self._layer is None else self._whole_layer().array

    def _last_run(self) -> dict[int, OwnSegment]:
        """For each label the segment that was written last, if it lies on this grid."""
        last = {own.value: own for own in own_segments(self._segments, self._model.name) if own.value in self._written}
        return {
            value: own
            for value, own in last.items()
            if own.axis == self._axis
            and content_of(self._segments.GetSegment(own.id), self._shape, self.matrix) is not None
        }

    def _is_news(self, number: int, plane: Labels) -> bool:
        return any(checksum(plane == value) != self._before_writing(value).get(number, 0) for value in self._written)

    def _before_writing(self, value: int) -> Mapping[int, int]:
        if self.is_installed or value not in self._adopted:
            return self._written[value]
        return self._adopted[value].written

    def _add(self, label: Mapping[str, Any], layer: LabelLayer) -> str:
        segment = slicer.vtkSegment()
        segment.SetName(self._free_name(label["name"]))
        segment.SetColor(*label["color"])
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), label["terminology"])
        segment.SetLabelValue(label["value"])
        segment.AddRepresentation(BINARY_LABELMAP, layer.image)
        # With an empty surface Slicer need not look for one in the whole image first.
        if self._segments.ContainsRepresentation(CLOSED_SURFACE):
            segment.AddRepresentation(CLOSED_SURFACE, vtk.vtkPolyData())
        segment_id = self._segments.GenerateUniqueSegmentID(f"AutoMedSAM_{self._model.name}_{label['value']}")
        self._segments.AddSegment(segment, segment_id)
        self._added.append(segment_id)
        return segment_id

    def _free_name(self, name: str) -> str:
        taken = {self._segments.GetSegment(one).GetName() for one in self._segments.GetSegmentIDs()}
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name} {number}"
        return free

    def _own_image(self, layer: LabelLayer) -> None:
        """Makes the layer the image of the segments that are there already."""
        separate(self._segments, {one for one in self.segment_ids.values() if self._segments.GetSegment(one)})
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            if segment is not None:
                segment.SetLabelValue(value)
                segment.AddRepresentation(BINARY_LABELMAP, layer.image)

    def _whole_layer(self) -> LabelLayer:
        """The layer, made anew if a person's edits have meanwhile cut it, replaced it or moved into it."""
        layer = self._layer
        own = set(self.segment_ids.values())
        ours_elsewhere = strangers_here = False
        for segment_id in self._segments.GetSegmentIDs():
            here = self._segments.GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP) is layer.image
            ours_elsewhere |= segment_id in own and not here
            strangers_here |= segment_id not in own and here
        if layer.is_intact and not ours_elsewhere and not strangers_here:
            return layer
        fresh = LabelLayer(self._shape, self.matrix)
        fresh.clear()
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            content = None if segment is None else content_of(segment, self._shape, self.matrix)
            if content is not None:
                fresh.array[content] = value
        self._layer = fresh
        self._own_image(fresh)
        return fresh

    def _tell(self) -> None:
        """Lets the views know, but not `image.Modified()`: that drops the surfaces of all segments, others' too."""
        self._layer.image.GetPointData().GetScalars().Modified()
        for segment_id in self.segment_ids.values():
            self._segments.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified, segment_id)


def _sign(segment: slicer.vtkSegment, axis: int, written: Mapping[int, int]) -> None:
    """Writes into a segment what was written on each slice, by its checksum."""
    set_tag(segment, WRITTEN, {"axis": axis, "slices": {str(number): crc for number, crc in sorted(written.items())}})


def check_segmentation(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Finds out before a run whether masks can be written into a segmentation.

    Raises:
        AutoMedSAMError: If its segments are surfaces or the like.
    """
    segments = segmentation.GetSegmentation()
    if segments.GetNumberOfSegments() and segments.GetSourceRepresentationName() != BINARY_LABELMAP:
        message = (
            f"The segments of {segmentation.GetName()} are not made of voxels; choose another output segmentation, "
            "or convert it to a binary label map in Segmentations."
        )
        raise AutoMedSAMError(message)
