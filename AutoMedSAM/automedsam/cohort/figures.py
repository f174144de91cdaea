"""The figures of one case: volumes, diameters, objects, confidence, and Dice where there is a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.events import RunReport
from automedsam.core.mask_agreement import dice
from automedsam.core.segmentation import Segmentation
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.confidence import LOW_CONFIDENCE
from automedsam.pipeline.run import SegmentationRun


def figures_of(run: SegmentationRun, report: RunReport, result: Segmentation) -> dict[str, Any]:
    """The figures of a finished run, as JSON can hold them.

    `doubt` is 0 to 1: the mean over the slices of 1 minus their confidence, and 1 where nothing was found.
    """
    slices = run.confidence()
    mean = sum(one.confidence for one in slices) / len(slices) if slices else 0.0
    return {
        "volume_ml": {name: round(value, 6) for name, value in report.volume_ml.items()},
        "diameter_mm": diameters(result),
        "objects": report.objects,
        "slices": report.slices,
        "confidence": round(mean, 4) if slices else None,
        "lowest_confidence": round(min(one.confidence for one in slices), 4) if slices else None,
        "doubt": round(1 - mean, 4),
        "doubtful_slices": [one.index for one in slices if one.confidence < LOW_CONFIDENCE],
        "plane": run.plane.value,
        "peak_memory_mb": round(report.peak_memory_mb),
    }


def diameters(result: Segmentation) -> dict[str, float | None]:
    """The longest diameter of each segment in mm, within one slice of the run's plane; None where it is empty.

    It is measured between the centers of voxels, plus one voxel along the line, in each connected part on its own, as
    the longest diameter of RECIST 1.1 (Eisenhauer et al. 2009) is.
    """
    _, row_mm, column_mm = result.volume.frame_spacing(result.plane)
    frames = replace(result.volume, array=result.labels).to_frames(result.plane)[0]
    found: dict[str, float | None] = {}
    for segment in result.segments:
        longest = max((_longest(mask, row_mm, column_mm) for mask in frames == segment.value), default=0.0)
        found[segment.name] = round(longest, 2) if longest else None
    return found


def _longest(mask: NDArray[np.bool_], row_mm: float, column_mm: float) -> float:
    from scipy.ndimage import find_objects, label

    if not mask.any():
        return 0.0
    parts, _ = label(mask, np.ones((3, 3), int))
    longest = 0.0
    for number, window in enumerate(find_objects(parts), start=1):
        part = parts[window] == number
        rows, columns = part.shape
        if math.hypot(rows * row_mm, columns * column_mm) <= longest:
            continue
        # The ends of the longest line are the first or the last voxel of their rows.
        ends = [(row, column) for row in range(rows) for column in _ends(part[row])]
        points = np.asarray(ends, float) * (row_mm, column_mm)
        distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        one, other = np.unravel_index(int(distances.argmax()), distances.shape)
        distance = float(distances[one, other])
        down, across = np.abs(points[one] - points[other]) / distance if distance else (0.0, 1.0)
        longest = max(longest, distance + math.hypot(down * row_mm, across * column_mm))
    return longest


def _ends(row: NDArray[np.bool_]) -> Sequence[int]:
    places = np.flatnonzero(row)
    return (int(places[0]), int(places[-1])) if len(places) else ()


def dice_with(result: Segmentation, path: Path) -> dict[str, float]:
    """Dice of each segment with a reference label map, by name.

    A model of one segment is compared with all labels of the reference together.

    Raises:
        AutoMedSAMError: If the reference cannot be read or lies on another grid.
    """
    reference = read_volume(path, check_voxels=False)
    if reference.channels != 1 or not reference.same_grid(result.volume):
        message = f"The reference {path} lies on another grid than its image; resample it onto the image's grid."
        raise AutoMedSAMError(message)
    if len(result.segments) == 1:
        return {result.segments[0].name: round(dice(result.labels > 0, reference.array > 0), 4)}
    return {
        segment.name: round(dice(result.labels == segment.value, reference.array == segment.value), 4)
        for segment in result.segments
    }
