"""The built-in tasks: their published volumes, their splits, and which boxes their labels ask for.

A label's meaning depends on the year of the challenge it comes from, so each case declares its scheme:
BraTS label 3 is non-enhancing tumour until 2016, unused from 2017 to 2021, and enhancing tumour in 2023.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.core.volume import Plane
from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.splits import current_name
from automedsam_lab.metrics.box_agreement import BOX_PER_PIECE, ONE_BOX, BoxRule

if TYPE_CHECKING:
    from automedsam.core.volume import Volume

HIPPOCAMPUS = "hippocampus"
GLIOMA = "glioma"
BRATS = "brats"
GLIOMA_WITH_SKULL = "glioma-with-skull"
TASKS = (HIPPOCAMPUS, GLIOMA, BRATS)
SPLIT_SEED = 20261121


@dataclass(frozen=True)
class TaskSpec:
    """What a built-in task asks of a detector and of a baseline.

    Attributes:
        name: The task.
        plane: The plane of the slices.
        labels: Names by label value, from 1 without gaps, in the order of a detector's classes.
        boxes: Which boxes a label asks for on a slice.
        nested: Whether each label lies inside the one before it, so that its voxels are those of all later ones, too.
    """

    name: str
    plane: Plane
    labels: Mapping[int, str]
    boxes: BoxRule
    nested: bool = False

    def mask(self, labels: np.ndarray, value: int) -> np.ndarray:
        """Where a label is, bool of the shape of `labels`."""
        return labels >= value if self.nested else labels == value


TASK_SPECS = {
    HIPPOCAMPUS: TaskSpec(HIPPOCAMPUS, Plane.SAGITTAL, {1: "anterior", 2: "posterior"}, ONE_BOX),
    GLIOMA: TaskSpec(GLIOMA, Plane.AXIAL, {1: "whole tumour"}, BOX_PER_PIECE),
    BRATS: TaskSpec(
        BRATS,
        Plane.AXIAL,
        {1: "whole tumour", 2: "tumour core", 3: "enhancing tumour"},
        BOX_PER_PIECE,
        nested=True,
    ),
}


class LabelScheme(str, Enum):
    """What the voxel values of a label file mean."""

    MSD_HIPPOCAMPUS = "msd_task04_hippocampus"
    BRATS_2012_2016 = "brats_2012_2016"
    BRATS_2017_2021 = "brats_2017_2021"
    BRATS_2017_CBICA_4C = "brats_2017_cbica_4c"
    BRATS_2023 = "brats_2023"


class Region(str, Enum):
    """A region of a glioma as the BraTS challenge evaluates it."""

    WHOLE_TUMOUR = "whole tumour"
    TUMOUR_CORE = "tumour core"
    ENHANCING_TUMOUR = "enhancing tumour"


_REGION_VALUES: dict[LabelScheme, dict[Region, tuple[int, ...]]] = {
    LabelScheme.BRATS_2012_2016: {
        Region.WHOLE_TUMOUR: (1, 2, 3, 4),
        Region.TUMOUR_CORE: (1, 3, 4),
        Region.ENHANCING_TUMOUR: (4,),
    },
    LabelScheme.BRATS_2017_2021: {
        Region.WHOLE_TUMOUR: (1, 2, 4),
        Region.TUMOUR_CORE: (1, 4),
        Region.ENHANCING_TUMOUR: (4,),
    },
    LabelScheme.BRATS_2017_CBICA_4C: {
        Region.WHOLE_TUMOUR: (1, 2, 3),
        Region.TUMOUR_CORE: (1, 3),
        Region.ENHANCING_TUMOUR: (3,),
    },
    LabelScheme.BRATS_2023: {
        Region.WHOLE_TUMOUR: (1, 2, 3),
        Region.TUMOUR_CORE: (1, 3),
        Region.ENHANCING_TUMOUR: (3,),
    },
}


@dataclass(frozen=True)
class Case:
    """One patient's files.

    Attributes:
        patient: The patient's name, unique in its task; a split is drawn over these.
        images: The image files, one a modality.
        label: The label file on the same grid.
        scheme: What the label's values mean.
        modality: The modality of the images, "T1", "FLAIR", "T1c", or "FLAIR, T1c" for both in this order.
        expert: False where the label is a fusion of algorithms ("silver"): train on it, never report it.
    """

    patient: str
    images: tuple[Path, ...]
    label: Path
    scheme: LabelScheme
    modality: str
    expert: bool = True

    @property
    def task(self) -> str:
        """The task that the files belong to."""
        if self.scheme is LabelScheme.MSD_HIPPOCAMPUS:
            return HIPPOCAMPUS
        return GLIOMA if len(self.images) == 1 else BRATS


def cases(task: str, root: Path) -> list[Case]:
    """Every labelled case of a task.

    Args:
        task: "hippocampus", "glioma" (FLAIR) or "brats" (FLAIR and contrast-enhanced T1).
        root: The folder that holds `msd_task04_hippocampus`, `brats2015`, ...

    Returns:
        The cases, ordered by patient.

    Raises:
        AutoMedSAMError: The task is unknown or the folder holds none of its cases.
    """
    check_task(task)
    read = {HIPPOCAMPUS: _hippocampus_cases, GLIOMA: _glioma_cases, BRATS: _brats_cases}
    found = read[task](root)
    if not found:
        message = f"No {task} cases were found in {root}; give the folder that holds the downloaded datasets."
        raise AutoMedSAMError(message)
    return sorted(found, key=lambda case: case.patient)


def cases_if_any(task: str, root: Path) -> list[Case]:
    """`cases`, or none where the folder has none."""
    try:
        return cases(task, root)
    except AutoMedSAMError:
        return []


def t1c_cases(root: Path) -> list[Case]:
    """The glioma cases whose contrast-enhanced T1 is there, ordered by patient.

    The glioma detector is trained on FLAIR alone; these serve the segmenter and comparisons.
    """
    found = [
        Case(
            folder.name,
            (folder / "T1c_subtrMeanDivStd.nii.gz",),
            folder / "OTMultiClass.nii.gz",
            LabelScheme.BRATS_2012_2016,
            "T1c",
        )
        for folder in sorted((root / "brats2015").glob("brats_2013_pat*"))
    ]
    cbica = root / "brats2017" / "Brats17_CBICA_ARF_1"
    if cbica.is_dir():
        image, label = (cbica / f"{cbica.name}_{part}.nii.gz" for part in ("t1ce", "seg_4c"))
        found.append(Case(cbica.name, (image,), label, LabelScheme.BRATS_2017_CBICA_4C, "T1c"))
    return [*found, *_recent_gliomas(root, "t1ce", "T1c")]


def load(case: Case) -> tuple[Volume, np.ndarray]:
    """Read a case.

    Returns:
        The image volume and its labels `(K, J, I)` uint8 as they are stored: values mean what
        `case.scheme` says.

    Raises:
        AutoMedSAMError: A file cannot be read, or the label's grid is not the image's.
    """
    volume, stored = load_stored(case)
    return volume, np.rint(stored.array).astype(np.uint8)


def load_stored(case: Case) -> tuple[Volume, Volume]:
    """Read a case and its label map as it is stored, of any type.

    Raises:
        AutoMedSAMError: As `load`.
    """
    from automedsam.io.volume_reader import read_volume

    volume = read_volume(list(case.images))
    stored = read_volume(case.label, check_voxels=False)
    if not volume.same_grid(stored):
        message = f"The label {case.label} does not lie on the grid of {case.images[0]}; use matching files."
        raise AutoMedSAMError(message)
    return volume, stored


def region_mask(labels: np.ndarray, scheme: LabelScheme, region: Region = Region.WHOLE_TUMOUR) -> np.ndarray:
    """The voxels of a tumour region.

    Args:
        labels: Stored label values, any shape.
        scheme: The declared scheme of those values.
        region: The region that is wanted.

    Returns:
        A boolean mask of the same shape.

    Raises:
        AutoMedSAMError: The scheme does not describe gliomas.
    """
    if scheme not in _REGION_VALUES:
        message = f"The label scheme {scheme.value} has no tumour regions; declare the BraTS year of the case."
        raise AutoMedSAMError(message)
    return np.isin(labels, _REGION_VALUES[scheme][region])


def task_labels(case: Case, labels: np.ndarray) -> np.ndarray:
    """Stored labels as the task's own values: 1 anterior and 2 posterior, 1 whole tumour, or 1 to 3 of nested regions.

    Args:
        case: The case, which declares the scheme.
        labels: Stored values `(K, J, I)`.

    Returns:
        uint8 of the same shape, 0 outside.
    """
    if case.scheme is LabelScheme.MSD_HIPPOCAMPUS:
        return labels.astype(np.uint8)
    regions = list(Region) if case.task == BRATS else [Region.WHOLE_TUMOUR]
    nested = np.zeros(labels.shape, np.uint8)
    for region in regions:
        nested += region_mask(labels, case.scheme, region)
    return nested


def split(task: str) -> dict[str, list[str]]:
    """The stored patient-wise split of a task.

    Returns:
        Patients by split: "train", "val", "test" and, for glioma, "train_silver".
    """
    check_task(task)
    # The patients are those of the gliomas.
    file = f"{GLIOMA if task == BRATS else task}.json"
    text = resources.files("automedsam_lab").joinpath("splits", file).read_text("utf-8")
    return {current_name(name): patients for name, patients in json.loads(text)["parts"].items()}


def cases_of(task: str, root: Path, *splits: str) -> list[Case]:
    """The cases of some splits of a task that are present in `root`, ordered by patient."""
    stored = split(task)
    wanted = {patient for name in splits for patient in stored.get(current_name(name), [])}
    return [case for case in cases(task, root) if case.patient in wanted]


def draw_split(patients: Sequence[str], fractions: tuple[float, float], seed: int) -> dict[str, list[str]]:
    """Draw a patient-wise split.

    Args:
        patients: Patient names, each once.
        fractions: The shares of validation and test; the rest trains.
        seed: The fixed seed.

    Returns:
        Sorted patients by split: "train", "val", "test".
    """
    shuffled = sorted(patients)
    random.Random(seed).shuffle(shuffled)
    val = round(len(shuffled) * fractions[0])
    test = round(len(shuffled) * fractions[1])
    return {
        "train": sorted(shuffled[val + test :]),
        "val": sorted(shuffled[:val]),
        "test": sorted(shuffled[val : val + test]),
    }


def check_task(task: str) -> None:
    """Raise one clear sentence if the lab does not know a task."""
    if task not in TASKS:
        message = f"The lab knows no task {task!r}; use one of {', '.join(TASKS)}."
        raise AutoMedSAMError(message)


def _hippocampus_cases(root: Path) -> list[Case]:
    folder = root / "msd_task04_hippocampus"
    return [
        Case(
            image.name.removesuffix(".nii.gz"),
            (image,),
            folder / "labelsTr" / image.name,
            LabelScheme.MSD_HIPPOCAMPUS,
            "T1",
        )
        for image in sorted((folder / "imagesTr").glob("hippocampus_*.nii.gz"))
    ]


def _glioma_cases(root: Path) -> list[Case]:
    found = [
        Case(
            folder.name,
            (folder / "Flair_subtrMeanDivStd.nii.gz",),
            folder / "OTMultiClass.nii.gz",
            LabelScheme.BRATS_2012_2016,
            "FLAIR",
        )
        for folder in (root / "brats2015").glob("brats_2013_pat*")
    ]
    unnamed = root / "brats2017" / "unnamed_flair"
    if unnamed.is_dir():
        found.append(
            Case(
                "brats_2017_unnamed_flair",
                (unnamed / "flair.nii.gz",),
                unnamed / "truth.nii.gz",
                LabelScheme.BRATS_2017_2021,
                "FLAIR",
            )
        )
    silver = root / "brats_toolkit_silver" / "TCGA-DU-7294"
    if silver.is_dir():
        image, label = (silver / f"{silver.name}_{part}.nii.gz" for part in ("fla_bet", "fusion_simple"))
        found.append(Case(silver.name, (image,), label, LabelScheme.BRATS_2017_2021, "FLAIR", expert=False))
    return [*found, *_recent_gliomas(root, "flair", "FLAIR")]


def _brats_cases(root: Path) -> list[Case]:
    """The patients of whom both sequences are there."""
    contrast = {case.patient: case for case in t1c_cases(root)}
    return [
        replace(flair, images=(*flair.images, *contrast[flair.patient].images), modality="FLAIR, T1c")
        for flair in _glioma_cases(root)
        if flair.patient in contrast
    ]


def _recent_gliomas(root: Path, suffix: str, modality: str) -> list[Case]:
    """The patients of BraTS 2018 and 2021."""
    folders = sorted([*(root / "brats2018").glob("Brats18_*"), *(root / "brats2021").glob("BraTS2021_*")])
    return [
        Case(
            folder.name,
            (folder / f"{folder.name}_{suffix}.nii.gz",),
            folder / f"{folder.name}_seg.nii.gz",
            LabelScheme.BRATS_2017_2021,
            modality,
        )
        for folder in folders
    ]
