"""One case through one backend, without a prompt and with true ones, held against its labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.backends import Backend, open_engine
from automedsam.events import Finished, RunReport
from automedsam.pipeline import Run
from automedsam_lab.machine import forget_peak_memory
from automedsam_lab.metrics import dice, hd95, iou, score_lesions
from automedsam_lab.prompted import score_prompted

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.segmentation import Segmentation
    from automedsam.volume import Volume


@dataclass(frozen=True)
class Row:
    """One label of one case by one backend; see `automedsam_lab.metrics` for empty masks.

    Attributes:
        case: the patient.
        backend: what computed.
        label: the segment's name.
        dice: of the automatic result, 0 to 1.
        iou: of the automatic result, 0 to 1.
        hd95_mm: 95th percentile Hausdorff distance of the automatic result in mm.
        truth_ml: volume of the truth in millilitres.
        found_ml: volume of the automatic result in millilitres.
        lesions: lesions of the truth that count.
        lesion_recall: the share of them that the automatic mask touches; NaN if there are none.
        box_recall: the share of them that an accepted tracklet's box touches; NaN if there are none.
        false_positives: lesions of the automatic mask that touch no truth.
        false_tracklets: accepted tracklets that touch no truth.
        prompted_dice: of the whole volume from the true box on one slice; NaN without truth, as the next two.
        prompted_slice_dice: of that slice alone.
        boxes_dice: of the whole volume from the true boxes on all slices.
        slices: slices of the volume; this and what follows are the same for all labels of a case.
        seconds: wall time of the automatic run, loading included.
        ms_per_slice: that time over the slices, in ms.
        load_ms: loading the bundle, over the slices.
        detect_ms: detecting, over the slices.
        link_ms: linking, over the slices.
        segment_ms: segmenting, over the slices.
        peak_memory_mb: the most that the evaluating process had in RAM during the automatic run.
    """

    case: str
    backend: str
    label: str
    dice: float
    iou: float
    hd95_mm: float
    truth_ml: float
    found_ml: float
    lesions: int
    lesion_recall: float
    box_recall: float
    false_positives: int
    false_tracklets: int
    prompted_dice: float
    prompted_slice_dice: float
    boxes_dice: float
    slices: int
    seconds: float
    ms_per_slice: float
    load_ms: float
    detect_ms: float
    link_ms: float
    segment_ms: float
    peak_memory_mb: float


def evaluate_case(
    name: str, volume: Volume, truth: NDArray[np.uint8], bundle: Bundle, backend: Backend
) -> tuple[list[Row], Segmentation]:
    """Runs one case and scores it on the frames of the run's plane, where the voxels are those of the volume.

    Args:
        name: the patient.
        volume: what the bundle takes.
        truth: `(K, J, I)`, the values of the bundle's segments, 0 outside.
        bundle: the model.
        backend: what computes.

    Returns:
        A row for each of the bundle's segments, and the automatic result.

    Raises:
        AutoMedSAMError: if the bundle and the volume do not go together, or the backend cannot run.
    """
    forget_peak_memory()
    run = Run(volume, bundle, backend=backend)
    report = RunReport()
    for event in run.events():
        if isinstance(event, Finished):
            report = event.report
    segmentation = run.result()

    parts = open_engine(bundle, backend).parts
    true_frames = replace(volume, array=truth).to_frames(run.plane)[0]
    found_frames = replace(volume, array=segmentation.labels).to_frames(run.plane)[0]
    spacing, voxel_ml = volume.frame_spacing(run.plane), volume.voxel_volume_ml
    rows = []
    for segment in bundle.segments:
        true, found = true_frames == segment.value, found_frames == segment.value
        tracklets = [tracklet for tracklet in run.tracklets if tracklet.label == segment.value]
        lesions = score_lesions(true, found, tracklets, voxel_ml)
        prompted = score_prompted(run, parts, true, segment.value)
        row = Row(
            case=name,
            backend=backend.value,
            label=segment.name,
            dice=dice(true, found),
            iou=iou(true, found),
            hd95_mm=hd95(true, found, spacing),
            truth_ml=np.count_nonzero(true) * voxel_ml,
            found_ml=np.count_nonzero(found) * voxel_ml,
            lesions=lesions.lesions,
            lesion_recall=lesions.recall,
            box_recall=lesions.box_recall,
            false_positives=lesions.false_masks,
            false_tracklets=lesions.false_tracklets,
            prompted_dice=prompted.volume,
            prompted_slice_dice=prompted.seed_slice,
            boxes_dice=prompted.all_boxes,
            slices=report.slices,
            seconds=math.fsum(report.seconds.values()),
            ms_per_slice=1000 * math.fsum(report.seconds.values()) / report.slices,
            load_ms=_stage_ms(report, "load"),
            detect_ms=_stage_ms(report, "detect"),
            link_ms=_stage_ms(report, "link"),
            segment_ms=_stage_ms(report, "segment"),
            peak_memory_mb=report.peak_memory_mb,
        )
        rows.append(row)
    return rows, segmentation


def _stage_ms(report: RunReport, stage: str) -> float:
    return 1000 * report.seconds[stage] / report.slices
