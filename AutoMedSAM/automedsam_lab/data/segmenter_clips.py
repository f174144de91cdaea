"""What the segmenter trains on: training patients of both tasks, and generated volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from automedsam.core.intensity import to_uint8
from automedsam.core.volume import Plane
from automedsam_lab.data import builtin_tasks
from automedsam_lab.data.clips import Clip, LabeledVolume, normalize, sample_clip
from automedsam_lab.data.synthetic_volumes import generate

HIPPOCAMPUS_SHARE, GLIOMA_SHARE = 0.45, 0.35
SYNTHETIC_POOL = 64
SAGITTAL_AXIS, AXIAL_AXIS = 2, 0


def hippocampus_volumes(root: Path, *parts: str) -> list[LabeledVolume]:
    """The T1 crops of a part of the split; a box may ask for the anterior, the posterior or the whole."""
    volumes = []
    for case in builtin_tasks.cases_of(builtin_tasks.HIPPOCAMPUS, root, *parts):
        image, labels = _anatomical(case)
        volumes.append(_volume(image, [labels == 1, labels == 2, labels > 0], (0, 1, 2), SAGITTAL_AXIS, 1.6))
    return volumes


def glioma_volumes(root: Path, *parts: str) -> list[LabeledVolume]:
    """FLAIR with the whole tumour, and the same patients' T1c with the core and the enhancing part."""
    volumes = []
    chosen = builtin_tasks.cases_of(builtin_tasks.GLIOMA, root, *parts)
    patients = {case.patient for case in chosen}
    for case in chosen:
        image, labels = _anatomical(case)
        volumes.append(_volume(image, [builtin_tasks.region_mask(labels, case.scheme)], (3,), AXIAL_AXIS, 4.0))
    for case in builtin_tasks.t1c_cases(root):
        if case.patient not in patients:
            continue
        image, labels = _anatomical(case)
        regions = (builtin_tasks.Region.TUMOUR_CORE, builtin_tasks.Region.ENHANCING_TUMOUR)
        masks = [builtin_tasks.region_mask(labels, case.scheme, region) for region in regions]
        volumes.append(_volume(image, masks, (4, 5), AXIAL_AXIS, 3.0))
    return volumes


def training_clips(root: Path) -> ClipSource:
    """Clips of the training patients of both tasks; each start draws others, so a resumed run repeats none."""
    hippocampus = hippocampus_volumes(root, "train")
    return ClipSource(hippocampus, glioma_volumes(root, "train", "train_silver"), np.random.default_rng())


def validation_clips(root: Path, size: int, *, frames: int = 6, count: int = 32) -> list[Clip]:
    """The same clips in every run, of hippocampus patients that are not trained on (no glioma can be spared).

    Args:
        root: the folder of datasets.
        size: the side of a frame in pixels.
        frames: the frames of a clip.
        count: the number of clips.
    """
    rng = np.random.default_rng(5)
    volumes = hippocampus_volumes(root, "val")
    return [sample_clip(volumes[int(rng.integers(len(volumes)))], frames, size, rng) for _ in range(count)]


def calibration_slices(root: Path, size: int, count: int = 64) -> np.ndarray:
    """Slices of training patients `(count, 3, size, size)` float32, normalised as the image encoder takes them."""
    rng = np.random.default_rng(9)
    volumes = [*hippocampus_volumes(root, "train")[::8], *glioma_volumes(root, "train")]
    frames = [sample_clip(volumes[index % len(volumes)], 1, size, rng).frames for index in range(count)]
    return np.ascontiguousarray(normalize(torch.cat(frames)).numpy())


def _anatomical(case: builtin_tasks.Case) -> tuple[np.ndarray, np.ndarray]:
    """A case's grey levels and stored labels, `(K, J, I)` uint8 in LPS order."""
    volume, labels = builtin_tasks.load(case)
    frames = volume.to_frames(Plane.AXIAL)[0]
    ordered = replace(volume, array=labels).to_frames(Plane.AXIAL)[0]
    return to_uint8(np.ascontiguousarray(frames)), np.ascontiguousarray(ordered)


def _volume(
    image: np.ndarray, masks: list[np.ndarray], kinds: tuple[int, ...], axis: int, max_step: float
) -> LabeledVolume:
    """Crops to the objects and their surroundings, so that a clip touches little memory."""
    kept = [(mask, kind) for mask, kind in zip(masks, kinds, strict=True) if mask.sum() > 50]
    where = np.argwhere(np.any([mask for mask, _ in kept], axis=0))
    low, high = where.min(0), where.max(0) + 1
    margin = (high - low) // 2 + 8
    region = tuple(
        slice(max(0, lo - m), min(n, hi + m)) for lo, hi, m, n in zip(low, high, margin, image.shape, strict=True)
    )
    objects = [torch.from_numpy(np.ascontiguousarray(mask[region])) for mask, _ in kept]
    pixels = torch.from_numpy(np.ascontiguousarray(image[region]))
    return LabeledVolume(pixels, objects, axis, max_step, tuple(kind for _, kind in kept))


class ClipSource:
    """Draws training clips: 45 % hippocampus, 35 % glioma, 20 % generated; all generated without patients."""

    def __init__(self, hippocampus: list[LabeledVolume], glioma: list[LabeledVolume], rng: np.random.Generator) -> None:
        self._hippocampus, self._glioma, self._rng = hippocampus, glioma, rng
        self._generated = [generate(rng)]

    def clip(self, frames: int, size: int) -> Clip:
        """One clip of `frames` frames of `size` x `size` pixels."""
        return sample_clip(self._volume(), frames, size, self._rng)

    def _volume(self) -> LabeledVolume:
        draw = self._rng.random()
        if self._hippocampus and draw < HIPPOCAMPUS_SHARE:
            return self._hippocampus[int(self._rng.integers(len(self._hippocampus)))]
        if self._glioma and draw > 1 - GLIOMA_SHARE:
            return self._glioma[int(self._rng.integers(len(self._glioma)))]
        return self._synthetic()

    def _synthetic(self) -> LabeledVolume:
        """A fresh volume every tenth time; else one of the last few, cut along another plane."""
        if len(self._generated) < SYNTHETIC_POOL or self._rng.random() < 0.1:
            self._generated.append(generate(self._rng))
            del self._generated[:-SYNTHETIC_POOL]
            return self._generated[-1]
        return self._generated[int(self._rng.integers(len(self._generated)))]
