"""BraTS of any year: a case a folder, its modalities and its label known by the names of the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_tasks import LabelScheme, Region, region_mask
from automedsam_lab.data.readers.base import (
    AnnotatedImage,
    ArchiveEntry,
    ReaderOptions,
    SkippedEntry,
    files_below,
    relative,
    safe_name,
)
from automedsam_lab.data.readers.volumes import read_labeled, slices

# Of each year's names: the years that they may be of, and the case and the part in a file's name.
_NAMES: tuple[tuple[range, re.Pattern[str]], ...] = (
    (range(2023, 2024), re.compile(r"^(BraTS-[A-Z]+-\d{5}-\d{3})-(t1n|t1c|t2w|t2f|seg)\.nii(?:\.gz)?$")),
    (range(2021, 2023), re.compile(r"^(BraTS2021_\d{5})_(t1|t1ce|t2|flair|seg)\.nii(?:\.gz)?$")),
    (range(2020, 2021), re.compile(r"^(BraTS20_[A-Za-z]+_\d{3})_(t1|t1ce|t2|flair|seg)\.nii(?:\.gz)?$")),
    (range(2017, 2020), re.compile(r"^(Bra[tT][sS]1[789]_\w+?)_(t1|t1ce|t2|flair|seg|seg_4c)\.nii(?:\.gz)?$")),
    (range(2012, 2017), re.compile(r"^VSD\.Brain.*?\.(?:MR_)?(Flair|T1c|T1|T2|OT)\.[^.]+\.(?:mha|nii|nii\.gz)$")),
    (
        range(2012, 2017),
        re.compile(r"^(Flair|T1c|T1|T2)_subtrMeanDivStd\.nii(?:\.gz)?$|^(OT)MultiClass\.nii(?:\.gz)?$"),
    ),
)
# Names that tell no year: it must be declared.
_PLAIN = re.compile(r"^(t1|t1ce|t1c|t2|flair|seg|truth)\.nii(?:\.gz)?$")

_LABEL_PARTS = ("seg", "seg_4c", "ot", "truth")
_MODALITIES = {
    "FLAIR": ("flair", "t2f"),
    "T1": ("t1", "t1n"),
    "T1c": ("t1ce", "t1c", "t1gd"),
    "T2": ("t2", "t2w"),
}
_LABELS: dict[LabelScheme, dict[int, str]] = {
    LabelScheme.BRATS_2012_2016: {1: "necrosis", 2: "oedema", 3: "non-enhancing tumour", 4: "enhancing tumour"},
    LabelScheme.BRATS_2017_2021: {1: "necrotic and non-enhancing core", 2: "oedema", 4: "enhancing tumour"},
    LabelScheme.BRATS_2017_CBICA_4C: {1: "necrotic and non-enhancing core", 2: "oedema", 3: "enhancing tumour"},
    LabelScheme.BRATS_2023: {1: "necrotic core", 2: "oedema", 3: "enhancing tumour"},
}
# The name ends in the number of the examination, of which a patient may have several.
_EXAMINATION = re.compile(
    r"^(BraTS-[A-Z]+-\d{5})-\d{3}$|^(Bra[tT][sS]1[789]_\w+_\w+)_\d+$|^((?:[HL]GG_)?brats_\w+_pat\d+)_\d+$"
)
AS_STORED = "labels"


class Brats:
    """A folder of cases at any depth, of one year or, where a region is the target, of several."""

    license = "BraTS: research use under the terms of the challenge's year"

    def __init__(self, root: Path, choices: ReaderOptions) -> None:
        self._root, self._choices = root, choices
        self._declared = None if choices.year is None else scheme_of_year(choices.year)
        self._modality = _modality(choices.modality or "FLAIR")
        self._region = None if choices.target == AS_STORED else Region(choices.target)
        self.labels: dict[int, str] = {} if self._region is None else {1: self._region.value}

    def sources(self) -> Iterator[ArchiveEntry | SkippedEntry]:
        found: set[LabelScheme] = set()
        for case, files in self._cases():
            source = self._source(case, files)
            if isinstance(source, ArchiveEntry):
                scheme = LabelScheme(source.scheme)
                found.add(scheme)
                if self._region is None:
                    self.labels = _LABELS[scheme]
                if self._region is None and len(found) > 1:
                    message = (
                        f"{self._root} mixes years whose label values mean different things "
                        f"({', '.join(sorted(found))}); prepare each by itself, or a region with --target."
                    )
                    raise AutoMedSAMError(message)
            yield source

    def pictures(self, source: ArchiveEntry) -> Iterator[AnnotatedImage]:
        yield from slices(*read_labeled(self._root, source), self._choices)

    def _cases(self) -> Iterator[tuple[tuple[str, str], dict[str, tuple[Path, range | None]]]]:
        """Each case's place and name, with its files by their part in lower case and the years of their names."""
        named = (
            (self._place(path, match), match[1], path, years)
            for path in files_below(self._root)
            if (known := _part_and_years(path.name)) is not None
            for match, years in [known]
        )
        for case, files in groupby(named, key=lambda entry: entry[0]):
            yield case, {part: (path, years) for _, part, path, years in files}

    def _place(self, path: Path, match: tuple[str | None, str]) -> tuple[str, str]:
        if match[0] is not None:
            return path.parent.as_posix(), match[0]
        # The challenge's own archive to 2016 keeps each modality in a folder of its own.
        folder = path.parent.parent if path.parent.name.startswith("VSD.Brain") else path.parent
        # Its high and low grades count from 1 alike.
        grade = f"{folder.parent.name}_" if folder.parent.name in ("HGG", "LGG") else ""
        return folder.as_posix(), grade + folder.name

    def _source(
        self, place: tuple[str, str], files: dict[str, tuple[Path, range | None]]
    ) -> ArchiveEntry | SkippedEntry:
        folder, name = place
        where = relative(Path(folder), self._root)
        image = next((files[part] for part in _MODALITIES[self._modality] if part in files), None)
        label = next((files[part] for part in _LABEL_PARTS if part in files), None)
        if image is None or label is None:
            lacking, otherwise = (
                (f"{self._modality} image", "name another --modality") if image is None else ("label", "add it")
            )
            has = ", ".join(sorted(files))
            return SkippedEntry(where, f"{folder} has no {lacking} of {name} but {has}; {otherwise} to prepare it.")
        try:
            scheme = self._scheme(label, where=folder)
        except AutoMedSAMError as error:
            return SkippedEntry(where, str(error))
        case = safe_name(name)
        several = _EXAMINATION.match(case)
        patient = next(group for group in several.groups() if group) if several else case
        return ArchiveEntry(
            case=case,
            patient=self._choices.patient_of(case, patient),
            images=(relative(image[0], self._root),),
            label=relative(label[0], self._root),
            scheme=scheme.value,
            modality=self._modality,
            values=self._values(scheme),
        )

    def _scheme(self, label: tuple[Path, range | None], where: str) -> LabelScheme:
        path, years = label
        four_classes = path.name.removesuffix(".gz").removesuffix(".nii").endswith("seg_4c")
        if years is None:
            if self._declared is None:
                message = f"The names in {where} tell no year, on which the labels' meaning depends; declare --year."
                raise AutoMedSAMError(message)
            return self._declared
        by_name = scheme_of_year(years.start)
        if self._declared not in (None, by_name):
            message = (
                f"{path} is named as of {years.start}, but {self._choices.year} was declared; declare its own year."
            )
            raise AutoMedSAMError(message)
        return LabelScheme.BRATS_2017_CBICA_4C if four_classes else by_name

    def _values(self, scheme: LabelScheme) -> dict[int, int]:
        import numpy as np

        stored = list(_LABELS[scheme])
        if self._region is None:
            return {value: value for value in stored}
        inside = region_mask(np.array(stored), scheme, self._region)
        return {value: int(within) for value, within in zip(stored, inside, strict=True)}


