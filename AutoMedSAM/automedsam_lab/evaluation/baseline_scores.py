"""Scores of baselines, read from the folders that `automedsam-lab baseline` and others write.

```
PRED/baseline.json   what it is, what it was given of the reference, its weights, and its cost
PRED/<case>.nii.gz   label map on the grid of the case, with the label values of the dataset
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.core.segmentation import mask_of
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.builtin_dataset import unknown_values
from automedsam_lab.data.prediction_folder import Baseline, CaseCost, read_baseline
from automedsam_lab.evaluation.mask_scores import MethodRow, score_mask

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.volume import Plane, Volume
    from automedsam_lab.data.dataset import DatasetCase, LoadedCase


@dataclass(frozen=True)
class PredictionFolder:
    """The label maps of a baseline, and its description.

    Attributes:
        folder: The folder.
        baseline: What `baseline.json` holds.
    """

    folder: Path
    baseline: Baseline

    @property
    def random(self) -> bool:
        """Whether only speed and size mean anything."""
        return self.baseline.weights == "random"

    @property
    def method(self) -> str:
        """The name in tables."""
        version = self.baseline.version
        return self.baseline.name if version.lower() in ("", "none") else f"{self.baseline.name} {version}"

    @property
    def machine(self) -> str:
        """The machine that it ran on, in words."""
        return machine_words(self.baseline.machine)

    @classmethod
    def open(cls, folder: Path) -> PredictionFolder:
        """Reads `baseline.json`.

        Raises:
            AutoMedSAMError: It is missing or faulty.
        """
        return cls(folder, read_baseline(folder))

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
            message = f"{path} does not lie on the grid of the case {case}; let {self.baseline.name} write it there."
            raise AutoMedSAMError(message)
        known = {0, *(segment.value for segment in bundle.segments)}
        strange = unknown_values(stored.array, known)
        if strange:
            message = (
                f"{path} has the value {strange}, and the task's are "
                f"{', '.join(map(str, sorted(known)))}; let {self.baseline.name} write those."
            )
            raise AutoMedSAMError(message)
        return stored.array.astype(np.uint8)

    def rows(
        self, case: DatasetCase, loaded: LoadedCase, bundle: Bundle, plane: Plane, tolerance_mm: float
    ) -> list[MethodRow]:
        """Scores its label map of a case in the same way as the bundle's.

        Args:
            case: The case.
            loaded: Its volume and reference.
            bundle: Has the labels.
            plane: The plane of the frames.
            tolerance_mm: Tolerance of the surface Dice.

        Returns:
            One row for each label; none with random weights or without a reference.

        Raises:
            AutoMedSAMError: As `labels`.
        """
        if self.random or loaded.reference is None:
            return []
        volume = loaded.volume
        prediction, reference = (
            replace(volume, array=labels).to_frames(plane)[0]
            for labels in (self.labels(case.name, volume, bundle), loaded.reference)
        )
        spacing, voxel_ml = volume.frame_spacing(plane), volume.voxel_volume_ml
        rows = []
        for segment in bundle.segments:
            true, found = (mask_of(labels, bundle.inside, segment.value) for labels in (reference, prediction))
            scores = score_mask(true, found, spacing, voxel_ml, tolerance_mm)
            rows.append(MethodRow(self.method, case.name, case.patient, segment.name, scores))
        return rows

    def ms_per_image(self, cases: Sequence[str]) -> float | None:
        """Milliseconds per image over the cases that have a time; None if none has."""
        costs = self._timed(cases)
        images = sum(cost["images"] for cost in costs)
        return 1000 * sum(cost["seconds"] for cost in costs) / images if images else None

    def images_timed(self, cases: Sequence[str]) -> int:
        """The number of images that `ms_per_image` is a mean of."""
        return sum(cost["images"] for cost in self._timed(cases))

    def _timed(self, cases: Sequence[str]) -> list[CaseCost]:
        """Those of the cases that were timed; all that were, if none of them was."""
        timed = {case: cost for case, cost in self.baseline.cases.items() if cost["images"]}
        return [timed[case] for case in cases if case in timed] or list(timed.values())


def machine_words(machine: object) -> str:
    """A machine, described by `automedsam_lab.common.system_info` or in words, in one line."""
    if not isinstance(machine, dict):
        return str(machine or "unknown")
    cores = machine.get("cores")
    versions = [f"{name} {machine[name]}" for name in ("onnxruntime", "torch") if machine.get(name)]
    described = [str(machine.get("cpu") or machine.get("gpu") or "")]
    if machine.get("gpu") and machine.get("cpu"):
        described.append(str(machine["gpu"]))
    described += [f"{cores} cores" if cores else "", str(machine.get("system") or ""), *versions]
    return ", ".join(part for part in described if part)


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
