"""What fewer memories cost in Dice and save in time: the same boxes, propagated with each number of them."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import fmean

import numpy as np

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.core.events import Finished
from automedsam.core.segmentation import mask_of
from automedsam.io.atomic import atomic_write
from automedsam.pipeline.backends import load_model
from automedsam.pipeline.run import SegmentationRun
from automedsam_lab.data.dataset import DatasetCase
from automedsam_lab.metrics.masks import dice


@dataclass(frozen=True)
class Point:
    """One case with one setting.

    Attributes:
        case: Name of the case.
        memories: how many a slice attends to.
        stride: slices from one to the next.
        dice: mean of the labels, without a prompt, 0 to 1.
        cpu_ms: CPU time of the segmentation, a segmented slice of an object, in ms.
    """

    case: str
    memories: int
    stride: int
    dice: float
    cpu_ms: float


def measure_memories(
    bundle: Bundle,
    cases: Sequence[DatasetCase],
    backend: Backend = Backend.INT8,
    strides: Sequence[int] = (1,),
) -> Iterator[list[Point]]:
    """Detects once a case, and propagates with 1, 2, ... memories, as many as the model was trained with.

    Yields:
        The points of each case by memories, the most first, then stride. A stride needs three memories to matter.
    """
    engine, most = load_model(bundle, backend), bundle.architecture.num_maskmem
    settings = [(count, stride) for count in range(most, 0, -1) for stride in strides if count > 2 or stride == 1]
    for case in cases:
        points = []
        volume, reference = case.load_with_masks()
        run = SegmentationRun(volume, bundle, backend=backend, engine=engine)
        for _ in run.detect():
            pass
        for memories, stride in settings:
            again = SegmentationRun(volume, bundle.with_memories(memories, stride), backend=backend, engine=engine)
            began = time.process_time()
            followed = _track(again, run)
            seconds = time.process_time() - began
            labels = again.result().labels
            masks = [[mask_of(one, bundle.inside, s.value) for one in (reference, labels)] for s in bundle.segments]
            score = fmean(dice(*pair) for pair in masks)
            points.append(Point(case.name, memories, stride, score, 1000 * seconds / max(1, followed)))
        yield points


def averages(points: Sequence[Point]) -> Iterator[Point]:
    """The mean over the cases of each setting."""
    settings = dict.fromkeys((point.memories, point.stride) for point in points)
    for memories, stride in settings:
        chosen = [point for point in points if (point.memories, point.stride) == (memories, stride)]
        yield Point("mean", memories, stride, fmean(p.dice for p in chosen), fmean(p.cpu_ms for p in chosen))


def write_points(points: Sequence[Point], path: Path) -> None:
    """A CSV with a line for each point.

    Raises:
        AutoMedSAMError: if it cannot be written.
    """
    with atomic_write(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)])
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


def plot_points(points: Sequence[Point], title: str, path: Path) -> None:
    """Mean Dice over mean time, a line for each stride."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="CPU ms a slice of an object", ylabel="mean Dice", title=title)
    means = sorted(averages(points), key=lambda point: (point.stride, point.memories))
    for stride, group in groupby(means, key=lambda point: point.stride):
        line = list(group)
        axes.plot([p.cpu_ms for p in line], [p.dice for p in line], marker="o", label=f"every {stride}. slice")
        for point in line:
            axes.annotate(str(point.memories), (point.cpu_ms, point.dice), xytext=(4, 4), textcoords="offset points")
    axes.legend(title="memories, the numbers, of")
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=120)


def _track(run: SegmentationRun, detected: SegmentationRun) -> int:
    """Propagates what another run detected; returns how many slices of objects were computed."""
    for event in run.propagate(detected.tracklets):
        if isinstance(event, Finished):
            return int(np.sum([len(followed.masks) for followed in run.tracker.objects]))
    return 0
