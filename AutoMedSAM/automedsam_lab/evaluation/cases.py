"""What is evaluated on: cases that must be sound, of the bundle's task, and unseen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data import builtin_tasks

if TYPE_CHECKING:
    from automedsam.bundle import Bundle
    from automedsam.core.volume import Volume

# Parts of a bundle's own split that have shaped it.
_HELD_OUT = "test"


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case that was read.

    Attributes:
        volume: what a bundle takes.
        truth: label values `(K, J, I)` uint8 on its grid; None where there are boxes alone.
        boxes: by frame, in native pixels, where there are boxes alone; frames without an entry were not looked at.
    """

    volume: Volume
    truth: NDArray[np.uint8] | None = None
    boxes: Mapping[int, Sequence[Box]] | None = None


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """A case to evaluate on.

    Attributes:
        name: of the case; letters, digits, `.`, `_` and `-`.
        patient: whose it is.
        modality: in a bundle's words; "" where that is not known.
        load: reads it; raises an `AutoMedSAMError` that names the file which is damaged, lies on another grid than
            its image, or has values outside its scheme.
    """

    name: str
    patient: str
    modality: str
    load: Callable[[], LoadedCase]


@dataclass(frozen=True)
class ExcludedCase:
    """A case that was left out, and why."""

    name: str
    reason: str


def builtin_case(case: builtin_tasks.Case) -> EvaluationCase:
    """A case of one of the lab's tasks."""
    return EvaluationCase(case.patient, case.patient, case.modality, lambda: _load_case(case))


def check_unseen(
    bundle: Bundle, subjects: Iterable[EvaluationCase], parts: Mapping[str, Iterable[str]]
) -> list[ExcludedCase]:
    """Finds patients that a held-out evaluation must not show.

    Args:
        bundle: the model, whose manifest names the patients that trained and selected it.
        subjects: the cases that are to be held out.
        parts: patients by part of the data's own split.

    Returns:
        The cases of patients that are in two parts, or that the bundle has seen.
    """
    # A manifest names patients as the lab's tasks do: by the case, where that is all that a dataset has of a name.
    seen = dict(_training(bundle))
    where: dict[str, list[str]] = {}
    for part, patients in parts.items():
        for patient in patients:
            where.setdefault(patient, []).append(part)
    found = []
    for subject in subjects:
        listed = where.get(subject.patient, [])
        if len(set(listed)) > 1:
            reason = f"The patient {subject.patient} is in the parts {' and '.join(listed)} of the split; draw it anew."
        elif known := next((name for name in (subject.patient, subject.name) if name in seen), None):
            reason = (
                f"The patient {known} is in the {seen[known]} part that the bundle {bundle.name} was made from; "
                "evaluate on others."
            )
        else:
            continue
        found.append(ExcludedCase(subject.name, reason))
    return found


def check_fits(bundle: Bundle, subject: EvaluationCase, loaded: LoadedCase) -> None:
    """Sees that a case is one of the bundle's task.

    Raises:
        AutoMedSAMError: if the case is of another modality, or its truth has a label that the bundle does not know.
    """
    if subject.modality and bundle.modalities and not _same_words(subject.modality, bundle.modalities):
        message = (
            f"The case {subject.name} is {subject.modality}, and the bundle {bundle.name} takes "
            f"{', '.join(bundle.modalities)}; choose cases of the bundle's task."
        )
        raise AutoMedSAMError(message)
    known = {segment.value for segment in bundle.segments}
    if loaded.truth is not None:
        there = {int(value) for value in np.unique(loaded.truth)} - {0}
    else:
        there = {box.label for boxes in (loaded.boxes or {}).values() for box in boxes}
    if strange := sorted(there - known):
        message = (
            f"The case {subject.name} has the label {', '.join(map(str, strange))}, and the bundle {bundle.name} knows "
            f"{', '.join(map(str, sorted(known)))}; choose cases of the bundle's task."
        )
        raise AutoMedSAMError(message)


def _same_words(modality: str, wanted: Sequence[str]) -> bool:
    # A dataset may say no more than "MRI" of what a bundle calls T1.
    general = {"mri", "mr", "ct", "any", "unknown"}
    return modality.lower() in general or modality.lower() in {name.lower() for name in wanted}


def _training(bundle: Bundle) -> Iterable[tuple[str, str]]:
    for part, patients in bundle.training_split.items():
        if part != _HELD_OUT:
            yield from ((patient, part) for patient in patients)


def _load_case(case: builtin_tasks.Case) -> LoadedCase:
    volume = read_volume(list(case.images))
    stored = read_volume(case.label, check_voxels=False)
    if not volume.same_grid(stored):
        message = f"The label {case.label} does not lie on the grid of {case.images[0]}; use matching files."
        raise AutoMedSAMError(message)
    known = _values(case.scheme)
    strange = unknown_values(stored.array, known)
    if strange:
        message = (
            f"The label {case.label} has the value {strange}, and the scheme {case.scheme.value} knows "
            f"{', '.join(map(str, sorted(known)))}; declare the scheme that it follows, or repair the file."
        )
        raise AutoMedSAMError(message)
    return LoadedCase(volume, builtin_tasks.task_labels(case, stored.array.astype(np.uint8)))


def unknown_values(stored: NDArray[np.generic], known: Collection[int]) -> str:
    """The first five values of a label map that are not known, for a sentence; "" if all are."""
    return ", ".join([f"{value:g}" for value in np.unique(stored) if value not in known][:5])


def _values(scheme: builtin_tasks.LabelScheme) -> set[int]:
    if scheme is builtin_tasks.LabelScheme.MSD_HIPPOCAMPUS:
        return {0, 1, 2}
    return {0, *np.flatnonzero(builtin_tasks.region_mask(np.arange(256), scheme)).tolist()}
