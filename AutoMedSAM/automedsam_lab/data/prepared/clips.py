"""Clips of a prepared dataset's native cases, as MedSAM2 is fine-tuned on them: several objects, whole frames."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from automedsam.errors import AutoMedSAMError
from automedsam_lab.data.prepared.dataset import PreparedCase, PreparedDataset
from automedsam_lab.data.prepared.native_cases import NativeFrames, NativeReader

SMALLEST_OBJECT = 30
# Voxels of labelled cases that a process which both reads and trains keeps in memory.
_KEPT_VOXELS = 400_000_000


@dataclass(frozen=True)
class Variation:
    """How clips are varied: MedSAM2's published fine-tuning (`sam2.1_hiera_tiny_finetune512`).

    A clip is mirrored, turned and sheared as one; its brightness and contrast change once for the clip and once
    for each frame. Saturation, which the published recipe changes too, grey frames do not have.

    Attributes:
        flip: the probability of mirroring the columns.
        degrees: the most that a clip is turned.
        shear: the most that its columns lean, in degrees.
        brightness: of the clip, the largest relative change.
        contrast: of the clip.
        frame_brightness: of each frame.
        frame_contrast: of each frame.
    """

    flip: float = 0.5
    degrees: float = 25.0
    shear: float = 20.0
    brightness: float = 0.1
    contrast: float = 0.03
    frame_brightness: float = 0.1
    frame_contrast: float = 0.05


@dataclass(frozen=True)
class ClipSettings:
    """How clips are cut.

    Attributes:
        size: Side S of a frame in pixels; frames are stretched to it, as in the engine.
        frames: Maximum number of frames.
        objects: Maximum number of objects.
        variation: How clips are varied; None leaves them as they are.
        seed: Random seed of every choice.
    """

    size: int
    frames: int = 8
    objects: int = 5
    variation: Variation | None = None
    seed: int = 0


@dataclass(frozen=True)
class VideoClip:
    """`frames` `(T, 1, S, S)` float in 0..1, and `masks` `(T, O, S, S)` bool of the objects on the first of them."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class _Labeled:
    """A case whose objects are numbered: `objects` `(N, h, w)` holds their numbers, from 1."""

    frames: NDArray[np.uint8]
    objects: NDArray[np.int32]


