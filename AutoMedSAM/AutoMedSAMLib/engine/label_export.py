"""Segments as one label map on a volume's grid, in a file for the engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from AutoMedSAMLib.engine.shared_files import no_room
from AutoMedSAMLib.errors import AutoMedSAMError
from AutoMedSAMLib.scene.geometry import grid_of, ijk_to_segmentation, shape_of
from AutoMedSAMLib.scene.label_map import described, other_grid
from AutoMedSAMLib.scene.shared_labelmap import SegmentPlanes

_MAX_SEGMENTS = 255


class LabelExport:
    """Labels of segments, written in steps between which the event loop runs, without resampling.

    Segments are copied at once, which is quick: what is edited between the steps does not count.

    Args:
        segmentation: The segmentation.
        volume: Its grid is that of the labels.
        path: The file, a `.npy`: labels `(K, J, I)`.
        segments: The IDs of the segments wanted, which get labels from 1 in their order; all segments if None. Or a
            label for each ID: later ones are painted over earlier ones, and there may be none.

    Attributes:
        segments: For each segment "value", "name", "color" and "terminology".
        description: Path, name and grid, as the engine reads them.

    Raises:
        AutoMedSAMError: If a segment lies on another grid, or there is none where none were named.
    """

    def __init__(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        path: Path,
        segments: Sequence[str] | Mapping[str, int] | None = None,
    ) -> None:
        all_segments, name = segmentation.GetSegmentation(), segmentation.GetName()
        self._may_overlap = isinstance(segments, Mapping)
        values = segments if isinstance(segments, Mapping) else _numbered(all_segments, segments)
        if len(values) > _MAX_SEGMENTS or not (values or self._may_overlap):
            message = _("{segmentation} has {count} segments: choose one with 1 to 255.")
            raise AutoMedSAMError(message.format(segmentation=name, count=len(values)))
        self.path, self._name, self._shape = path, name, shape_of(volume)
        self.description: dict[str, Any] = {"path": str(path), "name": name, **grid_of(volume)}
        matrix = ijk_to_segmentation(volume, segmentation)
        wanted = [all_segments.GetSegment(one) for one in values]
        self.segments = [described(segment, value) for segment, value in zip(wanted, values.values(), strict=True)]
        copies: dict[str, NDArray[np.generic]] = {}
        self._planes = [SegmentPlanes(segment, self._shape, matrix, 0, copies) for segment in wanted]
        if not all(planes.is_on_grid and planes.holds_all() for planes in self._planes):
            raise AutoMedSAMError(other_grid(segmentation, volume))
        self._written = 0

    def write_chunk(self, seconds: float) -> bool:
        """Continues writing for about so long.

        Returns:
            Whether all is written.

        Raises:
            AutoMedSAMError: If segments overlap, or the disk does not take it.
        """
        until, count = time.perf_counter() + seconds, self._shape[0]
        if self._written == count:
            return True
        try:
            with self.path.open("ab") as file:
                if not self._written:
                    header = {"descr": np.dtype(np.uint8).str, "fortran_order": False, "shape": self._shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(self._next_slice())
                while self._written < count and time.perf_counter() < until:
                    file.write(self._next_slice())
        except OSError as error:
            raise no_room(error) from error
        if self._written == count:
            self._planes.clear()
        return self._written == count

    def _next_slice(self) -> bytes:
        labels = np.zeros(self._shape[1:], np.uint8)
        for segment, planes in zip(self.segments, self._planes, strict=True):
            mask = planes.plane(self._written)
            if not self._may_overlap and labels[mask].any():
                message = _("Segments of {segmentation} overlap ({name}): choose one without overlaps.")
                raise AutoMedSAMError(message.format(segmentation=self._name, name=segment["name"]))
            labels[mask] = segment["value"]
        self._written += 1
        return labels.tobytes()


def _numbered(segmentation: slicer.vtkSegmentation, ids: Sequence[str] | None) -> dict[str, int]:
    numbers = range(segmentation.GetNumberOfSegments())
    wanted = ids or [segmentation.GetNthSegmentID(number) for number in numbers]
    return {one: value for value, one in enumerate(wanted, 1)}
