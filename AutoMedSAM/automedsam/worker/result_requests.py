"""Requests about results: Dice with a reference, and DICOM SEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.mask_agreement import dice
from automedsam.core.regrid import place_on
from automedsam.core.segmentation import Segment, Segmentation
from automedsam.core.volume import Volume, Voxels
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.seg_writer import DICOM_SUFFIX
from automedsam.io.segmentation_writer import check_output, write_segmentation
from automedsam.io.volume_reader import read_volume as read_files
from automedsam.measure.overlap import ReferenceSegment
from automedsam.pipeline.run import SegmentationRun
from automedsam.worker.channel import Send
from automedsam.worker.messages import read_volume

_GRAY = (0.5, 0.5, 0.5)


def answer_result_request(request: Mapping[str, Any], send: Send, run: SegmentationRun | None) -> None:
    """Works on a request about results to its last event.

    Args:
        request: "evaluate" or "export" of the protocol, checked.
        send: Sends an event.
        run: The last run, whose objects count if the labels are still what it made.

    Raises:
        AutoMedSAMError: If the user can correct what is wrong.
    """
    labels = _read_labels(request["labels"])
    objects = None if run is None else _objects_of(run, labels)
    if request["op"] == "evaluate":
        send("evaluated", id=request["id"], **_compare(request, labels, objects))
    else:
        send(
            "exported", id=request["id"], path=str(_export(request, labels, objects, None if objects is None else run))
        )


def _read_labels(fields: Mapping[str, Any]) -> Volume:
    volume = read_volume(fields)
    if volume.array.ndim != 3 or volume.array.dtype not in (np.uint8, np.uint16):
        message = f"The labels of {volume.name or 'the segmentation'} are no label map: export them again."
        raise AutoMedSAMError(message)
    return volume


def _objects_of(run: SegmentationRun, labels: Volume) -> NDArray[np.uint16] | None:
    """The objects of a run, where the labels show just these; None if they were edited or are of something else."""
    if not run.volume.same_grid(labels):
        return None
    objects = run.object_numbers()
    return objects if np.array_equal(objects > 0, labels.array > 0) else None


def _compare(request: Mapping[str, Any], labels: Volume, objects: NDArray[np.uint16] | None) -> dict[str, Any]:
    reference = _read_labels(request["reference"])
    name, other = labels.name or "The segmentation", reference.name or "the reference"
    truth = place_on(np.asarray(reference.array), reference, labels, other, name)
    pairs = _pairs(request["segments"], request["reference_segments"], other)
    found: dict[str, float] = {}
    of_objects: dict[str, float] = {}
    missed = 0
    for segment, value in pairs:
        mask, known = np.asarray(labels.array) == segment["value"], truth == value
        found[segment["name"]] = dice(mask, known)
        matched = ReferenceSegment(known)
        numbers = [] if objects is None else [int(number) for number in np.unique(objects[mask]) if number]
        for number in numbers:
            of_objects[str(number)] = matched.dice_of(mask & (objects == number))
        if objects is None:
            matched.dice_of(mask)
        missed += matched.missed
    return {"dice": found, "objects": of_objects, "missed": missed}


def _pairs(
    segments: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], reference: str
) -> list[tuple[Mapping[str, Any], int]]:
    """Each segment with the label value of its counterpart: that of its name; a single segment by itself."""
    if len(segments) == len(others) == 1:
        return [(segments[0], int(others[0]["value"]))]
    named = {other["name"]: int(other["value"]) for other in others}
    pairs = [(segment, named[segment["name"]]) for segment in segments if segment["name"] in named]
    if not pairs:
        wanted = ", ".join(segment["name"] for segment in segments)
        message = f"No segment of {reference} is named like one of the result ({wanted}): rename them."
        raise AutoMedSAMError(message)
    return pairs


def _export(
    request: Mapping[str, Any], labels: Volume, objects: NDArray[np.uint16] | None, run: SegmentationRun | None
) -> Path:
    output = Path(request["output"])
    if output.suffix.lower() != DICOM_SUFFIX:
        message = f"{output} is no name for a DICOM SEG: let it end in {DICOM_SUFFIX}."
        raise AutoMedSAMError(message)
    files = [Path(name) for name in request["files"]]
    check_output(output, inputs=files)
    # One file leads to all of its series.
    target = read_files(files[0], check_voxels=False)
    name, other = labels.name or "The segmentation", str(files[0])

    def placed(array: Voxels) -> Voxels:
        return place_on(np.asarray(array), labels, target, name, other)

    segments = [
        Segment(one["value"], one["name"], _color(one.get("color")), one.get("terminology", ""))
        for one in request["segments"]
    ]
    # Labels that are not those of the last run were edited by hand, or are of an earlier one.
    known = dict(request.get("provenance", {})) | {"prompts": {}} if run is None else run.result().provenance
    segmentation = Segmentation(
        placed(labels.array),
        target,
        segments,
        provenance=known,
        objects=None if objects is None else placed(objects),
    )
    write_segmentation(segmentation, output, seg_type=request.get("seg_type", "binary"))
    return output


def _color(color: Sequence[float] | None) -> tuple[float, float, float]:
    red, green, blue = color or _GRAY
    return float(red), float(green), float(blue)
