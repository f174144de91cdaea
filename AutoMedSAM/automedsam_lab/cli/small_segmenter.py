"""Training of the small segmenters, for `automedsam-lab train segmenter`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require

# Of each set, and of fewer frames than the default, or a validation would take longer than what it watches.
UNIVERSAL_VALIDATION = {"frames": 4, "count": 4}
TRACKING_VALIDATION = {"frames": 8, "count": 12}
TRACKING_VALIDATION_SETS = ("hippocampus", "glioma_flair", "glioma_t1c", "kvasir", "acdc", "jsrt")


class SmallRecipe(str, Enum):
    """How a small segmenter is trained."""

    STARTER = "starter"
    """From scratch, as for the starter bundles of 0.1 and 0.2."""
    UNIVERSAL = "universal"
    """On all sets, with a distilled encoder."""
    TRACKING = "universal-tracking"
    """The universal one again, on longer clips."""


@dataclass(frozen=True)
class SmallSegmenter:
    """What is trained.

    Attributes:
        data: the folder of datasets.
        out: the run's folder.
        recipe: how.
        student: `student.pt`, for the universal one.
        architecture: the JSON file of a search, for the universal one.
    """

    data: Path
    out: Path
    recipe: SmallRecipe
    student: Path | None
    architecture: Path | None = None


def train_small_segmenter(
    plan: SmallSegmenter, schedule: Mapping[str, Any], device: str, resume: bool, start_from: Path | None
) -> None:
    """Trains, and prints where the weights are.

    Args:
        plan: what.
        schedule: "steps" and "minutes", if given.
        device: where.
        resume: go on from the checkpoint in the run's folder.
        start_from: `segmenter.pt` of another run.

    Raises:
        AutoMedSAMError: if a file is missing or is not what it should be.
    """
    with require("train", "Training the segmenter"):
        from automedsam_lab.cli.train import check_device, stoppable
        from automedsam_lab.data.segmenter_clips import training_clips, validation_clips
        from automedsam_lab.data.sets.clip_sets import STARTER_SHARES, TRACKING_SHARES, UNIVERSAL_SHARES
        from automedsam_lab.models.starter_segmenter import STARTER
        from automedsam_lab.models.student.architecture import StudentArchitecture
        from automedsam_lab.models.universal_segmenter import write_initial_weights
        from automedsam_lab.training.options import RunOptions
        from automedsam_lab.training.segmenter.starter_recipe import (
            Schedule,
            tracking_schedule,
            train_segmenter,
            universal_schedule,
        )

    check_device(device)
    for path, wanted in ((start_from, "segmenter.pt of another run"), (plan.student, "student.pt of train efficient")):
        if path is not None and not path.is_file():
            message = f"There are no weights to start from at {path}: name a {wanted}."
            raise AutoMedSAMError(message)
    architecture, validation, shares, times = STARTER, {}, STARTER_SHARES, Schedule(**schedule)
    watched = None
    if plan.recipe is SmallRecipe.UNIVERSAL:
        validation, shares, times = UNIVERSAL_VALIDATION, UNIVERSAL_SHARES, universal_schedule(**schedule)
        begin = plan.out / "initial.pt"
        searched = None if plan.architecture is None else StudentArchitecture.read(plan.architecture)
        architecture = write_initial_weights(plan.student, start_from, begin, searched)
        start_from = begin
    elif plan.recipe is SmallRecipe.TRACKING:
        from automedsam.sam2.torch_networks import load_model

        if start_from is None:
            message = "The recipe universal-tracking needs --start-from: the segmenter.pt of the recipe universal."
            raise AutoMedSAMError(message)
        validation, shares, times = TRACKING_VALIDATION, TRACKING_SHARES, tracking_schedule(**schedule)
        watched = {name: shares[name] for name in TRACKING_VALIDATION_SETS}
        architecture = load_model(start_from)[1]
    with stoppable(plan.out):
        weights = train_segmenter(
            training_clips(plan.data, shares),
            validation_clips(plan.data, architecture.image_size, shares=watched or shares, **validation),
            plan.out,
            schedule=times,
            architecture=architecture,
            options=RunOptions(device, resume, None if resume else start_from),
        )
    typer.echo(f"Written: {weights}")
