"""A run's masks into a segmentation, slice by slice, with everything else in it left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.model.bundle_info import Model
from AutoMedSAMLib.scene.geometry import ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.provenance import PROVENANCE, WRITTEN, checksum, set_tag, tag_of
from AutoMedSAMLib.scene.segment_layers import Labels, SegmentLayers
from AutoMedSAMLib.scene.segment_ownership import (
    ManagedSegment,
    is_as_written,
    managed_segments,
    register_volume,
    remove_segment,
    separate,
)
from AutoMedSAMLib.scene.shared_labelmap import BINARY_LABELMAP, segment_mask_on_grid

CLOSED_SURFACE = "Closed surface"  # no tr
_OUTER_OPACITY = 0.4

Mode = Literal["beside", "replace", "again"]


class SegmentWriter:
    """The segments of one run: one for each label of the model, all in one image of the volume's own grid.

    Where labels lie inside others, each depth has an image: a whole tumor includes its core.
    Nothing is touched before the first slice is written. Names, colours and all else of a segment that is written
    into again stay as they are, and so do the slices outside this run's range.

    Args:
        segmentation: where to write.
        model: whose labels they are.
        volume: the volume that is segmented.
        axis: the axis of `(K, J, I)` that the slices follow.
        slices: first and last slice of this run, inclusive; all if None.
        mode: "beside" adds new segments, with numbered names where needed. "replace" writes into the last result
            of this model for this volume; a segment edited by hand on these slices stays, and a new one is added
            beside it. "again" writes into the last result only what has changed, and keeps slices edited by hand.

    Attributes:
        segment_ids: the ID of the segment of each label value, once they are in the segmentation.
        kept_by_hand: the slices that were not changed because they were edited by hand.

    Raises:
        AutoMedSAMError: If the segmentation is not one of label maps.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        model: Model,
        volume: slicer.vtkMRMLScalarVolumeNode,
        axis: int,
        *,
        slices: tuple[int, int] | None = None,
        mode: Mode = "beside",
    ) -> None:
        check_segmentation(segmentation)
        self.node, self._segments = segmentation, segmentation.GetSegmentation()
        self._model, self._volume, self._axis, self._mode = model, volume, axis, mode
        self._shape, self.matrix = shape_of(volume), ijk_to_segmentation(volume, segmentation)
        self._slices = slices or (0, self._shape[axis] - 1)
        self.segment_ids: dict[int, str] = {}
        self.kept_by_hand: set[int] = set()
        self._written: dict[int, dict[int, int]] = {label["value"]: {} for label in model.segments}
        self._layer: SegmentLayers | None = None
        self._prepared = SegmentLayers(self._shape, self.matrix, model.segments)
        self._added: list[str] = []
        self._before: dict[int, Labels] = {}
        self._provenance_before: dict[str, Any] = {}
        self._surfaces_before: dict[str, vtk.vtkPolyData | None] = {}
        self._reused = self._last_run() if mode == "again" else {}

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
        """Puts the segments in, empty, or takes over the last result's; does nothing the second time."""
        if self._layer is not None:
            return
        if self._mode == "replace":
            self._reused = self._replaceable()
        layer = self._prepared
        layer.clear()
        for value, own in self._reused.items():
            segment = self._segments.GetSegment(own.id)
            layer.of(value).array[segment_mask_on_grid(segment, self._shape, self.matrix)] = value
            self._written[value] = dict(own.written)
            self._provenance_before[own.id] = tag_of(segment, PROVENANCE)
            self._surfaces_before[own.id] = segment.GetRepresentation(CLOSED_SURFACE)
            self.segment_ids[value] = own.id
        self._layer = layer
        if self._mode == "again":
            first, last = self._slices
            self.kept_by_hand = {number for number in range(first, last + 1) if self._is_edited(number, layer)}
        else:
            self._clear_slices(layer)
        self._own_image(layer)
        for label in self._model.segments:
            if label["value"] not in self.segment_ids:
                self.segment_ids[label["value"]] = self._add(label, layer)
        if self._before:
            self._notify_views()

    def write(self, labels: Mapping[int, Labels]) -> list[int]:
        """Writes slices, given as label values of the model `(rows, columns)` by slice.

        A slice that has these labels already is skipped, and so is one that was edited by hand since.

        Returns:
            The slices that have changed.
        """
        changed = [number for number, plane in labels.items() if self._has_changed(number, plane)]
        if not changed and self.is_installed:
            return []
        self.install()
        layer = self._whole_layer()
        self.kept_by_hand.update(number for number in changed if self._is_edited(number, layer))
        changed = [number for number in changed if number not in self.kept_by_hand]
        for number in changed:
            slices = layer.expand(labels[number])
            self._before.setdefault(number, layer.slices(self._axis, number))
            layer.write(self._axis, number, slices)
            for value, written in self._written.items():
                crc = checksum(layer.content(slices, value))
                written.pop(number, None)
                if crc:
                    written[number] = crc
        self._notify_views()
        return changed

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Writes into each segment where it comes from, and how it was left."""
        number = register_volume(self.node, self._volume)
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            if segment is not None:
                _sign(segment, self._axis, self._written[value])
                set_tag(segment, PROVENANCE, {**provenance, "label": value, "volume": number})

    def edits_at_stake(self) -> int:
        """How many slices were edited by hand after this run wrote them: `undo` takes these edits back too."""
        if self._layer is None:
            return 0
        layer = self._whole_layer()
        numbers = range(self._shape[self._axis]) if self._added else self._before
        return sum(self._is_edited(number, layer) for number in numbers)

    def undo(self) -> None:
        """Takes back all that was written: the segmentation is as it was before."""
        if self._layer is None:
            return
        for segment_id in self._added:
            if self._segments.GetSegment(segment_id) is not None:
                remove_segment(self._segments, segment_id)
        if any(self._segments.GetSegment(own.id) is not None for own in self._reused.values()):
            self._undo_adopted()
        self._layer = None

    def _undo_adopted(self) -> None:
        layer = self._whole_layer()
        for number, slices in self._before.items():
            layer.write(self._axis, number, slices)
        for own in self._reused.values():
            segment = self._segments.GetSegment(own.id)
            if segment is not None:
                _sign(segment, own.axis, own.written)
                set_tag(segment, PROVENANCE, self._provenance_before[own.id])
                surface = self._surfaces_before[own.id]
                if surface is None:
                    segment.RemoveRepresentation(CLOSED_SURFACE)
                else:
                    segment.AddRepresentation(CLOSED_SURFACE, surface)
        self._notify_views()

    def labels_of(self, value: int) -> Labels | None:
        """Label values `(K, J, I)` as they are in the segmentation now, no copy; None before `install`.

        Those of the segment of this value are among them, and of others that do not overlap it.
        """
        return None if self._layer is None else self._whole_layer().of(value).array

    def volumes_ml(self) -> dict[str, float]:
        """The volume of each label in ml, by the label's name, as it is in the segmentation now."""
        voxel = float(np.prod(self._volume.GetSpacing())) / 1000
        found = {label["name"]: (self.labels_of(label["value"]), label["value"]) for label in self._model.segments}
        return {
            name: 0.0 if labels is None else np.count_nonzero(labels == value) * voxel
            for name, (labels, value) in found.items()
        }

    def _last_run(self) -> dict[int, ManagedSegment]:
        """For each label the segment that was written last, if it has this grid."""
        return {
            value: own
            for value, own in managed_segments(self.node, self._model.name, self._volume, by_name=True).items()
            if value in self._written
            and own.axis == self._axis
            and segment_mask_on_grid(self._segments.GetSegment(own.id), self._shape, self.matrix) is not None
        }

    def _replaceable(self) -> dict[int, ManagedSegment]:
        """For each label the segment that was written last, unless it was edited by hand on these slices."""
        return {
            value: own
            for value, own in managed_segments(self.node, self._model.name, self._volume).items()
            if value in self._written
            and is_as_written(own, self._segments, self._shape, self.matrix, self._axis, self._slices)
        }

    def _clear_slices(self, layer: SegmentLayers) -> None:
        """Empties this run's slices of the segments that it replaces; the other slices stay theirs."""
        first, last = self._slices
        for number in range(first, last + 1):
            slices = layer.slices(self._axis, number)
            if slices.any():
                self._before[number] = slices
                layer.write(self._axis, number, np.zeros_like(slices))
        for value, own in self._reused.items():
            planes = np.moveaxis(layer.of(value).array, self._axis, 0)
            outside = [number for number in range(len(planes)) if not first <= number <= last]
            if own.axis == self._axis:
                self._written[value] = {number: own.written[number] for number in outside if number in own.written}
            else:
                written = {number: checksum(planes[number] == value) for number in outside}
                self._written[value] = {number: crc for number, crc in written.items() if crc}
            if self._surfaces_before[own.id] is not None:
                self._segments.GetSegment(own.id).AddRepresentation(CLOSED_SURFACE, vtk.vtkPolyData())

    def _is_edited(self, number: int, layer: SegmentLayers) -> bool:
        """Whether a slice of the segments differs from what was written; deleted segments are left out."""
        slices = layer.slices(self._axis, number)
        return any(
            checksum(layer.content(slices, value)) != written.get(number, 0)
            for value, written in self._written.items()
            if self._segments.GetSegment(self.segment_ids.get(value, "")) is not None
        )

    def _has_changed(self, number: int, plane: Labels) -> bool:
        slices = self._prepared.expand(plane)
        return any(
            checksum(self._prepared.content(slices, value)) != self._previous_checksums(value).get(number, 0)
            for value in self._written
        )

    def _previous_checksums(self, value: int) -> Mapping[int, int]:
        if self.is_installed or value not in self._reused:
            return self._written[value]
        return self._reused[value].written

    def _add(self, label: Mapping[str, Any], layer: SegmentLayers) -> str:
        segment = slicer.vtkSegment()
        segment.SetName(self._free_name(label["name"]))
        segment.SetColor(*label["color"])
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), label["terminology"])
        segment.SetLabelValue(label["value"])
        segment.AddRepresentation(BINARY_LABELMAP, layer.of(label["value"]).image)
        # With an empty surface Slicer need not look for one in the whole image first.
        if self._segments.ContainsRepresentation(CLOSED_SURFACE):
            segment.AddRepresentation(CLOSED_SURFACE, vtk.vtkPolyData())
        segment_id = self._segments.GenerateUniqueSegmentID(f"AutoMedSAM_{self._model.name}_{label['value']}")
        self._segments.AddSegment(segment, segment_id)
        self._added.append(segment_id)
        display = self.node.GetDisplayNode()
        if display is not None and self._prepared.has_parts(label["value"]):
            # What lies inside is to be seen.
            display.SetSegmentOpacity3D(segment_id, _OUTER_OPACITY)
        return segment_id

    def _free_name(self, name: str) -> str:
        taken = {self._segments.GetSegment(one).GetName() for one in self._segments.GetSegmentIDs()}
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name} {number}"
        return free

    def _own_image(self, layer: SegmentLayers) -> None:
        """Makes the layers the images of the segments that are there already."""
        separate(self._segments, {one for one in self.segment_ids.values() if self._segments.GetSegment(one)})
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            if segment is not None:
                segment.SetLabelValue(value)
                segment.AddRepresentation(BINARY_LABELMAP, layer.of(value).image)

    def _whole_layer(self) -> SegmentLayers:
        """The layers, made again if the user's edits have meanwhile cropped, replaced or shared one."""
        layer = self._layer
        if layer is None:
            message = "Nothing was installed yet."  # no tr
            raise RuntimeError(message)
        own = {segment_id: layer.of(value).image for value, segment_id in self.segment_ids.items()}
        ours_elsewhere = foreign_segments = False
        for segment_id in self._segments.GetSegmentIDs():
            image = self._segments.GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP)
            ours_elsewhere |= segment_id in own and image is not own[segment_id]
            foreign_segments |= segment_id not in own and any(image is one for one in layer.images)
        if layer.is_intact and not ours_elsewhere and not foreign_segments:
            return layer
        fresh = SegmentLayers(self._shape, self.matrix, self._model.segments)
        fresh.clear()
        for value, segment_id in self.segment_ids.items():
            segment = self._segments.GetSegment(segment_id)
            content = None if segment is None else segment_mask_on_grid(segment, self._shape, self.matrix)
            if content is not None:
                fresh.of(value).array[content] = value
        self._layer = fresh
        self._own_image(fresh)
        return fresh

    def _notify_views(self) -> None:
        """Updates the views, without `image.Modified()`: that drops the surfaces of all segments, others' too."""
        if self._layer is not None:
            for image in self._layer.images:
                image.GetPointData().GetScalars().Modified()
        for segment_id in self.segment_ids.values():
            self._segments.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified, segment_id)


def _sign(segment: slicer.vtkSegment, axis: int, written: Mapping[int, int]) -> None:
    """Writes into a segment what was written on each slice, by its checksum."""
    set_tag(segment, WRITTEN, {"axis": axis, "slices": {str(number): crc for number, crc in sorted(written.items())}})


def check_segmentation(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Checks before a run whether masks can be written into a segmentation.

    Raises:
        AutoMedSAMError: If its segments are surfaces or the like.
    """
    segments = segmentation.GetSegmentation()
    if segments.GetNumberOfSegments() and segments.GetSourceRepresentationName() != BINARY_LABELMAP:
        message = _(
            "The segments of {segmentation} are not made of voxels; choose another output segmentation, or convert it "
            "to a binary label map in Segmentations."
        )
        raise AutoMedSAMError(message.format(segmentation=segmentation.GetName()))
