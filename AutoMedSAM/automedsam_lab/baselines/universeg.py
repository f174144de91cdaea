"""UniverSeg (Butoi et al., ICCV 2023, arXiv:2304.06131): segments a slice from a set of examples, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.resize import resize_linear
from automedsam_lab.baselines import slice_baseline
from automedsam_lab.baselines.process import WORKERS, Worker
from automedsam_lab.baselines.sampling import SliceSelection
from automedsam_lab.baselines.slice_baseline import SliceBaseline, SliceSettings
from automedsam_lab.data.builtin_tasks import SPLIT_SEED
from automedsam_lab.data.dataset import Dataset, DatasetCase, training_cases
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
        license="Apache-2.0 (universeg); OpenRAIL++-M, research only (its published weights)",
        prompted=f"{examples} labelled slices",
        selection=SliceSelection.ALL,
        note=(
            f"Every slice, at {SIZE} px, with {examples} labelled slices of training patients as examples of each "
            "label, and no other training."
        ),
        settings={"size": SIZE},
    )


def predict(
    dataset: Dataset,
    cases: Sequence[DatasetCase],
    out: Path,
    settings: SliceSettings | None = None,
    *,
    examples: int = EXAMPLES,
    on_done: Callable[[str, float], None] = lambda case, seconds: None,
) -> Baseline:
    """Draws the examples from the training patients, and runs UniverSeg as `slice_baseline.predict` does.

    Args:
        dataset: Has the training patients.
        cases: The cases to predict.
        out: The folder of the baseline.
        settings: Weights, slices, device; the defaults if None.
        examples: Number of examples of each label.
        on_done: Called with each case and its seconds.

    Returns:
        What `baseline.json` holds.

    Raises:
        AutoMedSAMError: There are no training patients, or as `slice_baseline.predict`.
    """
    training = training_cases(dataset, experts_only=True)
    with TemporaryDirectory(prefix="automedsam-support-") as folder:
        path = Path(folder) / "support.npz"
        arrays: dict[str, Any] = {**support_set(training, examples)}
        np.savez(path, **arrays)
        baseline, files = universeg(examples), {"support": str(path)}
        return slice_baseline.predict(baseline, cases, out, settings, files=files, on_done=on_done)


def support_set(training: Sequence[DatasetCase], examples: int) -> dict[str, NDArray[np.float32]]:
    """Examples of each label.

    Args:
        training: The training cases; slices are drawn evenly over them.
        examples: Number of examples of each label; fewer if there are not so many slices.

    Returns:
        `images_<label>` and `labels_<label>`, each `(S, 128, 128)` float32 from 0 to 1.
    """
    random = np.random.default_rng(SPLIT_SEED)
    drawn: dict[int, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    # A few of each case, instead of all of the first ones.
    for case in training:
        read = case.load_frames()
        slices, labels = read.frames, read.labels
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
