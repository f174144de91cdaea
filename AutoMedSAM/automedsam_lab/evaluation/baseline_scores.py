"""Other people's models in the same table: read from the folders that `automedsam-lab baseline` and others leave.

```
PRED/baseline.json      what it is, what it was told of the truth, where its weights come from, what it cost
PRED/<case>.nii.gz   label map on the case's own grid, the task's values
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.evaluation.cases import unknown_values
from automedsam_lab.evaluation.mask_scores import MethodRow, score_mask

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.volume import Plane, Volume

BASELINE_FILE = "baseline.json"
# Its name until version 0.2.
OLD_BASELINE_FILE = "rival.json"
SCHEMA = 1
WEIGHTS = ("trained here", "given", "random")


@dataclass(frozen=True)
class PredictionFolder:
    """A baseline's label maps and what is told of them.

    Attributes:
        folder: where they lie.
        name: as tables have it.
        version: of the package that ran it.
        licence: of the package and the weights.
        prompted: what it was told of the truth: "none", "box" ...
        weights: "trained here", "given" or "random"; the masks of random weights mean nothing.
        size_mb: of the weights, in millions of bytes; None if not told.
        machine: where it ran, in words.
        cpu_minutes_training: CPU minutes of its training here; None if it was not trained here, or on a GPU.
        seconds: of computing, by case.
        images: slices that went through the network, by case.
        note: what a reader has to know.
    """

    folder: Path
    name: str
    version: str
    licence: str
    prompted: str
    weights: str
    size_mb: float | None
    machine: str
    cpu_minutes_training: float | None
    seconds: dict[str, float]
    images: dict[str, int]
    note: str

    @property
    def random(self) -> bool:
        """Whether nothing but speed and size can be told."""
        return self.weights == "random"

    @property
    def method(self) -> str:
        """What tables call it."""
        return self.name if self.version.lower() in ("", "none") else f"{self.name} {self.version}"

    @classmethod
    def open(cls, folder: Path) -> PredictionFolder:
        """Reads `baseline.json`.

        Raises:
            AutoMedSAMError: if it is missing or faulty.
        """
        path = folder / BASELINE_FILE
        if not path.exists() and (folder / OLD_BASELINE_FILE).exists():
            path = folder / OLD_BASELINE_FILE
        try:
            told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"{path} cannot be read ({error.strerror}); give the folder of a baseline that is finished."
            raise AutoMedSAMError(message) from error
        except ValueError as error:
            message = f"{path} is no JSON ({error}); let the baseline write it again."
            raise AutoMedSAMError(message) from error
        try:
            if told["schema"] != SCHEMA:
                message = f"{path} is of schema {told['schema']}, and this version reads {SCHEMA}; let it write again."
                raise AutoMedSAMError(message)
            if told["weights"] not in WEIGHTS:
                message = f"{path} tells of {told['weights']!r} weights; they must be one of {', '.join(WEIGHTS)}."
                raise AutoMedSAMError(message)
            return cls(
                folder,
                str(told["name"]),
                str(told.get("version") or ""),
                str(told.get("licence") or "not told"),
                str(told.get("prompted") or "none"),
                told["weights"],
                _number(told.get("size_mb")),
                machine_words(told.get("machine")),
                _number(told.get("cpu_minutes_training")),
                {case: float(cost["seconds"]) for case, cost in told["cases"].items()},
                {case: int(cost["images"]) for case, cost in told["cases"].items()},
                str(told.get("note") or ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"{path} lacks or garbles what a baseline tells ({error!r}); let the baseline write it again."
            raise AutoMedSAMError(message) from error

    def labels(self, case: str, volume: Volume, bundle: Bundle) -> NDArray[np.uint8]:
        """Its label map of a case.

        Args:
            case: the case's name.
            volume: the case, for its grid.
            bundle: knows the task's label values.

        Returns:
            `(K, J, I)`.

        Raises:
            AutoMedSAMError: if the label map is missing, on another grid, or has values that the task has not.
        """
        path = self.folder / f"{case}.nii.gz"
        if not path.is_file():
            message = f"{self.method} has no label map of {case} ({path}); let it predict every case that is evaluated."
            raise AutoMedSAMError(message)
        stored = read_volume(path, check_voxels=False) if volume.shape[0] > 1 else _read_flat(path)
        if stored.array.ndim == 4 or not volume.same_grid(stored):
            message = f"{path} does not lie on the grid of the case {case}; let {self.name} write it there."
            raise AutoMedSAMError(message)
        known = {0, *(segment.value for segment in bundle.segments)}
        strange = unknown_values(stored.array, known)
        if strange:
            message = (
                f"{path} has the value {strange}, and the task's are "
                f"{', '.join(map(str, sorted(known)))}; let {self.name} write those."
            )
            raise AutoMedSAMError(message)
        return stored.array.astype(np.uint8)

    def rows(
        self,
        case: str,
        patient: str,
        volume: Volume,
        truth: NDArray[np.uint8],
        bundle: Bundle,
        plane: Plane,
        tolerance_mm: float,
    ) -> list[MethodRow]:
        """Scores its label map of a case as ours are scored.

        Args:
            case: the case's name.
            patient: whose it is.
            volume: the case.
            truth: `(K, J, I)`.
            bundle: knows the labels.
            plane: of the frames.
            tolerance_mm: of the surface Dice.

        Returns:
            One row a label; none with random weights.

        Raises:
            AutoMedSAMError: as `labels`.
        """
        if self.random:
            return []
        found, true = (
            replace(volume, array=labels).to_frames(plane)[0] for labels in (self.labels(case, volume, bundle), truth)
        )
        spacing = volume.frame_spacing(plane)
        return [
            MethodRow(
                self.method,
                case,
                patient,
                segment.name,
                score_mask(
                    true == segment.value, found == segment.value, spacing, volume.voxel_volume_ml, tolerance_mm
                ),
            )
            for segment in bundle.segments
        ]

    def ms_per_image(self, cases: Sequence[str]) -> float | None:
        """Milliseconds an image over the cases that it tells the time of; None if it tells none."""
        told = self._timed(cases)
        images = sum(self.images[case] for case in told)
        return 1000 * sum(self.seconds[case] for case in told) / images if images else None

    def images_timed(self, cases: Sequence[str]) -> int:
        """How many images `ms_per_image` is over."""
        return sum(self.images[case] for case in self._timed(cases))

    def _timed(self, cases: Sequence[str]) -> list[str]:
        """Those of the cases that were timed; all that were, where none of them was."""
        return [case for case in cases if self.images.get(case)] or [case for case in self.images if self.images[case]]


def machine_words(machine: object) -> str:
    """A machine, described by `automedsam_lab.common.system_info` or in words, in one line."""
    if not isinstance(machine, dict):
        return str(machine or "not told")
    cores = machine.get("cores")
    versions = [f"{name} {machine[name]}" for name in ("onnxruntime", "torch") if machine.get(name)]
    described = [str(machine.get("cpu") or machine.get("gpu") or "")]
    if machine.get("gpu") and machine.get("cpu"):
        described.append(str(machine["gpu"]))
    described += [f"{cores} cores" if cores else "", str(machine.get("system") or ""), *versions]
    return ", ".join(part for part in described if part)


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def _read_flat(path: Path) -> Volume:
    """A label map of a single slice, which `read_volume` takes for no volume."""
    import SimpleITK as sitk

    from automedsam.core.volume import Volume
    from automedsam.io.sitk_output import suppress_sitk_output

    try:
        with suppress_sitk_output():
            return Volume.from_image(sitk.ReadImage(str(path)), path.name)
    except RuntimeError as error:
        message = f"{path} cannot be read as NIfTI; let the baseline write it again."
        raise AutoMedSAMError(message) from error
