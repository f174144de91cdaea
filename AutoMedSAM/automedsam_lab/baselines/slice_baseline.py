"""Baselines that segment slices: the engine's frames go to their process, and label maps come back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines.process import Line, RunSettings, Worker, run_worker
from automedsam_lab.baselines.sampling import SliceSelection, sample
from automedsam_lab.common.system_info import describe_machine
from automedsam_lab.data.builtin_tasks import SPLIT_SEED
from automedsam_lab.data.dataset import DatasetCase
from automedsam_lab.data.prediction_folder import Baseline, CaseCost, make_folder, write_baseline, write_labels
from automedsam_lab.metrics.reference_boxes import true_tracklet

if TYPE_CHECKING:
    from automedsam.core.volume import Plane, Volume

LOG = "baseline.log"


@dataclass(frozen=True)
class SliceBaseline:
    """A baseline that segments slices.

    Attributes:
        name: as tables have it.
        worker: what runs it.
        license: of the package and of its published weights.
        prompted: the prompt that it is given from the reference.
        selection: which slices it is shown.
        note: what a reader of the table has to know.
        settings: what its script needs besides the slices.
    """

    name: str
    worker: Worker
    license: str
    prompted: str
    selection: SliceSelection
    note: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SliceSettings(RunSettings):
    """How a slice baseline runs.

    Attributes:
        weights: A checkpoint; without one the weights are random, for size and speed only.
        slices: Only time this many slices, spread over the cases, without writing masks; all if None.
    """

    weights: Path | None = None
    slices: int | None = None


@dataclass(frozen=True)
class _ShownCase:
    """A case as a baseline is shown it: its name, its volume and plane for the way back, and the slices in order."""

    name: str
    volume: Volume
    plane: Plane
    slices: tuple[int, ...]


def predict(
    baseline: SliceBaseline,
    cases: Sequence[DatasetCase],
    out: Path,
    settings: SliceSettings | None = None,
    *,
    files: dict[str, str] | None = None,
    on_done: Callable[[str, float], None] = lambda case, seconds: None,
) -> Baseline:
    """Runs a baseline on cases, and writes its folder.

    Args:
        baseline: The baseline.
        cases: The cases; all need masks, which prompt the baseline or select its slices.
        out: The folder of the baseline; made if absent. It gets label maps only if weights are given and every slice
            was shown.
        settings: Weights, slices, device; the defaults if None.
        files: More paths for the script.
        on_done: Called with each case and its seconds: preparing the slices, network and masks, not loading.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: There are no weights at the path, a case cannot be read, the baseline fails, or `out` cannot be
            written.
    """
    settings = settings or SliceSettings()
    weights, slices = settings.weights, settings.slices
    if weights is not None and not weights.is_file():
        message = (
            f"There are no weights at {weights}: download them yourself and give their path (nothing is ever "
            "downloaded from here), or leave --weights out for size and speed with random ones."
        )
        raise AutoMedSAMError(message)
    make_folder(out)
    (out / LOG).unlink(missing_ok=True)
    done: dict[str, CaseCost] = {}

    def on_line(line: Line) -> None:
        if "done" in line:
            done[line["done"]] = {"seconds": line["seconds"], "images": line["images"]}
            on_done(line["done"], line["seconds"])

    with tempfile.TemporaryDirectory(prefix="automedsam-baseline-") as folder:
        shown, entries = _write_cases(baseline.selection, cases, slices, Path(folder))
        job = {
            **baseline.settings,
            **(files or {}),
            "weights": None if weights is None else str(weights.resolve()),
            "device": settings.device,
            "threads": settings.threads,
            "seed": SPLIT_SEED,
            "cases": entries,
        }
        result = run_worker(
            baseline.worker, job, out / LOG, python=settings.python, threads=settings.threads, on_line=on_line
        )
        if weights is not None and slices is None:
            for case in shown:
                _write_case(case, Path(folder), out)
    written = Baseline(
        name=baseline.name,
        version=str(result["version"]),
        license=baseline.license,
        prompted=baseline.prompted,
        weights="random" if weights is None else "given",
        size_mb=float(result["size_mb"]),
        machine=describe_machine() | result["ran_on"],
        cases=done,
        note=" ".join(_note(baseline.note, settings, sum(found["images"] for found in done.values()))),
    )
    write_baseline(written, out)
    return written


def _write_cases(
    selection: SliceSelection, cases: Sequence[DatasetCase], slices: int | None, folder: Path
) -> tuple[list[_ShownCase], dict[str, Any]]:
    """Writes the slices to show as `<case>.npy`; returns what is needed for the way back, and the job's entries."""
    candidates: list[list[int]] = []
    seeds = []
    for case in cases:
        labels = case.load_frames().labels
        filled = np.flatnonzero(labels.any(axis=(1, 2))).tolist()
        candidates.append(filled if selection is SliceSelection.BOXED else list(range(len(labels))))
        seeds.append(int(np.count_nonzero(labels, axis=(1, 2)).argmax()))
    chosen = sample(selection, candidates, seeds, slices)

    shown, entries = [], {}
    for case, indices in zip(cases, chosen, strict=True):
        read = case.load_frames()
        shown.append(_ShownCase(case.name, read.volume, read.plane, tuple(indices)))
        if not indices:
            continue
        np.save(folder / f"{case.name}.npy", np.ascontiguousarray(read.frames[indices]))
        entries[case.name] = {
            "frames": str(folder / f"{case.name}.npy"),
            "output": str(folder / f"{case.name}.found.npy"),
            "boxes": true_boxes(read.labels[indices], one_slice=selection is SliceSelection.VIDEO),
        }
    return shown, entries


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


def _write_case(shown: _ShownCase, folder: Path, out: Path) -> None:
    """Writes the label map of a case; without a label, and so without a slice to show, it is empty."""
    frames = np.zeros(shown.volume.to_frames(shown.plane).shape[1:], np.uint8)
    if shown.slices:
        frames[list(shown.slices)] = np.load(folder / f"{shown.name}.found.npy")
    write_labels(shown.volume.from_frames(frames, shown.plane), shown.volume, shown.name, out)


def _note(note: str, settings: SliceSettings, images: int) -> list[str]:
    notes = [note, f"{settings.threads} threads on a CPU, unless a GPU is named."]
    if settings.weights is None:
        notes.append("Random weights: size (of the parameters in float32) and speed alone, its masks mean nothing.")
    if settings.slices is not None:
        notes.append(f"Timed on {images} slices spread over the cases.")
    return notes
