"""Milliseconds an image: slices run alone through a loaded model, without a prompt and with a true box.

In a volume a slice costs less than alone, since memory carries the object and slices without one are only detected
on; both figures are reported, and they are not the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.backends import Backend
from automedsam.core.boxes import Tracklet
from automedsam.core.events import Finished, Stage, StageStarted
from automedsam.pipeline.backends import LoadedModel, load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam.sam2.propagation import Prompt, Sam2Segmenter
from automedsam.tracking.crops import region_of_interest
from automedsam_lab.evaluation.mask_scores import NO_PROMPT, TRUE_BOX
from automedsam_lab.metrics.reference_boxes import tight_box

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam_lab.data.dataset import DatasetCase

_WARM_UP = 3


@dataclass(frozen=True)
class Speed:
    """How long an image takes.

    Attributes:
        images: how many were timed.
        mean_ms: milliseconds.
        median_ms: milliseconds.
        p95_ms: milliseconds, 95th percentile.
    """

    images: int
    mean_ms: float
    median_ms: float
    p95_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Speed | None:
        """From the seconds of each image; None without any."""
        if not len(seconds):
            return None
        ms = 1000 * np.asarray(seconds)
        return cls(len(ms), float(ms.mean()), float(np.median(ms)), float(np.percentile(ms, 95)))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def time_images(
    showing: Sequence[tuple[DatasetCase, Sequence[int]]],
    bundle: Bundle,
    backend: Backend,
    count: int,
    seed: int,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, Speed]:
    """Times slices that show something to find, each by itself; the model is loaded and warm.

    Args:
        showing: the cases, with the frames that show something.
        bundle: the model.
        backend: what computes.
        count: how many slices, drawn over all cases; all of them where there are fewer.
        seed: of the draw, so that every backend is timed on the same ones.
        on_done: called after each slice.

    Returns:
        By kind of prompt, "none" and, where there are masks to draw it around, "true box". From 8-bit grey levels in
        memory to the mask at native resolution; reading files is not counted.
    """
    engine = load_model(bundle, backend)
    seconds: dict[str, list[float]] = {NO_PROMPT: [], TRUE_BOX: []}
    repeats = _WARM_UP
    for subject, frames in _draw(showing, count, seed):
        loaded = subject.load()
        for frame in frames:
            run = SegmentationRun(loaded.volume, bundle, backend=backend, engine=engine, slices=(frame, frame))
            # The first slice pays for memory and caches that later ones find; it is run until it does no more.
            for _ in range(repeats):
                _automatic(run)
            repeats = 0
            seconds[NO_PROMPT].append(_automatic(run))
            if loaded.reference is not None:
                true = replace(loaded.volume, array=loaded.reference).to_frames(run.plane)[0][frame]
                seconds[TRUE_BOX].append(_prompted(run, engine, frame, true))
            on_done()
    speeds = {kind: Speed.of(values) for kind, values in seconds.items()}
    return {kind: speed for kind, speed in speeds.items() if speed is not None}


def _draw(
    showing: Sequence[tuple[DatasetCase, Sequence[int]]], count: int, seed: int
) -> list[tuple[DatasetCase, list[int]]]:
    every = [(number, frame) for number, (_, frames) in enumerate(showing) for frame in frames]
    chosen = np.random.default_rng(seed).permutation(len(every))[:count]
    drawn: dict[int, list[int]] = {}
    for number, frame in sorted(every[index] for index in chosen):
        drawn.setdefault(number, []).append(frame)
    return [(showing[number][0], frames) for number, frames in drawn.items()]


def _automatic(run: SegmentationRun) -> float:
    """Seconds of detecting and segmenting; the volume's grey levels and its report are not the slice's."""
    run = SegmentationRun(run.volume, run.bundle, backend=run.backend, engine=run.engine, slices=run.frames)
    began = ended = time.perf_counter()
    for event in run.events():
        if isinstance(event, StageStarted) and event.stage is Stage.DETECT:
            began = time.perf_counter()
        if not isinstance(event, Finished):
            ended = time.perf_counter()
    return ended - began


def _prompted(run: SegmentationRun, engine: LoadedModel, frame: int, true: NDArray[np.uint8]) -> float:
    """Seconds of segmenting each label of a slice from its true box."""
    labels = [int(label) for label in np.unique(true) if label]
    boxes = [tight_box(true == label, label) for label in labels]
    began = time.perf_counter()
    tracklets = [Tracklet(box.label, {frame: box}, frame) for box in boxes]
    region = region_of_interest(tracklets, run.bundle.tracking.fill, true.shape)
    segmenter = Sam2Segmenter(engine.networks, run.bundle.segmenter, run.slices, region)
    for box in boxes:
        segmenter.prompt(frame, box.label, Prompt(box=box))
        for _ in segmenter.propagate(box.label, frame, frame, frame):
            pass
    return time.perf_counter() - began
