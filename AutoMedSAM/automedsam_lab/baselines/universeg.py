"""UniverSeg (Butoi et al., ICCV 2023, arXiv:2304.06131): segments a slice from a set of examples, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam_lab.baselines import slice_baseline
from automedsam_lab.baselines.process import WORKERS, Worker
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceBaseline
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.prediction_folder import Baseline

SIZE = 128  # The side of what its published weights were trained on.
EXAMPLES = 64  # As many as its published weights were trained with.
_EXTENDED = 0.5


def universeg(examples: int = EXAMPLES) -> SliceBaseline:
    """UniverSeg with so many examples of each label."""
    return SliceBaseline(
        name="UniverSeg",
        worker=Worker(
            "UniverSeg",
            WORKERS / "universeg_worker.py",
            "pip install 'automedsam[baseline-universeg]' and the checkout of JJGO/UniverSeg, which is in no registry",
        ),
        licence="Apache-2.0 (universeg); OpenRAIL++-M, research only (its published weights)",
        prompted=f"{examples} labelled slices",
        sight=SliceSelection.ALL,
        note=(
            f"Every slice, at {SIZE} px, with {examples} labelled slices of training patients as examples of each "
            "label, and no other training."
        ),
        settings={"size": SIZE},
    )


def predict(
    task: str,
    data: Path,
    cases: Sequence[builtin_tasks.Case],
    out: Path,
    *,
    examples: int = EXAMPLES,
    **options: Any,
) -> Baseline:
    """Draws the examples from the training patients in `data`, and runs UniverSeg as `slice_baseline.predict` does.

    Args:
        task: "hippocampus" or "glioma".
        data: the folder of datasets.
        cases: to predict.
        out: the baseline's folder.
        examples: of each label.
        options: of `slice_baseline.predict`.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: if there are no training patients in `data`, or as `slice_baseline.predict` raises.
    """
    training = builtin_tasks.cases_of(task, data, "train")
    if not training:
        message = f"No training patient of the {task} split is in {data}, to take examples from."
        raise AutoMedSAMError(message)
    with TemporaryDirectory(prefix="automedsam-support-") as folder:
        path = Path(folder) / "support.npz"
        np.savez(path, **support_set(task, training, examples))
        return slice_baseline.predict(universeg(examples), task, cases, out, files={"support": str(path)}, **options)


def support_set(
    task: str,
    training: Sequence[builtin_tasks.Case],
    examples: int,
    read: Callable[[builtin_tasks.Case, str], Any] = slice_baseline.task_frames,
) -> dict[str, NDArray[np.float32]]:
    """Examples of each label.

    Args:
        task: whose labels.
        training: the patients to draw from; slices are drawn evenly over them.
        examples: of each label; fewer if there are not so many slices.
        read: gives a case's volume, plane, slices and labels.

    Returns:
        `images_<label>` and `labels_<label>`, each `(S, 128, 128)` float32 from 0 to 1.
    """
    random = np.random.default_rng(builtin_tasks.SPLIT_SEED)
    drawn: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    # A few of each patient, not the first patients whole.
    for case in training:
        _, _, slices, labels = read(case, task)
        for label in (int(value) for value in np.unique(labels) if value):
            shown = np.flatnonzero((labels == label).any(axis=(1, 2)))
            share = max(1, -(-examples // len(training)))
            for index in random.choice(shown, min(share, len(shown)), replace=False):
                image, mask = shrink(slices[index]), shrink(255 * (labels[index] == label).astype(np.uint8))
                drawn.setdefault(label, []).append((image, (mask >= _EXTENDED).astype(np.float32)))
    support: dict[str, NDArray[np.float32]] = {}
    for label, pairs in drawn.items():
        kept = sorted(random.choice(len(pairs), min(examples, len(pairs)), replace=False))
        support[f"images_{label}"] = np.stack([pairs[index][0] for index in kept])
        support[f"labels_{label}"] = np.stack([pairs[index][1] for index in kept])
    return support


def shrink(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A slice `(H, W)` of 0..255 as UniverSeg takes it: `(128, 128)`, 0 to 1."""
    return resize_linear(image[None], (SIZE, SIZE))[0] / np.float32(255)
