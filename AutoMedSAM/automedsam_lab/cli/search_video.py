"""`automedsam-lab search video`: the video part of a small segmenter, by a differentiable search with its controls."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from automedsam.errors import AutoMedSAMError
from automedsam_lab.cli.train import stoppable
from automedsam_lab.common.optional_dependencies import require


def video(
    out: Annotated[Path, typer.Option("--out", "-o", help="The study's folder.")],
    data: Annotated[Path, typer.Option(help="Folder that contains the datasets.")],
    latency: Annotated[
        Path | None,
        typer.Option(help="The latency table, a JSON file; what it lacks is measured.", show_default="in the folder"),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option(help="A student.pt of `train efficient`, whose encoder is used.", show_default="random weights"),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="A segmenter.pt or segmenter.safetensors, whose encoder is used.", show_default=False),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="The greatest cost of a propagated slice in ms.", show_default="that of the built-in segmenter"
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="CPU time of warm-up and search; the random search gets as much.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of warm-up and search, if not by time.")] = None,
    final_steps: Annotated[int, typer.Option(min=1, help="Steps for which each winner is trained alone.")] = 150,
    batch: Annotated[int, typer.Option(min=1, help="Clips a step.")] = 3,
    repeats: Annotated[int, typer.Option(min=3, help="Runs of each graph, the least of which counts.")] = 60,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in the folder.")] = False,
) -> None:
    """Search width, memory layers and memories of the video part, with its controls, round an encoder that stays.

    Writes architecture.json for `train efficient` and `train segmenter`, video.json, video.html and video.png.
    """
    with require("train", "The search"):
        from automedsam_lab.search.differentiable import SearchSettings
        from automedsam_lab.search.latency_table import CostTable
        from automedsam_lab.search.run import verdict
        from automedsam_lab.search.video.clips import VideoData
        from automedsam_lab.search.video.encoder import random_encoder, segmenter_encoder, student_encoder
        from automedsam_lab.search.video.run import VideoStudySettings, run_video_study
        from automedsam_lab.search.video.space import PRESENT, VideoCosts, VideoSpace
        from automedsam_lab.search.video.table import measure_video_table

    settings = SearchSettings(
        minutes=math.inf if minutes is None else minutes,
        steps=steps,
        target=1.0 if target is None else target,
        batch=batch,
        rate=5e-4,
        architecture_rate=0.1,
        bf16=False,
        seed=seed,
    )
    if student is not None and start_from is not None:
        message = "The encoder is of one network: give --student or --start-from, not both."
        raise AutoMedSAMError(message)
    encoder, trunk = random_encoder()
    if student is not None:
        encoder, trunk = student_encoder(student)
    elif start_from is not None:
        encoder, trunk = segmenter_encoder(start_from)
    space, table = VideoSpace(encoder=encoder), latency or out / "table.json"
    with stoppable(out):
        table.parent.mkdir(parents=True, exist_ok=True)
        measure_video_table(space, table, repeats=repeats)
        costs = VideoCosts(space, CostTable(table))
        study = VideoStudySettings(
            replace(settings, target=costs.of(PRESENT) if target is None else target), final_steps, final_batch=batch
        )
        clips = VideoData.read(data, space.image_size)
        trained = run_video_study(clips, costs, out, settings=study, trunk=trunk, resume=resume)
    typer.echo(verdict(trained))
    typer.echo(f"Written: {out / 'architecture.json'}")
