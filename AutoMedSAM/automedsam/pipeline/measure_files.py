"""Measures of a label file of any program, with an image for intensities and a reference for Dice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.core.mask_agreement import dice
from automedsam.core.regrid import place_on
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.segmentation_reader import LabelFile, read_labels
from automedsam.io.volume_reader import read_volume
from automedsam.measure.objects import Measures, connected_objects, measure_numbered, whole_segment
from automedsam.measure.overlap import ReferenceSegment


@dataclass(frozen=True)
class FileMeasures:
    """The measures of a label file.

    Attributes:
        measures: For each segment its own, then those of its objects, the largest object first.
        missed: For each segment's name the connected pieces of its reference that no object overlaps; empty without a
            reference.
    """

    measures: list[Measures]
    missed: dict[str, int]


def measure_file(
    labels: Path, *, image: Path | None = None, reference: Path | None = None, plane: Plane | None = None
) -> FileMeasures:
    """Measure each segment of a label file and each connected piece (26 neighbors) of it.

    Args:
        labels: See `automedsam.io.segmentation_reader.read_labels`.
        image: A volume of one channel; gives mean and standard deviation of the intensities.
        reference: A label file; gives Dice. Segments are matched by name, else by label value; a single segment by
            itself. Its voxels must lie at the same points, in any order of axes.
        plane: In which diameters are measured; that of acquisition if None.

    Raises:
        AutoMedSAMError: If a file cannot be read, grids differ, or a segment has no counterpart in the reference.

    Example:
        >>> import numpy as np
        >>> from automedsam import Segment, Segmentation, write_segmentation
        >>> volume = read_volume("head.nii.gz")
        >>> labels = np.zeros(volume.shape, np.uint8)
        >>> labels[20:30, 60:80, 60:80] = 1
        >>> lesion = Segment(1, "Lesion", (1.0, 0.0, 0.0), "")
        >>> write_segmentation(Segmentation(labels, volume, [lesion]), "lesion.seg.nrrd")
        >>> [(one.segment, one.number, one.slices) for one in measure_file(Path("lesion.seg.nrrd")).measures]
        [('Lesion', None, (20, 29)), ('Lesion', 1, (20, 29))]
    """
    found = read_labels(labels)
    grid = found.grid
    if image is not None:
        # The image's grid decides: Slicer's files cover a part of it.
        volume = read_volume(image, 1, check_voxels=False)
        layers = [place_on(layer, grid, volume, str(labels), str(image)) for layer in found.layers]
        found = replace(found, layers=np.stack(layers), grid=replace(volume, array=layers[0]))
        grid = found.grid
    plane = plane or grid.default_plane()
    truth = None if reference is None else _Reference(read_labels(reference), reference, found, labels)
    measures: list[Measures] = []
    missed: dict[str, int] = {}
    for index, (segment, _) in enumerate(found.segments):
        mask = found.mask(index)
        pieces, count = connected_objects(mask)
        names = dict.fromkeys(range(1, count + 1), (segment.value, segment.name))
        objects = measure_numbered(pieces, names, grid, plane)
        whole = whole_segment(objects, mask, grid, plane, segment.value, segment.name)
        if truth is not None:
            known = truth.mask(index)
            matched = ReferenceSegment(known)
            objects = [replace(one, dice=matched.dice_of(pieces == number)) for number, one in enumerate(objects, 1)]
            whole = replace(whole, dice=dice(mask, known))
            missed[segment.name] = matched.missed
        if image is not None:
            objects = [_with_intensity(one, volume.array, pieces == number) for number, one in enumerate(objects, 1)]
            whole = _with_intensity(whole, volume.array, mask)
        measures += [whole, *objects]
    return FileMeasures(measures, missed)


class _Reference:
    def __init__(self, reference: LabelFile, path: Path, found: LabelFile, labels: Path) -> None:
        self._reference, self._path, self._labels = reference, path, labels
        self._grid: Volume = found.grid
        self._partners = [self._partner(found, index) for index in range(len(found.segments))]

    def mask(self, index: int) -> NDArray[np.bool_]:
        mask = self._reference.mask(self._partners[index])
        return place_on(mask, self._reference.grid, self._grid, str(self._path), str(self._labels))

    def _partner(self, found: LabelFile, index: int) -> int:
        segment = found.segments[index][0]
        others = [other for other, _ in self._reference.segments]
        if len(others) == len(found.segments) == 1:
            return 0
        for same in (
            [other.name == segment.name for other in others],
            [other.value == segment.value for other in others],
        ):
            if sum(same) == 1:
                return same.index(True)
        message = (
            f"{self._path} has no segment that is named {segment.name} or has its label {segment.value}: give a "
            "reference with the same segments."
        )
        raise AutoMedSAMError(message)


def _with_intensity(one: Measures, image: Voxels, mask: NDArray[np.bool_]) -> Measures:
    values = image[mask]
    if not len(values):
        return one
    return replace(one, mean=float(values.mean(dtype=np.float64)), deviation=float(values.std(dtype=np.float64)))