class PreparedClips(Dataset[VideoClip]):
    """One clip of each labelled case; another one each epoch, the same for the same seed.

    A connected piece of one label is an object, as it is for the detector. A clip begins on a slice with an object,
    and has up to `objects` of those on it. A case with fewer slices than `frames` gives a shorter clip, a picture
    one of a single frame.

    Args:
        dataset: The dataset whose native cases are read.
        part: "train" or "val".
        settings: Size of the clips, and how they are varied.

    Raises:
        AutoMedSAMError: if no case of the part has masks.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        part: str,
        settings: ClipSettings,
    ) -> None:
        self._reader = NativeReader(dataset)
        self._cases = _cases_with_masks(dataset, part)
        self._settings = settings
        self._kept: OrderedDict[int, _Labeled] = OrderedDict()
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> VideoClip:
        """The clip of a case in this epoch.

        Raises:
            AutoMedSAMError: if the case cannot be read, or has no object though its prepared images do.
        """
        case, rng = self._labeled(index), np.random.default_rng((self._settings.seed, self.epoch, index))
        starts = np.flatnonzero(case.objects.any((1, 2)))
        # So late a start that frames would be missing is taken only where there is no other.
        early = starts[starts <= max(0, len(case.frames) - self._settings.frames)]
        start = int(rng.choice(early if len(early) else starts))
        part = slice(start, start + self._settings.frames)
        there = np.unique(case.objects[start][case.objects[start] > 0])
        chosen = rng.permutation(there)[: self._settings.objects]
        masks = torch.from_numpy(case.objects[part][:, None] == chosen[None, :, None, None])
        size = (self._settings.size, self._settings.size)
        gray = torch.from_numpy(case.frames[part][:, None]).float() / 255
        frames = F.interpolate(gray, size=size, mode="bilinear", antialias=True).clamp(0, 1)
        shares = F.interpolate(masks.float(), size=size, mode="bilinear", antialias=True)
        if self._settings.variation is not None:
            moved, moved_shares = _moved(rng, frames, shares, self._settings.variation)
            if bool((moved_shares[0] > 0.5).any()):  # else it was turned out of the frame, and stays as it was
                frames, shares = moved, moved_shares
            frames = _relit(rng, frames, self._settings.variation)
        # An object thinner than a pixel of the frame still is where any of it is.
        masks = shares > (0.5 if bool((shares[0] > 0.5).any()) else 0.0)
        return VideoClip(frames, masks[:, masks[0].flatten(1).any(1)])

    def _labeled(self, index: int) -> _Labeled:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        case = self._cases[index]
        read = self._reader.read(case)
        found = None if read is None else _pieces(read)
        if found is None:
            message = f"The case {case.name} ({case.images[0]}) shows no object, though its prepared images do."
            raise AutoMedSAMError(message)
        self._kept[index] = found
        # A worker lives for one epoch and sees each case once.
        most = _KEPT_VOXELS if get_worker_info() is None else 0
        while len(self._kept) > 1 and sum(kept.objects.size for kept in self._kept.values()) > most:
            self._kept.popitem(last=False)
        return found


def _cases_with_masks(dataset: PreparedDataset, part: str) -> list[PreparedCase]:
    """The cases that have masks, and of whose prepared images one has a box at least."""
    boxed = {image.source for image in dataset.part(part) if image.boxes}
    cases = [
        case
        for case in dataset.cases(part)
        if (case.label is not None or case.masks) and case.images[0].relative_to(dataset.root).as_posix() in boxed
    ]
    if not cases:
        message = (
            f"No case of the part {part} of {dataset.folder} has masks, and a segmenter learns from masks: "
            "prepare an archive that has them."
        )
        raise AutoMedSAMError(message)
    return cases


def _pieces(read: NativeFrames) -> _Labeled | None:
    """The connected pieces of each label, specks left out; None where there is no object."""
    from scipy import ndimage

    objects, count = np.zeros(read.labels.shape, np.int32), 0
    for label in np.unique(read.labels[read.labels > 0]):
        pieces, _ = ndimage.label(read.labels == label, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        large = 1 + np.flatnonzero(sizes >= min(SMALLEST_OBJECT, sizes.max()))
        renamed = np.zeros(len(sizes) + 1, np.int32)
        renamed[large] = count + 1 + np.arange(len(large))
        inside = pieces > 0
        objects[inside] = renamed[pieces[inside]]
        count += len(large)
    return _Labeled(read.frames, objects) if count else None


def _moved(rng: np.random.Generator, frames: Tensor, shares: Tensor, variation: Variation) -> tuple[Tensor, Tensor]:
    """A clip mirrored, turned and sheared about its middle; beside the picture it is dark."""
    angle = math.radians(rng.uniform(-variation.degrees, variation.degrees))
    lean = math.tan(math.radians(rng.uniform(-variation.shear, variation.shear)))
    mirror = -1.0 if rng.random() < variation.flip else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1, lean], [0, 1]]) @ np.diag([mirror, 1.0])
    theta = torch.zeros(1, 2, 3)
    theta[0, :, :2] = torch.from_numpy(matrix)
    grid = F.affine_grid(theta, [1, 1, *frames.shape[-2:]], align_corners=False)

    def sample(stack: Tensor) -> Tensor:
        return F.grid_sample(stack, grid.expand(len(stack), -1, -1, -1), align_corners=False)

    return sample(frames), sample(shares)


def _relit(rng: np.random.Generator, frames: Tensor, variation: Variation) -> Tensor:
    """Brightness and contrast changed for the clip, then for each frame."""

    def factors(limit: float, count: int) -> Tensor:
        return torch.from_numpy(rng.uniform(1 - limit, 1 + limit, count).astype(np.float32))[:, None, None, None]

    count = len(frames)
    for brightness, contrast, times in (
        (variation.brightness, variation.contrast, 1),
        (variation.frame_brightness, variation.frame_contrast, count),
    ):
        frames = (frames * factors(brightness, times)).clamp(0, 1)
        mean = frames.mean((1, 2, 3), keepdim=True)
        frames = (mean + (frames - mean) * factors(contrast, times)).clamp(0, 1)
    return frames
