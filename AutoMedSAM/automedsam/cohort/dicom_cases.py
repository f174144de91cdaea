"""Cases from folders with DICOM series: those that the model looks at, one case a volume or a study."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automedsam.cohort.case import Case
from automedsam.cohort.grouping import missing_modality
from automedsam.contract.modality_names import modalities_in, modalities_of
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.reader import describe
from automedsam.io.dicom.series import contents_of_folder


@dataclass(frozen=True)
class _Series:
    """A volume in a folder: its first file stands for it."""

    folder: Path
    path: Path
    description: str
    roles: frozenset[str]


def cases_of_dicom(folders: Sequence[Path], base: Path, modalities: Sequence[str]) -> list[Case]:
    """Sorts the series of DICOM folders into cases.

    A model of one modality gets a case for each series of it, and where no series names a modality for each series. A
    model of several gets a case for each folder of series folders, or for each folder with all of them. Localizers are
    left out.

    Args:
        folders: Those in which DICOM files lie.
        base: The folder relative to which the cases are named.
        modalities: What the model looks at.
    """
    studies: defaultdict[Path, list[_Series]] = defaultdict(list)
    cases = []
    for folder in folders:
        try:
            found = _series_in(folder, modalities)
        except (AutoMedSAMError, OSError) as error:
            cases.append(Case(_name(folder, base), (), None, f"{folder} cannot be read as DICOM ({error})."))
            continue
        # Series in folders of their own share the folder above them.
        study = folder if len(found) > 1 or folder == base or folder.parent == base else folder.parent
        studies[study] += found
    for study, series in studies.items():
        make = _singles if len(modalities) == 1 else _several
        cases += make(study, series, base, modalities)
    return _unique(cases)


def _series_in(folder: Path, modalities: Sequence[str]) -> list[_Series]:
    contents = contents_of_folder(folder, modalities)
    found = []
    for stack in contents.choices:
        header = stack.frames[0].header
        if not header.is_localizer:
            description = describe(header, folder)
            roles = frozenset(modalities_of(description))
            found.append(_Series(folder, header.path, description["SeriesDescription"], roles))
    return found


def _singles(study: Path, series: Sequence[_Series], base: Path, modalities: Sequence[str]) -> list[Case]:
    roles = modalities_in(modalities[0])
    fitting = [one for one in series if not roles or one.roles & roles] or [one for one in series if not one.roles]
    if not fitting:
        found = sorted({role for one in series for role in one.roles})
        return [Case(_name(study, base), (), None, missing_modality(_name(study, base), modalities[0], found))]
    counts = Counter(one.folder for one in fitting)
    return [
        Case(
            _name(one.folder, base) + (f"_{one.description or 'series'}" if counts[one.folder] > 1 else ""), (one.path,)
        )
        for one in fitting
    ]


def _several(study: Path, series: Sequence[_Series], base: Path, modalities: Sequence[str]) -> list[Case]:
    name = _name(study, base)
    chosen = []
    for wanted in modalities:
        fitting = [one.path for one in series if one.roles & modalities_in(wanted)]
        if len(fitting) != 1:
            found = sorted({role for one in series for role in one.roles})
            many = f"{name} has {len(fitting)} {wanted} series: name the files to use in a CSV file."
            return [Case(name, (), None, many if fitting else missing_modality(name, wanted, found))]
        chosen.append(fitting[0])
    return [Case(name, tuple(chosen))]


def _name(folder: Path, base: Path) -> str:
    return "_".join(folder.relative_to(base).parts) or folder.resolve().name


def _unique(cases: Sequence[Case]) -> list[Case]:
    """Numbers the cases of the same name in the order of their files."""
    counts = Counter(case.name for case in cases)
    numbers: Counter[str] = Counter()
    found = []
    for case in sorted(cases, key=lambda case: (case.name, case.paths)):
        numbers[case.name] += 1
        name = case.name if counts[case.name] == 1 else f"{case.name}_{numbers[case.name]}"
        found.append(Case(name, case.paths, case.reference, case.problem))
    return found
