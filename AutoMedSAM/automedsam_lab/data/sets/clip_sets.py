"""The sets that a segmenter's training clips are cut from: labelled volumes and single images, split by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from automedsam.core.color import image_luminance
from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Plane
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.builtin_tasks import Case, Region
from automedsam_lab.data.clips import OBJECT_KINDS, LabeledVolume
from automedsam_lab.data.sets import image_sets
from automedsam_lab.data.sets.image_sets import Wanted, deeplesion_patient
from automedsam_lab.data.sets.images import LabeledImage, Part, part_of
from automedsam_lab.data.sets.volume_sets import (
    Frames,
    acdc_patient,
    acdc_volumes,
    ct_lesion_volumes,
)

SAGITTAL_AXIS, AXIAL_AXIS = 2, 0
MIN_VOXELS = 50

STARTER_SHARES = {"hippocampus": 0.45, "glioma_flair": 0.21, "glioma_t1c": 0.14}
"""How often a clip of a set is drawn by the recipe of the starter bundles of 0.1 and 0.2; the rest is generated."""

UNIVERSAL_SHARES = {
    "hippocampus": 0.15,
    "glioma_flair": 0.2,
    "glioma_t1c": 0.15,
    "kvasir": 0.14,
    "acdc": 0.05,
    "ct_lesion": 0.03,
    "lidc": 0.03,
    "busi": 0.02,
    "jsrt": 0.04,
    "lungs": 0.01,
    "kits19": 0.03,
    "msd_lung": 0.03,
    "sunnybrook": 0.02,
    "sam_med2d": 0.01,
}
"""The same for the segmenter that all bundles share."""

TRACKING_SHARES = {
    "hippocampus": 0.24,
    "glioma_flair": 0.24,
    "glioma_t1c": 0.18,
    "kvasir": 0.08,
    "acdc": 0.05,
    "ct_lesion": 0.03,
    "lidc": 0.02,
    "busi": 0.015,
    "jsrt": 0.025,
    "lungs": 0.01,
    "kits19": 0.02,
    "msd_lung": 0.02,
    "sunnybrook": 0.01,
    "sam_med2d": 0.01,
}
"""The same for its second training, of which most clips are of volumes."""

_IMAGE_KINDS = {
    "kvasir": "polyp",
    "busi": "breast lesion",
    "jsrt": "thorax on X-ray",
    "lungs": "thorax on X-ray",
    "lidc": "lung nodule",
    "kits19": "kidney or its tumour",
    "msd_lung": "lung tumour",
    "sunnybrook": "left ventricle",
    "sam_med2d": "organ on CT",
}


@dataclass(frozen=True)
class ClipSet:
    """Labelled volumes of one kind.

    Attributes:
        name: of the set.
        volumes: at least one.
        share: of the clips that are drawn.
    """

    name: str
    volumes: Sequence[LabeledVolume]
    share: float


def clip_sets(root: Path, part: Part, shares: Mapping[str, float]) -> list[ClipSet]:
    """Reads the sets that are in the folder of datasets.

    Args:
        root: the folder that holds `msd_task04_hippocampus`, `brats2018`, `kvasir_seg_352`, ...
        part: the part of the split.
        shares: by the name of each set that is wanted.

    Returns:
        The sets that have volumes in this part.
    """
    readers: dict[str, Callable[[], Iterator[LabeledVolume]]] = {
        "hippocampus": lambda: _hippocampus(root, part),
        "glioma_flair": lambda: (_flair(case) for case in _gliomas(root, part) if case.modality == "FLAIR"),
        "glioma_t1c": lambda: (_t1c(case) for case in _gliomas(root, part) if case.modality == "T1c"),
        "acdc": lambda: _frames(
            acdc_volumes(root, _wanted(part)), ("right ventricle", "myocardium", "left ventricle"), acdc_patient
        ),
        "ct_lesion": lambda: _frames(ct_lesion_volumes(root, _wanted(part)), ("CT lesion",), deeplesion_patient),
        **{name: _image_reader(name, root, part) for name in _IMAGE_KINDS},
    }
    read = [ClipSet(name, list(readers[name]()), share) for name, share in shares.items()]
    return [one for one in read if one.volumes]


def _wanted(part: Part) -> Wanted:
    return lambda patient: part_of(patient) is part


def _hippocampus(root: Path, part: Part) -> Iterator[LabeledVolume]:
    """The T1 crops; a box may ask for the anterior, the posterior or the whole."""
    for case in builtin_tasks.cases_if_any(builtin_tasks.HIPPOCAMPUS, root):
        if part_of(case.patient) is part:
            image, labels = _anatomical(case)
            masks = [labels == 1, labels == 2, labels > 0]
            kinds = ("anterior hippocampus", "posterior hippocampus", "hippocampus")
            yield _volume(case.patient, image, masks, kinds, SAGITTAL_AXIS, 1.6)


def _gliomas(root: Path, part: Part) -> Iterator[Case]:
    known = builtin_tasks.cases_if_any(builtin_tasks.GLIOMA, root)
    for case in (*known, *builtin_tasks.t1c_cases(root)):
        if part_of(case.patient) is part:
            yield case


def _flair(case: Case) -> LabeledVolume:
    image, labels = _anatomical(case)
    masks = [builtin_tasks.region_mask(labels, case.scheme)]
    return _volume(case.patient, image, masks, ("whole tumour",), AXIAL_AXIS, 4.0)


def _t1c(case: Case) -> LabeledVolume:
    image, labels = _anatomical(case)
    masks = [builtin_tasks.region_mask(labels, case.scheme, region) for region in Region]
    return _volume(case.patient, image, masks, [region.value for region in Region], AXIAL_AXIS, 3.0)


def _anatomical(case: Case) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A case's grey levels and stored labels, `(K, J, I)` uint8 in LPS order."""
    volume, labels = builtin_tasks.load(case)
    frames = volume.to_frames(Plane.AXIAL)[0]
    ordered = replace(volume, array=labels).to_frames(Plane.AXIAL)[0]
    return to_uint8(np.ascontiguousarray(frames)), np.ascontiguousarray(ordered)


