"""One case through one backend, without a prompt and with true ones, held against its labels."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.backends import Backend
from automedsam.core.boxes import Box
from automedsam.core.events import Finished, RunReport
from automedsam.core.segmentation import mask_of
from automedsam.errors import AutoMedSAMError
from automedsam.pipeline.backends import load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam_lab.common.system_info import forget_peak_memory
from automedsam_lab.evaluation.mask_scores import JITTERED_BOX, NO_PROMPT, TRUE_BOX, MaskScores, MethodRow, score_mask
from automedsam_lab.evaluation.prompted_masks import PromptedMasks, prompted_masks
from automedsam_lab.evaluation.settings import EvaluationSettings
from automedsam_lab.metrics.box_agreement import BoxRule, SliceBoxes, jittered, mean_box_iou, slice_boxes, true_boxes
from automedsam_lab.metrics.lesions import score_lesions
from automedsam_lab.metrics.masks import dice

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.segmentation import Segment, Segmentation
    from automedsam.core.volume import Volume
    from automedsam_lab.data.dataset import DatasetCase, LoadedCase


@dataclass(frozen=True)
class CaseScores:
    """One label of one case by one backend; see `automedsam_lab.metrics.masks` for empty masks.

    Attributes:
        case: the case, by the patient's name where that has but one.
        backend: what computed.
        label: the segment's name.
        dice: of the automatic result, 0 to 1.
        iou: of the automatic result, 0 to 1.
        hd95_mm: 95th percentile Hausdorff distance of the automatic result in mm.
        truth_ml: volume of the reference in millilitres.
        found_ml: volume of the automatic result in millilitres.
        lesions: lesions of the reference that count.
        lesion_recall: the share of them that the automatic mask touches; NaN if there are none.
        box_recall: the share of them that an accepted tracklet's box touches; NaN if there are none.
        false_positives: lesions of the automatic mask without a voxel in the reference.
        false_tracklets: accepted tracklets without a pixel in the reference.
        prompted_dice: of the whole volume from the true box on one slice; NaN without reference, as the next two.
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
        patient: whose case it is.
        nsd: normalised surface Dice of the automatic result at the evaluation's tolerance, 0 to 1.
        box_iou: the mean IoU of the true boxes with the accepted boxes; NaN without true boxes.
        jittered_dice: of the whole volume from the jittered box on one slice; NaN without reference, as the next two.
        consistency: Dice between the automatic mask and that from the true box on one slice.
        jittered_consistency: Dice between the automatic mask and that from the jittered box.
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
    false_positives: float
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
    patient: str
    nsd: float
    box_iou: float
    jittered_dice: float
    consistency: float
    jittered_consistency: float


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What came of one case by one backend.

    Attributes:
        rows: one a label.
        methods: one a label and kind of prompt; none where the case has boxes alone.
        boxes: the detector's boxes beside the true ones.
    """

    rows: list[CaseScores]
    methods: list[MethodRow]
    boxes: SliceBoxes


def method_name(backend: Backend, prompt: str = NO_PROMPT) -> str:
    """The name of our own method in tables, by backend and kind of prompt."""
    called = backend.label
    return f"AutoMedSAM {called}" + ("" if prompt == NO_PROMPT else f", {prompt}")


def evaluate_case(
    case: DatasetCase,
    loaded: LoadedCase,
    bundle: Bundle,
    backend: Backend,
    settings: EvaluationSettings | None = None,
) -> tuple[CaseResult, Segmentation]:
    """Runs one case and scores it on the frames of the run's plane, where the voxels are those of the volume.

    Args:
        case: The case.
        loaded: Its volume, and its reference with the values of the bundle's segments, 0 outside.
        bundle: The model.
        backend: The backend.
        settings: Tolerance, jitter and seed; the defaults if None.

    Returns:
        The scores, and the automatic result.

    Raises:
        AutoMedSAMError: The case has no masks, the bundle and the volume do not fit, or the backend cannot run.
    """
    if loaded.reference is None:
        message = f"The case {case.name} has boxes but no masks, so its segmentation cannot be scored."
        raise AutoMedSAMError(message)
    settings, name, patient, volume = settings or EvaluationSettings(), case.name, case.patient, loaded.volume
    run, report = _run(volume, bundle, backend)
    segmentation = run.result()
    parts = load_model(bundle, backend).networks
    reference_frames = replace(volume, array=loaded.reference).to_frames(run.plane)[0]
    prediction_frames = replace(volume, array=segmentation.labels).to_frames(run.plane)[0]
    spacing, voxel_ml = volume.frame_spacing(run.plane), volume.voxel_volume_ml
    labels = [segment.value for segment in bundle.segments]
    reference_boxes = true_boxes(reference_frames, labels, BoxRule.of(bundle), bundle.inside)

    rows: list[CaseScores] = []
    methods: list[MethodRow] = []
    for segment in bundle.segments:
        reference, prediction = (
            mask_of(frames, bundle.inside, segment.value) for frames in (reference_frames, prediction_frames)
        )

        def jitter(box: Box, segment: Segment = segment) -> Box:
            # The same box for every backend, whatever else was drawn before.
            rng = np.random.default_rng([settings.seed, zlib.crc32(f"{name}/{segment.name}".encode())])
            return jittered(box, run.slices.shape[1:3], rng, settings.jitter, settings.jitter_pixels)

        prompted = prompted_masks(run, parts, reference, segment.value, jitter)
        masks = {NO_PROMPT: prediction}
        if prompted is not None:
            masks |= {TRUE_BOX: prompted.one_box, JITTERED_BOX: prompted.jittered}
        scores = {
            prompt: score_mask(reference, mask, spacing, voxel_ml, settings.tolerance_mm)
            for prompt, mask in masks.items()
        }
        agreed = {prompt: dice(prediction, mask) for prompt, mask in masks.items() if prompt != NO_PROMPT}
        methods += [
            MethodRow(method_name(backend, prompt), name, patient, segment.name, scored, agreed.get(prompt, math.nan))
            for prompt, scored in scores.items()
        ]
        tracklets = [tracklet for tracklet in run.tracklets if tracklet.label == segment.value]
        lesions = score_lesions(reference, prediction, tracklets, voxel_ml)
        row = CaseScores(
            case=name,
            backend=backend.value,
            label=segment.name,
            **_automatic(scores[NO_PROMPT]),
            box_recall=lesions.box_recall,
            false_tracklets=lesions.false_tracklets,
            **_with_prompts(prompted, reference, scores, agreed),
            **_cost(report),
            patient=patient,
            box_iou=mean_box_iou(tracklets, reference_boxes, segment.value),
        )
        rows.append(row)
    return CaseResult(rows, methods, slice_boxes(patient, run.detections, reference_boxes)), segmentation


def evaluate_boxes_alone(
    case: DatasetCase, loaded: LoadedCase, bundle: Bundle, backend: Backend
) -> tuple[CaseResult, Segmentation]:
    """Runs one case that has boxes and no masks: only scores of boxes and time are defined.

    Args:
        case: The case.
        loaded: Its volume, and the boxes of every frame that was annotated, in its pixels.
        bundle: The model.
        backend: The backend.

    Returns:
        The scores, and the automatic result.

    Raises:
        AutoMedSAMError: As `evaluate_case`.
    """
    run, report = _run(loaded.volume, bundle, backend)
    reference, patient = loaded.boxes or {}, case.patient
    of_masks: dict[str, Any] = dict.fromkeys(
        ("dice", "iou", "nsd", "hd95_mm", "truth_ml", "found_ml", "lesion_recall", "false_positives"), math.nan
    )
    rows = []
    for segment in bundle.segments:
        tracklets = [tracklet for tracklet in run.tracklets if tracklet.label == segment.value]
        given = [(index, box) for tracklet in tracklets for index, box in tracklet.boxes.items()]
        real = [(index, box) for index, boxes in reference.items() for box in boxes if box.label == segment.value]
        hit = sum(any(at == index and box.iou(reference_box) > 0 for at, box in given) for index, reference_box in real)
        false = sum(
            not any(
                at == index and box.iou(reference_box) > 0
                for at, box in tracklet.boxes.items()
                for index, reference_box in real
            )
            for tracklet in tracklets
        )
        row = CaseScores(
            case=case.name,
            backend=backend.value,
            label=segment.name,
            **of_masks,
            lesions=len(real),
            box_recall=hit / len(real) if real else math.nan,
            false_tracklets=false,
            **_with_prompts(None, np.zeros(0, np.bool_), {}, {}),
            **_cost(report),
            patient=patient,
            box_iou=mean_box_iou(tracklets, reference, segment.value),
        )
        rows.append(row)
    return CaseResult(rows, [], slice_boxes(patient, run.detections, reference)), run.result()


def _run(volume: Volume, bundle: Bundle, backend: Backend) -> tuple[SegmentationRun, RunReport]:
    forget_peak_memory()
    run = SegmentationRun(volume, bundle, backend=backend)
    report = RunReport()
    for event in run.events():
        if isinstance(event, Finished):
            report = event.report
    return run, report


def _automatic(scores: MaskScores) -> dict[str, Any]:
    return {
        "dice": scores.dice,
        "iou": scores.iou,
        "nsd": scores.nsd,
        "hd95_mm": scores.hd95_mm,
        "truth_ml": scores.truth_ml,
        "found_ml": scores.found_ml,
        "lesions": scores.lesions,
        "lesion_recall": scores.lesion_recall,
        "false_positives": scores.false_positives,
    }


def _with_prompts(
    prompted: PromptedMasks | None,
    reference: NDArray[np.bool_],
    scores: Mapping[str, MaskScores],
    agreed: Mapping[str, float],
) -> dict[str, Any]:
    if prompted is None:
        names = ("prompted_dice", "prompted_slice_dice", "boxes_dice", "jittered_dice", "consistency")
        return dict.fromkeys((*names, "jittered_consistency"), math.nan)
    return {
        "prompted_dice": scores[TRUE_BOX].dice,
        "prompted_slice_dice": dice(reference[prompted.seed], prompted.one_box[prompted.seed]),
        "boxes_dice": dice(reference, prompted.all_boxes),
        "jittered_dice": scores[JITTERED_BOX].dice,
        "consistency": agreed[TRUE_BOX],
        "jittered_consistency": agreed[JITTERED_BOX],
    }


def _cost(report: RunReport) -> dict[str, Any]:
    seconds = math.fsum(report.seconds.values())
    return {
        "slices": report.slices,
        "seconds": seconds,
        "ms_per_slice": 1000 * seconds / report.slices,
        **{f"{stage}_ms": 1000 * report.seconds[stage] / report.slices for stage in ("load", "detect", "link")},
        "segment_ms": 1000 * report.seconds["segment"] / report.slices,
        "peak_memory_mb": report.peak_memory_mb,
    }
