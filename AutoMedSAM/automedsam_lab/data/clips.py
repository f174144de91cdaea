"""Training clips for the segmenter: a few neighbouring frames and one object's mask in each.

A clip is cut out of a labelled volume along a slightly oblique plane, so that one patient gives many different
views: four in five as the engine would look at that patient, the fifth in any orientation and zoom. Everything is
sampled with one `grid_sample`, which keeps a clip at a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_OBJECT = 30
USUAL_SHARE = 0.8
HOLLOW_SHARE = 0.4
UNEQUAL_SHARE = 0.5
MIN_STEP, LONG_STEPS = 0.7, 3.0
OBJECT_KINDS = (
    "anterior hippocampus",
    "posterior hippocampus",
    "hippocampus",
    "whole tumour",
    "tumour core",
    "enhancing tumour",
    "right ventricle",
    "myocardium",
    "left ventricle",
    "CT lesion",
    "polyp",
    "breast lesion",
    "thorax on X-ray",
    "lung nodule",
    "kidney or its tumour",
    "lung tumour",
    "organ on CT",
)
WHOLE_TUMOUR = OBJECT_KINDS.index("whole tumour")


@dataclass(frozen=True)
class LabeledVolume:
    """One channel and the objects in it.

    Attributes:
        image: `(K, J, I)` uint8 in anatomical LPS order; a single image has K = 1.
        objects: `(K, J, I)` bool masks, one for each thing that a box may ask for.
        axis: the index (0, 1 or 2) of the axis that a user would slice along.
        max_step: the largest distance between frames in voxels, where the frames of a clip lie at equal distances.
        kinds: what each object is, as an index of `OBJECT_KINDS`, or -1 for something generated.
        together: whether the engine looks at all the objects in one crop.
        patient: unique over all sets; empty if it was generated.
    """

    image: Tensor
    objects: Sequence[Tensor]
    axis: int
    max_step: float
    kinds: Sequence[int] = ()
    together: bool = True
    patient: str = ""

    @property
    def single_image(self) -> bool:
        """Whether there is one slice, which stands still in a clip."""
        return self.image.shape[0] == 1

    # Clips are drawn by the thousand: what each of them needs is computed once. Images would take too much memory.
    @cached_property
    def points(self) -> list[np.ndarray]:
        """Some voxels `(n, 3)` of each object, n up to 4000."""
        every = [mask.nonzero().numpy().astype(np.float32) for mask in self.objects]
        return [points[:: max(1, len(points) // 4000)] for points in every]


@dataclass(frozen=True)
class Clip:
    """`frames` and `masks` `(T, 1, S, S)` float in 0..1 of one object, and its kind (-1 if generated)."""

    frames: Tensor
    masks: Tensor
    kind: int = -1


def sample_clip(volume: LabeledVolume, frames: int, size: int, rng: np.random.Generator) -> Clip:
    """Cuts a clip whose first frame shows the object; later frames may leave it.

    Args:
        volume: what to cut from.
        frames: the number of frames T.
        size: the side S of a frame in pixels.
        rng: the source of every choice.
    """
    while True:
        clip = _cut(volume, frames, size, rng)
        if clip.masks[0].sum() >= SMALLEST_OBJECT:
            return clip


def _cut(volume: LabeledVolume, frames: int, size: int, rng: np.random.Generator) -> Clip:
    chosen = int(rng.integers(len(volume.objects)))
    usual = bool(volume.kinds) and (rng.random() < USUAL_SHARE or volume.single_image)
    axis_w, axis_v, axis_u = _usual_axes(volume.axis, rng) if usual else _any_axes(volume.axis, rng)
    points = volume.points[chosen]
    # A segmentation looks at the boxes of all objects together, an odd clip at one object alone.
    seen = np.concatenate(volume.points) if usual and volume.together else points
    rows = _view(seen @ axis_v, axis_v, volume.image.shape, usual, rng)
    columns = _view(seen @ axis_u, axis_u, volume.image.shape, usual, rng)
    first = float(points[int(rng.integers(len(points)))] @ axis_w)

    w = torch.from_numpy(first + _distances(frames, volume.max_step, rng))[:, None, None, None]
    v = torch.linspace(*rows, size)[None, :, None, None]
    u = torch.linspace(*columns, size)[None, None, :, None]
    position = w * torch.from_numpy(axis_w) + v * torch.from_numpy(axis_v) + u * torch.from_numpy(axis_u)
    position = position + _elastic(frames, size, columns[1] - columns[0], rng)

    # Along an axis of one voxel, any position is that voxel.
    shape = torch.tensor(volume.image.shape, dtype=torch.float32)
    grid = (2 * position / (shape - 1).clamp(min=1) - 1).flip(-1)[None]
    image = F.grid_sample(volume.image[None, None].float() / 255, grid, align_corners=True)[0, 0]
    target = F.grid_sample(volume.objects[chosen][None, None].float(), grid, align_corners=True)[0, 0]
    kind = volume.kinds[chosen] if volume.kinds else -1
    if kind == WHOLE_TUMOUR and rng.random() < HOLLOW_SHARE:
        image = _hollow(image, target, rng)
    return Clip(_vary(image, rng)[:, None], (target > 0.5).float()[:, None], kind)


def _distances(frames: int, max_step: float, rng: np.random.Generator) -> np.ndarray:
    """How far each frame `(T,)` float32 lies from the first, in voxels.

    A propagation comes far from its prompt, to other shapes and past the end of the object, with memories of slices
    nearby. Clips have few frames, so half of them get there in unequal steps, some of them long.
    """
    if rng.random() < UNEQUAL_SHARE:
        steps = np.exp(rng.uniform(np.log(MIN_STEP), np.log(LONG_STEPS * max_step), frames - 1))
    else:
        steps = np.full(frames - 1, np.exp(rng.uniform(np.log(MIN_STEP), np.log(max_step))))
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.float32)


def _view(
    along: np.ndarray, axis: np.ndarray, shape: Sequence[int], usual: bool, rng: np.random.Generator
) -> tuple[float, float]:
    """Where a frame begins and ends along one of its axes, so that the object fills a part of it."""
    low, high = float(along.min()) - 1, float(along.max()) + 1
    extent = high - low
    filled = rng.uniform(0.45, 0.85) if usual else rng.uniform(0.3, 0.85) * np.exp(rng.normal(0, 0.15))
    slack = extent * (1 / float(np.clip(filled, 0.2, 0.95)) - 1)
    before = slack * (rng.uniform(0.35, 0.65) if usual else rng.random())
    start, end = low - before, high + slack - before
    if usual:
        # The engine never looks beyond the image; its main axis here is the one that this axis is nearest to.
        main = int(np.abs(axis).argmax())
        edges = sorted((0.0, float((shape[main] - 1) * axis[main])))
        start, end = max(start, min(edges[0], low)), min(end, max(edges[1], high))
    return start, end


def _usual_axes(axis: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes as the engine cuts frames: rows downwards or backwards, columns backwards or to the left."""
    down, back, left = -np.eye(3)[0], np.eye(3)[1], np.eye(3)[2]
    through, row, column = {0: (-down, back, left), 1: (back, down, left), 2: (left, down, back)}[axis]
    # Patients are nearly symmetric, and slices may be walked through either way.
    column = column * (rng.choice([-1, 1]) if axis != 2 else 1)
    base = np.stack([through * rng.choice([-1, 1]), row, column])
    return _turned(base, (8, 4, 4), rng)


