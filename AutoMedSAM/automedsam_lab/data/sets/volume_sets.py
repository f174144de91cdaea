"""The sets of volumes, from each of which a few slices are taken at equal distances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.core.intensity import to_uint8
from automedsam.errors import AutoMedSAMError
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.data.builtin_tasks import (
    GLIOMA,
    HIPPOCAMPUS,
    Region,
    cases_if_any,
    load,
    region_mask,
    t1c_cases,
)
from automedsam_lab.data.readers.npz import read_npz
from automedsam_lab.data.sets.image_sets import Wanted, deeplesion_patient
from automedsam_lab.data.sets.images import LabeledImage

# Name, grey levels `(N, H, W)`, and a mask of the same shape for each region.
Frames = tuple[str, NDArray[np.uint8], list[NDArray[np.bool_]]]

GLIOMA_SLICES, HIPPOCAMPUS_SLICES = 5, 2
# Slices with less of the object are left out: of 1 mm pixels.
MIN_TUMOUR, MIN_HIPPOCAMPUS = 150, 30


def glioma(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Whole tumours on FLAIR, whole tumours and their cores on contrast-enhanced T1."""
    found = [*cases_if_any(GLIOMA, root), *t1c_cases(root)]
    for case in found:
        if not wanted(case.patient):
            continue
        volume, labels = load(case)
        regions = [region_mask(labels, case.scheme)]
        if case.modality == "T1c":
            regions.append(region_mask(labels, case.scheme, Region.TUMOUR_CORE))
        name = "glioma_flair" if case.modality == "FLAIR" else "glioma_t1c"
        yield from _slices(name, case.patient, to_uint8(volume.array), regions, (GLIOMA_SLICES, MIN_TUMOUR))


def hippocampus(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """Anterior and posterior hippocampus, and both, on crops of T1 in the plane of the file's slices."""
    for case in cases_if_any(HIPPOCAMPUS, root):
        if wanted(case.patient):
            volume, labels = load(case)
            regions = [labels == 1, labels == 2, labels > 0]
            yield from _slices(
                "hippocampus", case.patient, to_uint8(volume.array), regions, (HIPPOCAMPUS_SLICES, MIN_HIPPOCAMPUS)
            )


def acdc_patient(name: str) -> str:
    """The patient of an image, by the name of its file."""
    return f"acdc {name.partition('_')[0]}"


def acdc(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """All slices of `acdc_volumes`."""
    for name, frames, regions in acdc_volumes(root, wanted):
        yield from _slices("acdc", acdc_patient(name), frames, regions, (len(frames), 1), name)


def acdc_volumes(root: Path, wanted: Wanted) -> Iterator[Frames]:
    """Right ventricle, myocardium and left ventricle on cardiac MR."""
    paths = sorted((root / "acdc_wsl4mis").glob("*.h5"))
    if paths:
        with require("train", "Reading HDF5"):
            import h5py
    for path in paths:
        if not wanted(acdc_patient(path.name)):
            continue
        try:
            with h5py.File(path) as opened:
                image, labels = np.asarray(opened["image"]), np.asarray(opened["label"])
        except (OSError, KeyError) as error:
            message = f"{path} is no HDF5 file with image and label ({error}); restore it from the archive."
            raise AutoMedSAMError(message) from error
        regions = [labels == value for value in (1, 2, 3)]
        yield path.stem, to_uint8(image), regions


def ct_lesion(root: Path, wanted: Wanted) -> Iterator[LabeledImage]:
    """All slices of `ct_lesion_volumes`."""
    for name, frames, regions in ct_lesion_volumes(root, wanted):
        yield from _slices("ct_lesion", deeplesion_patient(name), frames, regions, (len(frames), 1), name)


def ct_lesion_volumes(root: Path, wanted: Wanted) -> Iterator[Frames]:
    """Lesions on stacks of CT slices."""
    for path in sorted((root / "ct_lesion_npz").glob("*.npz")):
        if wanted(deeplesion_patient(path.stem)):
            volume, labels = read_npz(path)
            # Already windowed to 8 bits.
            yield path.stem, volume.array.astype(np.uint8), [labels > 0]


VOLUME_SETS = (glioma, hippocampus, acdc, ct_lesion)


def _slices(
    name: str,
    patient: str,
    frames: NDArray[np.uint8],
    regions: list[NDArray[np.bool_]],
    limits: tuple[int, int],
    volume: str = "",
) -> Iterator[LabeledImage]:
    """At most so many slices at equal distances among those on which the regions have so many pixels."""
    count, least = limits
    area = np.any(regions, 0).sum((1, 2))
    shown = np.flatnonzero(area >= least)
    if not len(shown):
        return
    places = (
        np.unique(np.linspace(0, len(shown) - 1, count + 2)[1:-1].round().astype(int)) if count < len(shown) else None
    )
    for index in shown if places is None else shown[places]:
        masks = tuple(region[index] for region in regions)
        yield LabeledImage(name, patient, f"{volume or patient} {index:03d}", frames[index], masks)
