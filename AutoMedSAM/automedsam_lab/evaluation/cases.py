"""Cases to evaluate on: readable, of the bundle's task, and unseen by the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.dataset import Dataset, DatasetCase, LoadedCase, select_cases
from automedsam_lab.data.splits import UNSEEN, current_name, split_name

if TYPE_CHECKING:
    from automedsam.bundle import Bundle

# The only split of a bundle that did not shape it.
_HELD_OUT = "test"


@dataclass(frozen=True)
class ExcludedCase:
    """A case that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class CaseSelection:
    """Cases to evaluate on.

    Attributes:
        cases: The cases.
        description: What they are, for the report.
        excluded: Cases that were left out.
    """

    cases: Sequence[DatasetCase]
    description: str = ""
    excluded: Sequence[ExcludedCase] = ()


def held_out_cases(
    bundle: Bundle, dataset: Dataset, split: str = "test", limit: int | None = None, *, skip_bad: bool = False
) -> CaseSelection:
    """The cases of a split that a bundle may be reported on.

    Args:
        bundle: The model.
        dataset: The dataset.
        split: "train", "val", "test" or "unseen"; see `automedsam_lab.data.dataset.Dataset.cases`.
        limit: At most this many, evenly spaced.
        skip_bad: Leave out patients that are in two splits or that the bundle has seen, instead of raising an error.

    Raises:
        AutoMedSAMError: There are no such cases, or such a patient is among the cases of a held-out split.
    """
    split = split_name(split)
    cases = select_cases(dataset, split, limit)
    seen = check_unseen(bundle, cases, dataset.patients) if split in (_HELD_OUT, UNSEEN) else []
    if seen and (not skip_bad or len(seen) == len(cases)):
        raise AutoMedSAMError(seen[0].reason)
    names = {excluded.name for excluded in seen}
    kept = [case for case in cases if case.name not in names]
    return CaseSelection(kept, dataset.describe(split, len(kept)), seen)


def check_unseen(
    bundle: Bundle, cases: Iterable[DatasetCase], patients: Mapping[str, Iterable[str]]
) -> list[ExcludedCase]:
    """Finds patients that a held-out evaluation must not show.

    Args:
        bundle: the model, whose manifest names the patients that trained and selected it.
        cases: The cases to hold out.
        patients: Patients by split of the dataset.

    Returns:
        The cases of patients that are in two splits, or that the bundle has seen.
    """
    # A manifest names patients as the lab's tasks do: by the case, where that is all that a dataset has of a name.
    seen = dict(_training(bundle))
    where: dict[str, list[str]] = {}
    for split, members in patients.items():
        for patient in members:
            where.setdefault(patient, []).append(split)
    found = []
    for case in cases:
        listed = where.get(case.patient, [])
        if len(set(listed)) > 1:
            reason = f"The patient {case.patient} is in the splits {' and '.join(listed)}; draw the splits again."
        elif known := next((name for name in (case.patient, case.name) if name in seen), None):
            reason = (
                f"The patient {known} is in the {seen[known]} split that the bundle {bundle.name} was made from; "
                "evaluate on others."
            )
        else:
            continue
        found.append(ExcludedCase(case.name, reason))
    return found


def check_fits(bundle: Bundle, case: DatasetCase, loaded: LoadedCase) -> None:
    """Sees that a case is one of the bundle's task.

    Raises:
        AutoMedSAMError: if the case is of another modality, or its reference has a label that the bundle does not know.
    """
    if case.modality and bundle.modalities and not _same_words(case.modality, bundle.modalities):
        message = (
            f"The case {case.name} is {case.modality}, and the bundle {bundle.name} takes "
            f"{', '.join(bundle.modalities)}; choose cases of the bundle's task."
        )
        raise AutoMedSAMError(message)
    known = {segment.value for segment in bundle.segments}
    if loaded.reference is not None:
        there = {int(value) for value in np.unique(loaded.reference)} - {0}
    else:
        there = {box.label for boxes in (loaded.boxes or {}).values() for box in boxes}
    if strange := sorted(there - known):
        message = (
            f"The case {case.name} has the label {', '.join(map(str, strange))}, and the bundle {bundle.name} knows "
            f"{', '.join(map(str, sorted(known)))}; choose cases of the bundle's task."
        )
        raise AutoMedSAMError(message)


def _same_words(modality: str, wanted: Sequence[str]) -> bool:
    # A dataset may say no more than "MRI" of what a bundle calls T1.
    general = {"mri", "mr", "ct", "any", "unknown"}
    named = {name.lower() for name in wanted}
    return modality.lower() in general or {name.strip().lower() for name in modality.split(",")} <= named


def _training(bundle: Bundle) -> Iterable[tuple[str, str]]:
    for part, patients in bundle.training_split.items():
        if part != _HELD_OUT:
            yield from ((patient, current_name(part)) for patient in patients)
