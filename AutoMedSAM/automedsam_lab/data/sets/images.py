"""Every labelled image of the data folder as one stream, split by patient.

Sets are images of one kind from one source. A patient that stands in two sets has one name and one part in both.
Left out as duplicates, as the list of sources beside the data has it: `kvasir_seg`, whose images are part of
`kvasir_seg_352`; two images of Kvasir that are equal to others; the DeepLesion slices of the patients of
`ct_lesion_npz`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.builtin_tasks import GLIOMA, HIPPOCAMPUS, draw_split, split

SPLIT_FILE = "images.json"


class Part(str, Enum):
    """The part of the split that a patient is in."""

    TRAIN = "train"
    VALIDATION = "val"
    TEST = "test"


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One image with what is known of it.

    Attributes:
        set: the set's name, such as "kvasir".
        patient: unique over all sets.
        name: unique in its set.
        pixels: `(h, w)` or `(h, w, 3)` uint8 at native resolution.
        masks: `(h, w)` bool each, the objects; they may overlap.
        boxes: half-open `x0, y0, x1, y1` in native pixels, of objects without a mask.
    """

    set: str
    patient: str
    name: str
    pixels: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


def labeled_images(root: Path, part: Part | None = None) -> Iterator[tuple[Part, LabeledImage]]:
    """Reads the images one after the other, each with its part.

    Args:
        root: the folder that holds `kvasir_seg_352`, `brats2018`, ...
        part: the only part that is wanted; all if None.

    Raises:
        AutoMedSAMError: if the folder holds none of the sets, or a file is damaged.
    """
    from automedsam_lab.data.sets.image_sets import IMAGE_SETS
    from automedsam_lab.data.sets.volume_sets import VOLUME_SETS

    found = False
    for read in (*IMAGE_SETS, *VOLUME_SETS):
        for image in read(root, lambda patient: part is None or part_of(patient) is part):
            found = True
            yield part_of(image.patient), image
    if not found:
        message = f"No labelled images were found in {root}; give the folder that holds kvasir_seg_352, brats2018, ..."
        raise AutoMedSAMError(message)


def part_of(patient: str) -> Part:
    """The part that a patient is in by the written split; one that it does not name trains."""
    return _parts().get(patient, Part.TRAIN)


def draw_parts(patients: dict[str, list[str]], seed: int) -> dict[str, dict[str, list[str]]]:
    """Draws the split that `splits/images.json` holds.

    Args:
        patients: the patients of each set, each once; Kvasir's are those of its train.txt alone. Sets of fewer than
            four patients are left to training, and so are those with boxes only, which are not to be given.
        seed: the fixed seed.

    Returns:
        Sorted patients by set and part; at least one of validation and of test where a set has four patients.
    """
    drawn = {}
    for name, members in patients.items():
        if len(members) < 4:
            continue
        least = 1 / len(members)
        shares = {"kvasir": (0.1, 0.0), "glioma": (0.13, 0.26)}.get(name, (max(0.1, least), max(0.2, least)))
        drawn[name] = {part: some for part, some in draw_split(members, shares, seed).items() if part != "train"}
    return drawn


@lru_cache(maxsize=1)
def _parts() -> dict[str, Part]:
    """Part by patient, of those that do not train."""
    text = resources.files("automedsam_lab").joinpath("splits", SPLIT_FILE).read_text("utf-8")
    parts = {
        patient: Part(part)
        for sets in json.loads(text)["sets"].values()
        for part, patients in sets.items()
        for patient in patients
    }
    for task in (GLIOMA, HIPPOCAMPUS):
        parts |= {patient: Part(part) for part in ("val", "test") for patient in split(task)[part]}
    return parts
