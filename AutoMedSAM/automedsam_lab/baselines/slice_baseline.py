"""Baselines that look at slices: the engine's own frames go to their process, and label maps come back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines.process import Line, Worker, run_worker
from automedsam_lab.baselines.sampling import SliceSelection, sample
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.prediction_folder import GIVEN, RANDOM, Baseline, make_folder, write_baseline, write_labels
from automedsam_lab.metrics.reference_boxes import true_tracklet

if TYPE_CHECKING:
    from automedsam.core.volume import Volume

LOG = "baseline.log"
# What our own detectors see; their settings are not read, for that takes the packages of training.
PLANES = {builtin_tasks.HIPPOCAMPUS: Plane.SAGITTAL, builtin_tasks.GLIOMA: Plane.AXIAL}


@dataclass(frozen=True)
class SliceBaseline:
    """A baseline that segments slices.

    Attributes:
        name: as tables have it.
        worker: what runs it.
        licence: of the package and of its published weights.
        prompted: what it is told of the truth.
        sight: which slices it is shown.
        note: what a reader of the table has to know.
        settings: what its script needs besides the slices.
    """

    name: str
    worker: Worker
    licence: str
    prompted: str
    sight: SliceSelection
    note: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """One case as a baseline is shown it.

    Attributes:
        case: whose it is.
        volume: for the way back.
        plane: of the slices.
        chosen: the indices of the slices that are shown, in order.
    """

    case: builtin_tasks.Case
    volume: Volume
    plane: Plane
    chosen: tuple[int, ...]


def task_frames(case: builtin_tasks.Case, task: str) -> tuple[Volume, Plane, NDArray[np.uint8], NDArray[np.uint8]]:
    """A case as slices.

    Args:
        case: of the task.
        task: "hippocampus" or "glioma".

    Returns:
        The volume, the task's plane, and the slices and the task's labels, each `(N, H, W)` uint8 on that plane; the
        grey levels are what the engine feeds its own networks.

    Raises:
        AutoMedSAMError: if the case cannot be read.
    """
    from dataclasses import replace

    from automedsam.core.intensity import to_uint8

    volume, stored = builtin_tasks.load(case)
    plane = PLANES[task]
    slices = to_uint8(volume.to_frames(plane)[0])
    labels = replace(volume, array=builtin_tasks.task_labels(case, stored)).to_frames(plane)[0]
    return volume, plane, slices, labels


def predict(
    baseline: SliceBaseline,
    task: str,
    cases: Sequence[builtin_tasks.Case],
    out: Path,
    *,
    weights: Path | None = None,
    slices: int | None = None,
    device: str = "cpu",
    threads: int = 2,
    python: Path | None = None,
    files: dict[str, str] | None = None,
    on_done: Callable[[str, float], None] = lambda case, seconds: None,
) -> Baseline:
    """Runs a baseline on cases, and writes its folder.

    Args:
        baseline: what to run.
        task: "hippocampus" or "glioma".
        cases: to predict.
        out: the baseline's folder; made if absent. There are label maps in it only where weights are given and every
            slice was shown.
        weights: a checkpoint; without one the weights are random, for size and speed alone.
        slices: show at most so many, spread over the cases; all if None.
        device: "cpu" or "cuda".
        threads: that compute on a CPU.
        python: the interpreter that has the baseline's packages; this one if None.
        files: more paths for the script.
        on_done: is told each case and its seconds: preparing the slices, network and masks, not loading.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: if the weights are not there, a case cannot be read, the baseline fails, or `out` cannot be
            written.
    """
    if weights is not None and not weights.is_file():
        message = (
            f"There are no weights at {weights}: download them yourself and give their path (nothing is ever "
            "downloaded from here), or leave --weights out for size and speed with random ones."
        )
        raise AutoMedSAMError(message)
    make_folder(out)
    (out / LOG).unlink(missing_ok=True)
    done: dict[str, dict[str, float]] = {}

    def on_line(line: Line) -> None:
        if "done" in line:
            done[line["done"]] = {"seconds": line["seconds"], "images": line["images"]}
            on_done(line["done"], line["seconds"])

    with tempfile.TemporaryDirectory(prefix="automedsam-baseline-") as folder:
        prepared, entries = _write_cases(baseline.sight, task, cases, slices, Path(folder))
        job = {
            **baseline.settings,
            **(files or {}),
            "weights": None if weights is None else str(weights.resolve()),
            "device": device,
            "threads": threads,
            "seed": builtin_tasks.SPLIT_SEED,
            "cases": entries,
        }
        result = run_worker(baseline.worker, job, out / LOG, python=python, threads=threads, on_line=on_line)
        if weights is not None and slices is None:
            for one in prepared:
                _write_case(one, np.load(Path(folder) / f"{one.case.patient}.found.npy"), out)
    written = Baseline(
        name=baseline.name,
        version=str(result["version"]),
        licence=baseline.licence,
        prompted=baseline.prompted,
        weights=RANDOM if weights is None else GIVEN,
        size_mb=float(result["size_mb"]),
        machine=describe_machine() | result["ran_on"],
        cases=done,
        note=" ".join(
            _note(baseline.note, weights, slices, sum(int(found["images"]) for found in done.values()), threads)
        ),
    )
    write_baseline(written, out)
    return written


def _write_cases(
    sight: SliceSelection, task: str, cases: Sequence[builtin_tasks.Case], slices: int | None, folder: Path
) -> tuple[list[Prepared], dict[str, Any]]:
    """Writes the slices to show as `<case>.npy`; returns what is needed for the way back, and the job's entries."""
    shown: list[list[int]] = []
    seeds = []
    for case in cases:
        _, _, _, labels = task_frames(case, task)
        filled = np.flatnonzero(labels.any(axis=(1, 2))).tolist()
        shown.append(filled if sight is SliceSelection.BOXED else list(range(len(labels))))
        seeds.append(int(np.count_nonzero(labels, axis=(1, 2)).argmax()))
    picked = sample(sight, shown, seeds, slices)

    prepared, entries = [], {}
    for case, chosen in zip(cases, picked, strict=True):
        if not chosen:
            continue
        volume, plane, gray, labels = task_frames(case, task)
        np.save(folder / f"{case.patient}.npy", np.ascontiguousarray(gray[chosen]))
        entries[case.patient] = {
            "frames": str(folder / f"{case.patient}.npy"),
            "output": str(folder / f"{case.patient}.found.npy"),
            "boxes": true_boxes(labels[chosen], one_slice=sight is SliceSelection.VIDEO),
        }
        prepared.append(Prepared(case, volume, plane, tuple(chosen)))
    return prepared, entries


