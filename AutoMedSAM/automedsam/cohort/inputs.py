"""The cases that an input names: a folder, a glob pattern, a BIDS or DICOM tree, or a CSV file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from automedsam.cohort.case import Case
from automedsam.cohort.csv_cases import cases_of_csv
from automedsam.cohort.dicom_cases import cases_of_dicom
from automedsam.cohort.grouping import cases_of_files
from automedsam.errors import AutoMedSAMError
from automedsam.io.dicom.reader import is_dicom_file
from automedsam.io.image_reader import IMAGE_SUFFIXES
from automedsam.io.volume_reader import VOLUME_SUFFIXES

_TABLES = (".csv", ".tsv")
_BIDS_MARK = "dataset_description.json"
# What belongs to a BIDS tree and holds no images to segment.
_BIDS_ASIDE = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
_BIDS_DATATYPES = ("anat", "ct", "pet", "dwi", "perf", "swi")


def find_cases(source: str, modalities: Sequence[str], output: Path, notes: list[str] | None = None) -> list[Case]:
    """Finds the cases of a cohort.

    Args:
        source: A folder (files grouped into cases by their names, or DICOM series), a glob pattern, a BIDS tree, or a
            CSV file with the columns "case", one for each modality (or "image"), and perhaps "reference".
        modalities: What the model looks at.
        output: The output folder, which is not searched.
        notes: Gets a sentence on each kind of file that was left out.

    Returns:
        The cases by name, each name once. A case that cannot be segmented has a `problem`.

    Raises:
        AutoMedSAMError: If nothing is there, no case has what the model looks at, or the CSV file is faulty.
    """
    path = Path(source).absolute()
    notes = [] if notes is None else notes
    if path.is_file() and path.suffix.lower() in _TABLES:
        cases = cases_of_csv(path, modalities)
    elif path.exists():
        cases = _cases_below(path, [path], modalities, output, notes)
    elif glob.has_magic(source):
        found = [Path(one).absolute() for one in sorted(glob.glob(source, recursive=True))]
        if not found:
            message = f"No file matches {source}: check the pattern, and put it in quotes."
            raise AutoMedSAMError(message)
        common = Path(os.path.commonpath(found)) if len(found) > 1 else found[0].parent
        cases = _cases_below(common, found, modalities, output, notes)
    else:
        message = f"{source} does not exist; check its spelling and folder."
        raise AutoMedSAMError(message)
    if not cases:
        message = (
            f"{source} contains no image: give a folder with {', '.join(VOLUME_SUFFIXES[:2])} or other volumes, DICOM "
            "series, or a CSV file."
        )
        raise AutoMedSAMError(message)
    if all(case.problem for case in cases):
        more = "" if len(cases) == 1 else f" None of the {len(cases)} cases can be segmented."
        raise AutoMedSAMError(cases[0].problem + more)
    _check_names(cases)
    return sorted(cases, key=lambda case: case.name)


def _check_names(cases: Sequence[Case]) -> None:
    """Refuses names that are the same, or that some file system takes for the same."""
    seen: dict[str, Case] = {}
    for case in cases:
        other = seen.setdefault(case.stem.casefold(), case)
        if other is not case:
            files = " and ".join(str(one.paths[0]) if one.paths else one.name for one in (other, case))
            message = f"{files} would both be the case {case.name}: rename one, or name the cases in a CSV file."
            raise AutoMedSAMError(message)


def _cases_below(
    base: Path, roots: Sequence[Path], modalities: Sequence[str], output: Path, notes: list[str]
) -> list[Case]:
    bids = base.is_dir() and ((base / _BIDS_MARK).is_file() or _has_subjects(base))
    files: list[Path] = []
    dicom: list[Path] = []
    for folder, names in _walk(roots, output):
        paths = [folder / name for name in names]
        if bids and any(part in _BIDS_ASIDE for part in folder.relative_to(base).parts[:1]):
            # Segmentations among the derivatives serve as references.
            files += [path for path in paths if _is_volume(path) and _is_bids_segmentation(path)]
            continue
        if bids and folder.name not in _BIDS_DATATYPES:
            continue
        files += [path for path in paths if _is_volume(path)]
        others = [path for path in paths if not path.name.lower().endswith((*VOLUME_SUFFIXES, *IMAGE_SUFFIXES))]
        if any(is_dicom_file(path) for path in others[:4]):
            dicom.append(folder)
    if not files and not dicom:
        files = [folder / name for folder, names in _walk(roots, output) for name in names if _is_picture(name)]
    base = base if base.is_dir() else base.parent
    return [
        *cases_of_files(files, base, modalities, notes, bids=bids),
        *(cases_of_dicom(dicom, base, modalities) if dicom else []),
    ]


def _walk(roots: Sequence[Path], output: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders and the names of their files, hidden ones left out, and the output folder as well."""
    aside = output.resolve()
    for root in roots:
        if root.is_file():
            yield root.parent, [root.name]
            continue
        for place, folders, names in os.walk(root, followlinks=True):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and (Path(place) / name).resolve() != aside
            )
            yield Path(place), sorted(name for name in names if not name.startswith("."))


def _has_subjects(base: Path) -> bool:
    return any(
        (folder / datatype).is_dir() or any(folder.glob(f"ses-*/{datatype}"))
        for folder in base.glob("sub-*")
        for datatype in _BIDS_DATATYPES
    )


def _is_bids_segmentation(path: Path) -> bool:
    stem = path.name.split(".")[0]
    return stem.endswith("_dseg") or (stem.endswith("_mask") and "_label-" in stem)


def _is_volume(path: Path) -> bool:
    name = path.name.lower()
    # The voxels of a pair have the suffix of neither list, but `.img` is a NIfTI suffix: its header stands for both.
    return name.endswith(VOLUME_SUFFIXES) and not (name.endswith(".img") and path.with_suffix(".hdr").exists())


def _is_picture(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
