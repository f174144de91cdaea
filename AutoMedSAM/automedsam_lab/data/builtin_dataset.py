"""The built-in tasks as datasets: published files in a folder, split by the lists in `splits`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.builtin_tasks import TASK_SPECS
from automedsam_lab.data.dataset import DatasetCase, LoadedCase
from automedsam_lab.data.splits import UNSEEN, split_name


@dataclass(frozen=True)
class BuiltinDataset:
    """A built-in task.

    Attributes:
        task: "hippocampus", "glioma" or "brats".
        root: The folder that contains the published datasets.
    """

    task: str
    root: Path

    def __post_init__(self) -> None:
        builtin_tasks.check_task(self.task)

    @property
    def name(self) -> str:
        return self.task

    @property
    def title(self) -> str:
        return f"the {self.task} split"

    @property
    def labels(self) -> Mapping[int, str]:
        return TASK_SPECS[self.task].labels

    @property
    def patients(self) -> Mapping[str, Sequence[str]]:
        stored = builtin_tasks.split(self.task)
        return {
            "train": [*stored["train"], *stored.get("train_silver", [])],
            "val": stored["val"],
            "test": stored["test"],
        }

    def cases(self, split: str) -> list[DatasetCase]:
        split, patients = split_name(split), self.patients
        found = builtin_tasks.cases(self.task, self.root)
        if split == UNSEEN:
            seen = {*patients["train"], *patients["val"]}
            found = [case for case in found if case.patient not in seen]
        else:
            wanted = set(patients[split])
            found = [case for case in found if case.patient in wanted]
        return [dataset_case(case) for case in found]

    def describe(self, split: str, count: int) -> str:
        return f"{split} split of {self.task}, {count} case{'' if count == 1 else 's'} in {self.root}"


def dataset_case(case: builtin_tasks.Case) -> DatasetCase:
    """A case of a built-in task."""
    plane = None if case.task is None else TASK_SPECS[case.task].plane
    return DatasetCase(
        case.patient, case.patient, case.modality, lambda: _load(case), plane=plane, is_expert=case.expert
    )


def unknown_values(stored: NDArray[np.generic], known: Collection[int]) -> str:
    """The first five values of a label map that are not known, for a sentence; "" if all are known."""
    return ", ".join([f"{value:g}" for value in np.unique(stored) if value not in known][:5])


def _load(case: builtin_tasks.Case) -> LoadedCase:
    volume, stored = builtin_tasks.load_stored(case)
    known = _known_values(case.scheme)
    if unknown := unknown_values(stored.array, known):
        message = (
            f"The label {case.label} has the value {unknown}, and the scheme {case.scheme.value} knows "
            f"{', '.join(map(str, sorted(known)))}; declare the scheme that it follows, or repair the file."
        )
        raise AutoMedSAMError(message)
    return LoadedCase(volume, builtin_tasks.task_labels(case, stored.array.astype(np.uint8)))


def _known_values(scheme: builtin_tasks.LabelScheme) -> set[int]:
    if scheme is builtin_tasks.LabelScheme.MSD_HIPPOCAMPUS:
        return {0, 1, 2}
    return {0, *np.flatnonzero(builtin_tasks.region_mask(np.arange(256), scheme)).tolist()}