def scheme_of_year(year: int) -> LabelScheme:
    """What the label values of a year's challenge mean.

    Raises:
        AutoMedSAMError: if there was no challenge, or its labels are not known here.
    """
    if 2012 <= year <= 2016:
        return LabelScheme.BRATS_2012_2016
    if 2017 <= year <= 2022:
        return LabelScheme.BRATS_2017_2021
    if year == 2023:
        return LabelScheme.BRATS_2023
    message = f"The labels of BraTS {year} are not known; years from 2012 to 2023 are."
    raise AutoMedSAMError(message)


def _part_and_years(name: str) -> tuple[tuple[str | None, str], range | None] | None:
    """The case (None where its folder names it) and the part that a file's name tells, and the years of such names."""
    for years, pattern in _NAMES:
        if match := pattern.match(name):
            groups = [group for group in match.groups() if group is not None]
            return (groups[0] if len(groups) == 2 else None, groups[-1].lower()), years
    if match := _PLAIN.match(name):
        return (None, match[1].lower()), None
    return None


def _modality(wanted: str) -> str:
    for name, parts in _MODALITIES.items():
        if wanted.lower() in (name.lower(), *parts):
            return name
    message = f"BraTS has no modality {wanted}; choose one of {', '.join(_MODALITIES)}."
    raise AutoMedSAMError(message)
