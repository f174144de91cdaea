"""A baseline's folder: `baseline.json` and one label map a case, which `evaluate --baseline` puts in the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationInfo, field_validator
from typing_extensions import TypedDict

from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import atomic_write
from automedsam_lab.common.json_files import write_json
from automedsam_lab.common.manifest_files import ManifestModel, read_manifest

if TYPE_CHECKING:
    from automedsam.core.volume import Volume

BASELINE_FILE = "baseline.json"
# Its name until version 0.2.
OLD_BASELINE_FILE = "rival.json"
SCHEMA = 1


class CaseCost(TypedDict):
    """What one case cost: seconds of computing, and images (slices) that went through the network."""

    seconds: NonNegativeFloat
    images: NonNegativeInt


class Baseline(ManifestModel):
    """What a baseline is, and how long it took.

    Attributes:
        name: Name in tables.
        version: Version of the package that ran it; "" if unknown.
        license: License of the package, and of the weights if known.
        prompted: What the baseline was given of the reference: "none", "box" ...
        weights: "trained here", "given" or "random"; the masks of random weights mean nothing.
        size_mb: Size of the weights in millions of bytes; None if unknown.
        machine: See `automedsam_lab.common.system_info.describe_machine`, or words; None if unknown.
        cpu_minutes_training: CPU time of its training here; None if it was not trained here, or on a GPU.
        cases: The cost by case.
        note: What a reader of the table has to know.
    """

    name: str
    version: str = ""
    license: str = Field("unknown", validation_alias="licence", serialization_alias="licence")
    prompted: str = "none"
    weights: Literal["trained here", "given", "random"]
    size_mb: NonNegativeFloat | None = None
    machine: dict[str, Any] | str | None = None
    cpu_minutes_training: NonNegativeFloat | None = None
    cases: dict[str, CaseCost]
    note: str = ""

    @field_validator("version", "license", "prompted", "note", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: ValidationInfo) -> object:
        return cls.model_fields[str(info.field_name)].default if value is None else value


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


def read_baseline(folder: Path) -> Baseline:
    """Reads `baseline.json`, under its old name too.

    Raises:
        AutoMedSAMError: It is missing or faulty.
    """
    path = folder / BASELINE_FILE
    if not path.exists() and (folder / OLD_BASELINE_FILE).exists():
        path = folder / OLD_BASELINE_FILE
    return read_manifest(
        path,
        Baseline,
        schema=SCHEMA,
        missing="give the folder of a baseline that has finished",
        repair="run the baseline again",
    )


def write_baseline(baseline: Baseline, out: Path) -> None:
    """Writes `baseline.json`, last of all: a folder without it is not finished.

    Raises:
        AutoMedSAMError: if it cannot be written.
    """
    write_json({"schema": SCHEMA, **baseline.model_dump(by_alias=True)}, out / BASELINE_FILE)


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