def _volume(
    patient: str,
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    kinds: Sequence[str],
    axis: int,
    max_step: float,
) -> LabeledVolume:
    """Crops to the objects and their surroundings, so that a clip touches little memory."""
    kept = [(mask, kind) for mask, kind in zip(masks, kinds, strict=True) if mask.sum() > MIN_VOXELS]
    where = np.argwhere(np.any([mask for mask, _ in kept], axis=0))
    low, high = where.min(0), where.max(0) + 1
    margin = (high - low) // 2 + 8
    region = tuple(
        slice(max(0, lo - m), min(n, hi + m)) for lo, hi, m, n in zip(low, high, margin, image.shape, strict=True)
    )
    objects = [torch.from_numpy(np.ascontiguousarray(mask[region])) for mask, _ in kept]
    pixels = torch.from_numpy(np.ascontiguousarray(image[region]))
    numbers = tuple(OBJECT_KINDS.index(kind) for _, kind in kept)
    return LabeledVolume(pixels, objects, axis, max_step, numbers, patient=patient)


def _frames(
    volumes: Iterator[Frames], kinds: Sequence[str], patient_of: Callable[[str], str]
) -> Iterator[LabeledVolume]:
    """Stacks of thick slices, of which neither distances nor directions are known."""
    for name, frames, masks in volumes:
        if any(mask.sum() > MIN_VOXELS for mask in masks):
            yield _volume(patient_of(name), frames, masks, kinds, AXIAL_AXIS, 1.0)


def _image_reader(name: str, root: Path, part: Part) -> Callable[[], Iterator[LabeledVolume]]:
    read = getattr(image_sets, name)
    return lambda: (
        _image(image, _IMAGE_KINDS[name])
        for image in read(root, _wanted(part))
        if any(mask.sum() > MIN_VOXELS for mask in image.masks)
    )


def _image(image: LabeledImage, kind: str) -> LabeledVolume:
    gray = image_luminance(image.pixels)
    masks = [mask for mask in image.masks if mask.sum() > MIN_VOXELS]
    return LabeledVolume(
        torch.from_numpy(np.array(gray)[None]),
        [torch.from_numpy(np.array(mask)[None]) for mask in masks],
        AXIAL_AXIS,
        1.0,
        (OBJECT_KINDS.index(kind),) * len(masks),
        together=False,
        patient=image.patient,
    )
