"""A baseline's folder: `baseline.json` and one label map a case, which `evaluate --baseline` puts in the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.json_files import write_json

if TYPE_CHECKING:
    from automedsam.core.volume import Volume

BASELINE_FILE = "baseline.json"
# Its name until version 0.2.
OLD_BASELINE_FILE = "rival.json"
SCHEMA = 1
TRAINED_HERE, GIVEN, RANDOM = "trained here", "given", "random"


@dataclass(frozen=True)
class Baseline:
    """What a baseline is, and how long it took.

    Attributes:
        name: as tables have it.
        version: of the package that ran it.
        licence: of the package, and of the weights where that is known.
        prompted: "none", or what the baseline was told of the truth, such as "box".
        weights: "trained here", "given" or "random"; the masks of random weights mean nothing.
        size_mb: of the weights, in millions of bytes.
        machine: see `automedsam_lab.common.system_info.describe_machine`.
        cpu_minutes_training: CPU time of its training here; None if it was not trained here, or on a GPU.
        cases: by case, `seconds` of computing and `images` (slices) that went through the network.
        note: what a reader of the table has to know.
    """

    name: str
    version: str
    licence: str
    prompted: str
    weights: str
    size_mb: float
    machine: dict[str, Any]
    cpu_minutes_training: float | None = None
    cases: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""


def make_folder(out: Path) -> None:
    """Makes a baseline's folder; an old `baseline.json` goes, for it does not tell of what comes.

    Raises:
        AutoMedSAMError: if it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (BASELINE_FILE, OLD_BASELINE_FILE):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        message = f"The folder {out} cannot be made or written ({error.strerror}); choose another one."
        raise AutoMedSAMError(message) from error


def write_baseline(baseline: Baseline, out: Path) -> None:
    """Writes `baseline.json`, last of all: a folder without it is not finished.

    Raises:
        AutoMedSAMError: if it cannot be written.
    """
    write_json({"schema": SCHEMA, **asdict(baseline)}, out / BASELINE_FILE)


def write_labels(labels: NDArray[np.uint8], volume: Volume, case: str, out: Path) -> None:
    """Writes `<case>.nii.gz` on the case's own grid.

    Args:
        labels: `(K, J, I)`, the task's values.
        volume: the case.
        case: its name.
        out: the baseline's folder.

    Raises:
        AutoMedSAMError: if it cannot be written.
    """
    import SimpleITK as sitk

    with atomic_write(out / f"{case}.nii.gz") as unfinished:
        sitk.WriteImage(volume.to_image(labels.astype(np.uint8)), str(unfinished), useCompression=True)
