"""What a model's training volumes look like, measured for its manifest, and the input check measured on real data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from automedsam.bundle import Bundle
from automedsam.core.expected_input import ExpectedInput, Range
from automedsam.core.input_features import histogram_distance, image_histogram, measure_input
from automedsam.core.volume import Plane, Volume
from automedsam.errors import AutoMedSAMError
from automedsam.io.volume_reader import read_volume
from automedsam.pipeline.input_check import check_input
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS, check_task

# How far beyond the training images a volume may be, as factors of the lowest and the highest value. A handful of
# training patients does not show how large heads become; twice the distance between slices still works.
_SPACING_MARGIN = (0.6, 2.0)
_EXTENT_MARGIN = (0.75, 1.25)
# Intensities vary between scanners far more than between a few training cases.
_MIN_DISTANCE = 0.25
_DISTANCE_MARGIN = 1.5
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
# How the datasets name their label maps and masks, and their FLAIR images.
_LABEL = re.compile(r"(?:^|_)(?:seg|seg_4c|truth|OTMultiClass|brainmask|brain|fusion_simple)$")
_FLAIR = re.compile(r"flair|t2f|_fla_", re.IGNORECASE)


def expected_input(
    volumes: Iterable[Volume],
    plane: Plane,
    window: tuple[float, float] | None,
    *,
    skull: str,
    composites: Iterable[Volume] = (),
) -> tuple[ExpectedInput, int]:
    """Measures training volumes.

    Args:
        volumes: The training volumes, one channel or more each; the first channel is measured.
        plane: The plane of the model's slices.
        window: The model's intensity window.
        skull: "stripped" if all of them show the brain alone, else "any".
        composites: Training volumes made of two persons' images: of their size, but with intensities of no scanner.

    Returns:
        The section of the manifest, and the number of volumes.

    Raises:
        AutoMedSAMError: If there is no volume.
    """
    measured = [measure_input(volume, plane, window) for volume in volumes]
    if not measured:
        message = "There is no training volume to measure; give the folder that holds the datasets."
        raise AutoMedSAMError(message)
    mean = np.mean([one.histogram for one in measured], axis=0)
    distance = max(histogram_distance(one.histogram, mean) for one in measured)
    measured += [measure_input(volume, plane, window) for volume in composites]
    first, second, third = (_range([one.extent[axis] for one in measured], _EXTENT_MARGIN) for axis in range(3))
    found = ExpectedInput(
        skull=skull,
        slice_spacing_mm=_range([one.slice_spacing for one in measured], _SPACING_MARGIN),
        pixel_spacing_mm=_range([one.pixel_spacing for one in measured], _SPACING_MARGIN),
        extent_mm=(first, second, third),
        histogram=mean,
        max_histogram_distance=max(_MIN_DISTANCE, _DISTANCE_MARGIN * distance),
    )
    return found, len(measured)


def expected_image(images: Iterable[Volume]) -> tuple[ExpectedInput, int]:
    """Measures the training images of a model for single images.

    Args:
        images: Volumes of one slice.

    Returns:
        The section of the manifest, and the number of images.
    """
    histograms = [image_histogram(image) for image in images]
    mean = np.mean(histograms, axis=0)
    distance = max(histogram_distance(one, mean) for one in histograms)
    limit = max(_MIN_DISTANCE, _DISTANCE_MARGIN * distance)
    return ExpectedInput(single_image=True, histogram=mean, max_histogram_distance=limit), len(histograms)


@dataclass(frozen=True)
class Checked:
    """The input check of one file.

    Attributes:
        path: The file or DICOM folder.
        is_right: Whether the model takes such images.
        codes: The codes of the warnings; empty if there was none.
    """

    path: Path
    is_right: bool
    codes: tuple[str, ...]


def check_files(bundle: Bundle, right: Sequence[Path], wrong: Sequence[Path]) -> list[Checked]:
    """Runs the input check on files that the model takes and on files that it does not take.

    Files that cannot be read as a volume of the model's channels are left out.

    Args:
        bundle: The model.
        right: Images such as the model was trained on.
        wrong: Other images.
    """
    found = []
    for path, is_right in [*((path, True) for path in right), *((path, False) for path in wrong)]:
        try:
            volume = read_volume(path, len(bundle.modalities))
        except AutoMedSAMError:
            continue
        described = tuple({**one, "name": f"{one.get('name', '')} {path.name}"} for one in volume.descriptions)
        warnings = check_input(replace(volume, described=described), bundle)
        found.append(Checked(path, is_right, tuple(warning.code for warning in warnings)))
    return found


def right_and_wrong(task: str, root: Path) -> tuple[list[Path], list[Path]]:
    """The volumes below a folder of datasets that a built-in model takes, and all others.

    Volumes are NIfTI, MetaImage and NRRD files, and folders of DICOM files (`.dcm`). Left out are label maps and brain
    masks, which are no images; single images (PNG, JPEG) and video clips, of which names alone are checked; and arrays
    without a geometry or in formats that `read_volume` does not read: ACDC's HDF5 (`.h5`) and the CT lesions' `.npz`.

    Args:
        task: "glioma" or "hippocampus".
        root: The folder that holds `brats2018`, `msd_task04_hippocampus`, `whole_head_flair` ...

    Raises:
        AutoMedSAMError: If the lab does not know the task, or its model takes several images at once.
    """
    check_task(task)
    if task not in _IS_RIGHT:
        message = f"The model {task} takes several images at once; check one of {' or '.join(_IS_RIGHT)}."
        raise AutoMedSAMError(message)
    files = {path for path in root.rglob("*") if path.name.lower().endswith(_VOLUME_SUFFIXES) and not _is_label(path)}
    images = sorted(files | {path.parent for path in root.rglob("*.dcm")})
    right = [path for path in images if _IS_RIGHT[task](path.relative_to(root))]
    return right, [path for path in images if path not in set(right)]


def _is_label(path: Path) -> bool:
    return path.parent.name.startswith("labels") or _LABEL.search(path.name.partition(".")[0]) is not None


def _is_stripped_flair(path: Path) -> bool:
    return path.parts[0].startswith("brats") and _FLAIR.search(path.name) is not None


def _is_hippocampus(path: Path) -> bool:
    return path.parts[0] == "msd_task04_hippocampus"


_IS_RIGHT = {HIPPOCAMPUS: _is_hippocampus, GLIOMA: _is_stripped_flair}


def _range(values: Sequence[float], margin: tuple[float, float]) -> Range:
    return round(min(values) * margin[0], 2), round(max(values) * margin[1], 2)
