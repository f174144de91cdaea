"""FLAIR volumes with skull: healthy of glioma as they are, and with another patient's brain in the place of theirs.

No labelled glioma with skull can be had, so a detector that must work with and without skull learns from composites.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Plane, Volume, Voxels
from automedsam.io.volume_reader import read_volume
from automedsam_lab.data.builtin_tasks import Case, load, region_mask
from automedsam_lab.data.sets.images import Part

EDGE_VOXELS = 2


@dataclass(frozen=True, eq=False)
class WholeHead:
    """One head.

    Attributes:
        name: of the patient.
        frames: `(N, H, W)` uint8, axial slices in canonical orientation.
        brain: `(N, H, W)` bool.
        spacing: between slices, rows and columns, in mm.
    """

    name: str
    frames: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    spacing: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Composite:
    """A head with the brain of a glioma patient.

    Attributes:
        name: of the glioma patient and the head.
        frames: `(N, H, W)` uint8, the head's slices.
        tumor: `(N, H, W)` bool, the whole tumor.
        spacing: the head's, in mm.
    """

    name: str
    frames: NDArray[np.uint8]
    tumor: NDArray[np.bool_]
    spacing: tuple[float, float, float]


def head_names(part: Part) -> list[str]:
    """The names of the heads of a part of the split."""
    text = resources.files("automedsam_lab").joinpath("splits", "whole_heads.json").read_text("utf-8")
    names: list[str] = json.loads(text)["parts"][part.value]
    return names


def whole_heads(root: Path, part: Part) -> list[WholeHead]:
    """The heads of a part of the split that are in the folder of datasets; the brain masks are a program's."""
    heads = []
    for name in head_names(part):
        path = root / "whole_head_flair" / f"{name}_flair.nii.gz"
        if path.is_file():
            volume = read_volume(path)
            brain = read_volume(path.with_name(f"{name}_brain.nii.gz"), check_voxels=False)
            frames = to_uint8(_axial(volume))
            heads.append(WholeHead(name, frames, _axial(brain) > 0, volume.frame_spacing(Plane.AXIAL)))
    return heads


def composite(head: WholeHead, case: Case) -> Composite:
    """Puts the brain of a glioma patient into a head.

    The bounding boxes of both brains are mapped onto each other; grey levels are scaled so that the medians of both
    brains are equal. Where the patient's brain leaves some of the head's brain uncovered, that stays.

    Args:
        head: with its brain mask.
        case: a skull-stripped FLAIR with its labels.

    Raises:
        AutoMedSAMError: if a file of the case cannot be read.
    """
    volume, labels = load(case)
    source = to_uint8(_axial(volume))
    tumor = _axial(Volume(region_mask(labels, case.scheme), volume.spacing, volume.origin, volume.direction))
    inside = _scaled_positions(head.brain, source > 0)
    sampled = ndimage.map_coordinates(source.astype(np.float32), inside, order=1)
    moved = ndimage.map_coordinates(tumor.astype(np.float32), inside, order=1) > 0.5
    # The outermost voxels are partly background, and would leave a dark rim.
    core = ndimage.binary_erosion(source > 0, iterations=EDGE_VOXELS)
    known = ndimage.map_coordinates(core.astype(np.uint8), inside, order=0) > 0
    frames, mask = head.frames.astype(np.float32), np.zeros(head.frames.shape, np.bool_)
    levels = frames[head.brain]
    ratio = float(np.median(levels)) / float(np.median(sampled[known & ~moved]))
    levels[known] = sampled[known] * ratio
    frames[head.brain], mask[head.brain] = levels, moved & known
    return Composite(f"{case.patient} in {head.name}", to_uint8(frames), mask, head.spacing)


def _scaled_positions(target: NDArray[np.bool_], source: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where the voxels of one mask, `(3, n)`, lie in the grid of another: their bounding boxes cover each other."""
    wanted = np.argwhere(target)
    low, high = wanted.min(0), wanted.max(0)
    there = [np.flatnonzero(source.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    first, last = np.array([one[0] for one in there]), np.array([one[-1] for one in there])
    scaled: NDArray[np.float64] = (wanted - low) / np.maximum(high - low, 1) * (last - first) + first
    return scaled.T


def _axial(volume: Volume) -> Voxels:
    frames: Voxels = np.ascontiguousarray(volume.to_frames(Plane.AXIAL)[0])
    return frames
