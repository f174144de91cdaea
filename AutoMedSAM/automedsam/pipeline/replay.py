"""Run again what a segmentation file says of itself, and compare the voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.events import Event
from automedsam.core.mask_agreement import dice
from automedsam.core.regrid import place_on
from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam.io.segmentation_reader import LabelFile, read_labels
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.provenance import read_prompts
from automedsam.pipeline.run import SegmentationRun

_NAMES = {
    "model_version": "version of the model",
    "model_hash": "SHA-256 of the model's manifest",
    "int8_hash": "SHA-256 of the INT8 files that were made on the computer",
    "input_sha256": "SHA-256 of the input's voxels and grid",
    "automedsam": "version of AutoMedSAM",
    "onnxruntime": "version of ONNX Runtime",
    "torch": "version of PyTorch",
    "numpy": "version of NumPy",
    "threads": "number of threads",
    "device": "device",
}


@dataclass(frozen=True)
class Replay:
    """How a second run compares with the first.

    Attributes:
        differing: Voxels with another label.
        labeled: Voxels that have a label in either.
        dice: Dice of all labels together.
        differences: What was different about the run, one phrase each.
    """

    differing: int
    labeled: int
    dice: float
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether all voxels are the same."""
        return self.differing == 0


def replay(
    path: Path,
    inputs: Sequence[Path],
    *,
    model: str | None = None,
    series: int | None = None,
    progress: Callable[[Event], None] = lambda event: None,
) -> Replay:
    """Run what is stored in a segmentation again, corrected boxes included.

    Args:
        path: A `.seg.nrrd` file that AutoMedSAM wrote.
        inputs: The images that were segmented.
        model: The model's name or folder; the stored name if None.
        series: Which volume of a DICOM folder that holds several, from 1.
        progress: Called with each event of the run.

    Raises:
        AutoMedSAMError: If the file holds no complete provenance, the model is not here, or the input lies on another
            grid.

    Example:
        >>> from automedsam import segment, write_segmentation
        >>> write_segmentation(segment(read_volume("head.nii.gz"), load_bundle("glioma")), "lesions.seg.nrrd")
        >>> replay(Path("lesions.seg.nrrd"), [Path("head.nii.gz")]).same
        True
    """
    stored = read_labels(path)
    known = stored.provenance
    try:
        bundle = load_bundle(model or str(known["model"]))
        backend, plane = Backend(known["backend"]), Plane(known["plane"])
        first, last = (int(index) for index in known["slices"])
        prompted = "prompted_objects" in known
        threshold = None if prompted else float(known["threshold"])
        _ = known["input_sha256"], known["model_hash"]
        prompts = read_prompts(known["prompts"]) if "prompts" in known else None
    except (KeyError, ValueError, TypeError, IndexError) as error:
        message = (
            f"{path} has no complete record of how it was made, as AutoMedSAM writes it into .seg.nrrd files: it "
            "cannot be replayed."
        )
        raise AutoMedSAMError(message) from error
    volume = read_volume(inputs, len(bundle.modalities), series=series, modalities=bundle.modalities)
    before = place_on(_labels(stored), stored.grid, volume, str(path), str(inputs[0]))
    run = SegmentationRun(volume, bundle, backend=backend, threshold=threshold, plane=plane, slices=(first, last))
    for event in run.events() if prompts is None else run.propagate(*prompts):
        progress(event)
    result = run.result()
    now = result.labels
    differing, labeled = int(np.count_nonzero(now != before)), int(np.count_nonzero((now > 0) | (before > 0)))
    return Replay(differing, labeled, dice(now > 0, before > 0), tuple(_differences(known, result.provenance)))


def _labels(stored: LabelFile) -> Any:
    """The labels `(K, J, I)` of the segments that the run wrote, by the values of the model."""
    labels = np.zeros(stored.grid.shape, np.uint8)
    for index, value in enumerate(stored.model_values):
        if value:
            labels[stored.mask(index)] = value
    return labels


def _differences(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = [
        f"{name}: {_shown(known[key])}, now {_shown(now[key])}"
        for key, name in _NAMES.items()
        if key in known and key in now and known[key] != now[key]
    ]
    if known.get("stopped"):
        found.append("the first run was stopped before its end")
    return found


def _shown(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
