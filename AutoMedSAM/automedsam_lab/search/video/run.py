"""A study of the video part: search, its controls, and the winners of each trained alone under equal conditions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.torch_networks import load_model
from automedsam_lab.checkpoints.saving import save_checkpoint
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data.segmenter_clips import ClipSource
from automedsam_lab.models.starter_segmenter import build_trainable
from automedsam_lab.search.controls import RANDOM, SEARCHED
from automedsam_lab.search.differentiable import SearchSettings
from automedsam_lab.search.run import (
    ARCHITECTURE,
    CONTROL,
    WARMUP,
    WINNERS,
    Trained,
    restore_search,
    run_search,
    save_search,
    verdict,
)
from automedsam_lab.search.video.clips import VideoData
from automedsam_lab.search.video.differentiable import ARCHITECTURE as HELD_BACK
from automedsam_lab.search.video.differentiable import VideoSearch
from automedsam_lab.search.video.report import RESULT, write_video_report
from automedsam_lab.search.video.space import VideoChoice, VideoCosts, VideoSpace
from automedsam_lab.search.video.supernet import TRUNK
from automedsam_lab.training.options import RunOptions
from automedsam_lab.training.segmenter.clip_run import evaluate_clips
from automedsam_lab.training.segmenter.starter_recipe import Schedule, train_segmenter

LARGEST = "largest affordable"
CANDIDATES, _RANK_BATCHES, _RANK_STEP = 6, 3, 10_000_000


@dataclass(frozen=True)
class VideoStudySettings:
    """What is done besides the search itself.

    Attributes:
        search: the search's settings.
        final_steps: steps for which each winner is trained alone.
        final_batch: clips a step of that training.
        frames: of a clip.
    """

    search: SearchSettings
    final_steps: int = 150
    final_batch: int = 3
    frames: int = 6

    def schedule(self) -> Schedule:
        """How the winners are trained: single frames first, then clips as long as the search's."""
        return Schedule(
            steps=self.final_steps,
            learning_rate=5e-4,
            warmup_steps=max(1, self.final_steps // 10),
            image_share=0.3,
            image_batch=2 * self.final_batch,
            clip_batch=self.final_batch,
            clip_frames=self.frames,
            long_share=0.0,
            frozen_norm_share=1.1,
            log_every=25,
            validate_every=50,
        )


@dataclass(frozen=True)
class VideoCandidate:
    """A video part with what is known of it before it is trained alone.

    Attributes:
        origin: "search", "random" or "largest affordable".
        choice: the video part.
        cost: by the table.
        loss: with shared weights, on the patients that those were not trained on; lower is better.
    """

    origin: str
    choice: VideoChoice
    cost: float
    loss: float


def run_video_study(
    data: VideoData,
    costs: VideoCosts,
    out: Path,
    *,
    settings: VideoStudySettings,
    trunk: Mapping[str, Tensor] | None = None,
    resume: bool = False,
) -> list[Trained]:
    """Searches, runs the controls, trains the winners, and writes `video.json`, its report and `architecture.json`.

    Args:
        data: the clips.
        costs: of the space.
        out: the study's folder.
        settings: budgets.
        trunk: weights of the image encoder's trunk, random if None. All networks start from them, and random else.
        resume: go on from what is in the folder.

    Returns:
        The winners, best first; the first one's numbers are `architecture.json`.

    Raises:
        AutoMedSAMError: if there is nothing to resume from, there is a search that was not to be resumed, or nothing is
            affordable.
    """
    if not costs.affordable(settings.search.target):
        least = float(costs.values.min())
        message = f"No video part costs {settings.search.target:.3g} or less, the least is {least:.3g}: raise --target."
        raise AutoMedSAMError(message)
    task = VideoSearch(data, costs, settings.search, trunk, settings.frames)
    run_search(task, out, resume=resume)
    chosen = _winners(data, task, out, trunk)
    start = task.supernet.trunk()
    # The same video part may win twice; it is trained once.
    measured = {
        choice: train_alone(choice, data, costs.space, start, out / str(choice), settings)
        for choice in dict.fromkeys(one.choice for one in chosen)
    }
    trained = [
        Trained(one.origin, costs.space.student(one.choice, str(one.choice)), one.cost, one.loss, measured[one.choice])
        for one in chosen
    ]
    trained.sort(key=lambda one: -one.dice["validation"])
    trained[0].architecture.write(out / ARCHITECTURE)
    _write_result(trained, task, out, settings)
    write_video_report(out)
    return trained


def _winners(data: VideoData, task: VideoSearch, out: Path, trunk: Mapping[str, Tensor] | None) -> list[VideoCandidate]:
    """The best of the search and the controls; kept in a file, so that a resumed study ranks none again."""
    path = out / WINNERS
    if path.is_file():
        rows = json.loads(path.read_text("utf-8"))["winners"]
        return [VideoCandidate(**{**row, "choice": VideoChoice(*row["choice"])}) for row in rows]
    control = VideoSearch(data, task.costs, task.settings, trunk, task.frames)
    if (out / CONTROL).is_file():
        restore_search(control, out / CONTROL)
    else:
        restore_search(control, out / WARMUP)
        train_random(control, max(0.0, task.spent - control.spent))
        save_search(control, out / CONTROL)
    rng = np.random.default_rng(task.settings.seed + 2)
    largest = task.costs.affordable(task.settings.target)[0]
    found = [
        ranked(task, SEARCHED, drawn(task, rng, by_weights=True))[0],
        ranked(control, RANDOM, drawn(control, rng, by_weights=False))[0],
        ranked(control, LARGEST, [largest])[0],
    ]
    write_json({"winners": [{**asdict(one), "choice": list(one.choice)} for one in found]}, path)
    return found


def train_random(task: VideoSearch, seconds: float) -> None:
    """Goes on after the fair warm-up, each step with a random video part, for so much CPU time."""
    rng, end = np.random.default_rng(task.settings.seed + 1), task.spent + seconds
    choices = task.costs.space.choices
    while task.spent < end:
        began = time.process_time()
        task.train_weights(choices[int(rng.integers(len(choices)))])
        task.step += 1
        task.spent += time.process_time() - began


def drawn(
    task: VideoSearch, rng: np.random.Generator, *, by_weights: bool, count: int = CANDIDATES
) -> list[VideoChoice]:
    """Different affordable video parts, drawn by the architecture weights or uniformly; fewer where there are fewer."""
    space, affordable = task.costs.space, task.costs.affordable(task.settings.target)
    chance = np.ones(len(affordable))
    if by_weights:
        probabilities = [one.detach().double().numpy() for one in task.weights.probabilities()]
        places = [[one.index(n) for one, n in zip(space.options, choice, strict=True)] for choice in affordable]
        chance = np.array([np.prod([p[i] for p, i in zip(probabilities, place, strict=True)]) for place in places])
    count = min(count, len(affordable))
    chosen = rng.choice(len(affordable), count, replace=False, p=chance / chance.sum())
    return [affordable[int(index)] for index in chosen]


def ranked(task: VideoSearch, origin: str, choices: Sequence[VideoChoice]) -> list[VideoCandidate]:
    """Video parts by their loss with shared weights, on the patients that those did not learn from; best first."""
    batches = [task.clips(HELD_BACK, _RANK_STEP + place) for place in range(_RANK_BATCHES)]
    found = []
    with torch.no_grad():
        for choice in choices:
            loss = float(np.mean([float(task.loss(choice, clips)) for clips in batches]))
            found.append(VideoCandidate(origin, choice, task.costs.of(choice), loss))
    return sorted(found, key=lambda candidate: candidate.loss)


def train_alone(
    choice: VideoChoice,
    data: VideoData,
    space: VideoSpace,
    trunk: Mapping[str, Tensor],
    folder: Path,
    settings: VideoStudySettings,
) -> dict[str, float]:
    """Trains a video part on all training volumes, from the given trunk and else random weights.

    Returns:
        Mean Dice of propagated frames on the validation patients by set, their mean as "validation", and that of the
        prompted frames as "prompted".
    """
    architecture = space.network(choice)
    folder.mkdir(parents=True, exist_ok=True)
    begin, resume = folder / "initial.pt", (folder / "checkpoint.pt").is_file()
    if not resume:
        torch.manual_seed(settings.search.seed)
        weights = build_trainable(architecture).state_dict()
        weights.update({TRUNK + name: tensor for name, tensor in trunk.items()})
        save_checkpoint({"model": weights, "architecture": architecture.to_manifest()}, begin)
    path = train_segmenter(
        ClipSource(data.training, np.random.default_rng(settings.search.seed)),
        {},
        folder,
        schedule=settings.schedule(),
        architecture=architecture,
        options=RunOptions("cpu", resume, None if resume else begin),
    )
    model = load_model(path)[0]
    scores = {name: evaluate_clips(model, clips) for name, clips in data.validation.items()}
    dice = {name: propagated for name, (_, propagated) in scores.items()}
    means = {
        "validation": float(np.mean(list(dice.values()))),
        "prompted": float(np.mean([p for p, _ in scores.values()])),
    }
    return {**dice, **means}


def _write_result(trained: list[Trained], task: VideoSearch, out: Path, settings: VideoStudySettings) -> None:
    space, probabilities = task.costs.space, task.weights.probabilities()
    result: dict[str, Any] = {
        "verdict": verdict(trained),
        "machine": describe_machine(),
        "settings": {**asdict(settings.search), "minutes": min(settings.search.minutes, 1e9), "frames": task.frames},
        "final_steps": settings.final_steps,
        "unit": task.costs.unit,
        "cpu_minutes": task.spent / 60,
        "steps": task.step,
        "probabilities": {
            name: {str(option): round(float(p.detach()), 4) for option, p in zip(options, chances, strict=True)}
            for name, options, chances in zip(VideoChoice._fields, space.options, probabilities, strict=True)
        },
        "costs": {str(choice): round(task.costs.of(choice), 3) for choice in space.choices},
        "history": task.history[:: max(1, len(task.history) // 200)],
        "networks": [{**asdict(one), "architecture": one.architecture.to_json()} for one in trained],
    }
    write_json(result, out / RESULT)