def _any_axes(axis: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three orthonormal axes of any sense: through the frames, down a frame, across a frame."""
    if rng.random() < 0.25:
        axis = int(rng.integers(3))
    order = [axis, *[a for a in range(3) if a != axis]]
    base = np.eye(3)[order] * rng.choice([-1, 1], 3)[:, None]
    w, v, u = _turned(base, (20, 8, 8), rng)
    return (w, u, v) if rng.random() < 0.15 else (w, v, u)


def _turned(
    base: np.ndarray, deviations: tuple[float, float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The axes turned by random angles, of standard deviations in degrees: in the frame, and out of it twice."""
    rotation = np.eye(3)
    for (i, j), deviation in zip([(1, 2), (0, 1), (0, 2)], deviations, strict=True):
        angle = np.radians(rng.normal(0, deviation))
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    w, v, u = (rotation @ base).astype(np.float32)
    return w, v, u


def _elastic(frames: int, size: int, crop: float, rng: np.random.Generator) -> Tensor:
    """A smooth displacement `(T, S, S, 3)` in voxels."""
    amplitude = crop * rng.uniform(0, 0.035)
    coarse = torch.from_numpy(rng.standard_normal((1, 3, 2, 5, 5)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(frames, size, size), mode="trilinear", align_corners=True)
    return smooth[0].permute(1, 2, 3, 0) * amplitude


def _hollow(image: Tensor, target: Tensor, rng: np.random.Generator) -> Tensor:
    """A part of the tumour turned dark, as necrosis and cysts are; they belong to the whole tumour."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    field = _smooth(shape, int(rng.integers(2, 5)), rng)
    core = torch.sigmoid((field - rng.uniform(-0.3, 0.6)) * 10) * target
    texture = 1 + 0.2 * _smooth(shape, 12, rng)
    return torch.lerp(image, rng.uniform(0.03, 0.45) * texture, core)


def _smooth(shape: tuple[int, int, int], cells: int, rng: np.random.Generator) -> Tensor:
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 2, cells, cells)).astype(np.float32))
    return F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _vary(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast, brightness, inversion, bias field, resolution and noise, as scanners and windows differ."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    image = image.clamp(1e-3, 1) ** float(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.04:
        image = 1 - image
    if rng.random() < 0.3:
        image = image * (1 + rng.uniform(0, 0.25) * _smooth(shape, 3, rng))
    image = (image - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.1, 0.1)
    if rng.random() < 0.25:
        coarse = F.interpolate(image[:, None], scale_factor=rng.uniform(0.35, 0.8), mode="area")
        image = F.interpolate(coarse, size=shape[1:], mode="bilinear")[:, 0]
    if rng.random() < 0.5:
        noise = rng.standard_normal(shape, dtype=np.float32)
        image = image + rng.uniform(0, 0.07) * torch.from_numpy(noise)
    return image.clamp(0, 1)


def tight_box(mask: Tensor) -> Tensor:
    """The half-open `x0, y0, x1, y1` box of a non-empty `(S, S)` mask, in pixels."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return torch.tensor(
        [columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1], dtype=torch.float32
    )


def jitter_box(box: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """A box as a detector would have drawn it: a third exact, the rest off by a few per cent of its sides."""
    if rng.random() < 1 / 3:
        return box
    sides = torch.stack([box[2] - box[0], box[3] - box[1]]).repeat(2)
    noise = torch.from_numpy(rng.normal(0, rng.uniform(0.01, 0.09), 4).astype(np.float32))
    return (box + noise * sides).clamp(0, size)


def normalize(frames: Tensor) -> Tensor:
    """`(B, 1, S, S)` gray in 0..1 to `(B, 3, S, S)` with ImageNet's mean and deviation, as SAM 2 expects."""
    mean, std = (
        torch.tensor(IMAGENET_MEAN, device=frames.device),
        torch.tensor(IMAGENET_STD, device=frames.device),
    )
    return (frames - mean[None, :, None, None]) / std[None, :, None, None]