def true_boxes(labels: NDArray[np.uint8], *, one_slice: bool) -> dict[str, dict[str, list[float]]]:
    """The boxes that a perfect detector would draw.

    Args:
        labels: `(N, H, W)`, 0 outside.
        one_slice: on the slice where the label is the largest, and no other.

    Returns:
        By label and index of the slice, as JSON has keys: left, top, right and bottom in pixels, half-open.
    """
    boxes: dict[str, dict[str, list[float]]] = {}
    for label in (int(value) for value in np.unique(labels) if value):
        tracklet = true_tracklet(labels == label, label)
        boxes[str(label)] = {
            str(index): list(box.corners)
            for index, box in tracklet.boxes.items()
            if index == tracklet.seed or not one_slice
        }
    return boxes


def _write_case(prepared: Prepared, found: NDArray[np.uint8], out: Path) -> None:
    frames = np.zeros(prepared.volume.to_frames(prepared.plane).shape[1:], np.uint8)
    frames[list(prepared.chosen)] = found
    labels = prepared.volume.from_frames(frames, prepared.plane)
    write_labels(labels, prepared.volume, prepared.case.patient, out)


def _note(note: str, weights: Path | None, slices: int | None, images: int, threads: int) -> list[str]:
    said = [note, f"{threads} threads on a CPU, unless a GPU is named."]
    if weights is None:
        said.append("Random weights: size (of the parameters in float32) and speed alone, its masks mean nothing.")
    if slices is not None:
        said.append(f"Timed on {images} slices spread over the cases.")
    return said
