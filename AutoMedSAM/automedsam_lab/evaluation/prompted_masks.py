"""What the segmenter does with boxes that are right: the half of the result that is not the detector's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.boxes import Box, Tracklet
from automedsam.sam2.propagation import Prompt, Sam2Segmenter
from automedsam.tracking.crops import region_of_interest
from automedsam_lab.metrics.masks import Mask
from automedsam_lab.metrics.reference_boxes import true_tracklet

if TYPE_CHECKING:
    from automedsam.pipeline.run import SegmentationRun
    from automedsam.sam2.networks import Sam2Networks


@dataclass(frozen=True, eq=False)
class PromptedMasks:
    """What the segmenter makes of one label with prompts from the reference, each `(N, H, W)` on the run's frames.

    Attributes:
        seed: the slice where the label is the largest.
        one_box: from the true box on that slice alone.
        jittered: from the jittered box on that slice alone.
        all_boxes: from the true box on every slice.
    """

    seed: int
    one_box: Mask
    jittered: Mask
    all_boxes: Mask


def prompted_masks(
    run: SegmentationRun, parts: Sam2Networks, reference: Mask, label: int, jitter: Callable[[Box], Box]
) -> PromptedMasks | None:
    """Prompts the segmenter with the reference of one label, and follows it as far as a run would.

    Args:
        run: names the volume and the bundle; it need not have been run.
        parts: the segmenter's networks.
        reference: `(N, H, W)` on the run's frames.
        label: the label's value.
        jitter: makes of the true box one as a reader draws it.

    Returns:
        The masks; None if the label is not in the reference.
    """
    if not reference.any():
        return None
    every = true_tracklet(reference, label)
    box = every.boxes[every.seed]
    one, shaken = (Tracklet(label, {every.seed: drawn}, every.seed) for drawn in (box, jitter(box)))
    return PromptedMasks(
        every.seed,
        one_box=_track(run, parts, one, every),
        jittered=_track(run, parts, shaken, every),
        all_boxes=_track(run, parts, every, every),
    )


def _track(run: SegmentationRun, parts: Sam2Networks, prompts: Tracklet, extent: Tracklet) -> Mask:
    """The mask `(N, H, W)` from the boxes of `prompts`, propagated a run's reach beyond `extent`."""
    tracking = run.bundle.tracking
    height, width = run.slices.shape[1:]
    region = region_of_interest([prompts], tracking.fill, (height, width))
    segmenter = Sam2Segmenter(parts, run.bundle.segmenter, run.slices, region)
    for index, box in prompts.boxes.items():
        segmenter.prompt(index, prompts.label, Prompt(box=box))
    beyond = round(tracking.reach_mm / run.spacing)
    first, last = max(0, extent.first - beyond), min(len(run.slices) - 1, extent.last + beyond)
    mask = np.zeros(run.slices.shape, dtype=np.bool_)
    for index, logits in segmenter.propagate(prompts.label, prompts.seed, first, last):
        mask[index] = logits > 0
    return mask
