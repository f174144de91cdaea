"""Training clips for the segmenter: a few neighbouring frames and one object's mask in each.

A clip is cut out of a labelled volume along a random, slightly oblique plane, so that one patient gives many
different views. Everything is sampled with one `grid_sample`, which keeps a clip at a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_OBJECT = 30


@dataclass(frozen=True)
class LabelledVolume:
    """One channel and the objects in it.

    Attributes:
        image: `(K, J, I)` uint8 in anatomical LPS order.
        objects: `(K, J, I)` bool masks, one for each thing that a box may ask for.
        axis: the index (0, 1 or 2) of the axis that a user would slice along.
        max_step: the largest distance between frames, in voxels.
    """

    image: Tensor
    objects: Sequence[Tensor]
    axis: int
    max_step: float


@dataclass(frozen=True)
class Clip:
    """`frames` `(T, 1, S, S)` float in 0..1 and `masks` `(T, 1, S, S)` float in 0..1 of one object."""

    frames: Tensor
    masks: Tensor


def sample_clip(volume: LabelledVolume, frames: int, size: int, rng: np.random.Generator) -> Clip:
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


def _cut(volume: LabelledVolume, frames: int, size: int, rng: np.random.Generator) -> Clip:
    mask = volume.objects[int(rng.integers(len(volume.objects)))]
    points = mask.nonzero().numpy().astype(np.float32)
    points = points[rng.integers(len(points), size=min(len(points), 1500))]
    axis_w, axis_v, axis_u = _frame_axes(volume.axis, rng)

    along_u, along_v = points @ axis_u, points @ axis_v
    extent = np.array([np.ptp(along_v) + 2, np.ptp(along_u) + 2], np.float32)
    filled = rng.uniform(0.3, 0.85) * np.exp(rng.normal(0, 0.15, 2)).astype(np.float32)
    crop = extent / np.clip(filled, 0.2, 0.95)
    slack = (crop - extent) / 2
    centre_v = (along_v.max() + along_v.min()) / 2 + rng.uniform(-1, 1) * slack[0]
    centre_u = (along_u.max() + along_u.min()) / 2 + rng.uniform(-1, 1) * slack[1]
    first = points[int(rng.integers(len(points)))] @ axis_w
    step = float(np.exp(rng.uniform(np.log(0.7), np.log(volume.max_step))))

    w = torch.arange(frames, dtype=torch.float32)[:, None, None, None] * step + float(first)
    line = torch.linspace(-0.5, 0.5, size)
    v = (line * float(crop[0]) + float(centre_v))[None, :, None, None]
    u = (line * float(crop[1]) + float(centre_u))[None, None, :, None]
    position = w * torch.from_numpy(axis_w) + v * torch.from_numpy(axis_v) + u * torch.from_numpy(axis_u)
    position = position + _elastic(frames, size, float(crop.mean()), rng)

    shape = torch.tensor(volume.image.shape, dtype=torch.float32)
    grid = (2 * position / (shape - 1) - 1).flip(-1)[None]
    image = F.grid_sample(volume.image[None, None].float() / 255, grid, align_corners=True)[0, 0]
    target = F.grid_sample(mask[None, None].float(), grid, align_corners=True)[0, 0]
    return Clip(_vary(image, rng)[:, None], (target > 0.5).float()[:, None])


def _frame_axes(axis: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three orthonormal axes: through the frames, down a frame, across a frame."""
    if rng.random() < 0.25:
        axis = int(rng.integers(3))
    order = [axis, *[a for a in range(3) if a != axis]]
    base = np.eye(3, dtype=np.float32)[order] * rng.choice([-1, 1], 3).astype(np.float32)[:, None]
    angles = np.radians([rng.normal(0, 20), rng.normal(0, 8), rng.normal(0, 8)])
    rotation = np.eye(3)
    for (i, j), angle in zip([(1, 2), (0, 1), (0, 2)], angles, strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    w, v, u = (rotation @ base).astype(np.float32)
    return (w, u, v) if rng.random() < 0.15 else (w, v, u)


def _elastic(frames: int, size: int, crop: float, rng: np.random.Generator) -> Tensor:
    """A smooth displacement `(T, S, S, 3)` in voxels."""
    amplitude = crop * rng.uniform(0, 0.035)
    coarse = torch.from_numpy(rng.standard_normal((1, 3, 2, 5, 5)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(frames, size, size), mode="trilinear", align_corners=True)
    return smooth[0].permute(1, 2, 3, 0) * amplitude


def _smooth(shape: tuple[int, int, int], cells: int, rng: np.random.Generator) -> Tensor:
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 2, cells, cells)).astype(np.float32))
    return F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def _vary(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast, brightness, inversion, bias field, resolution and noise, as scanners and windows differ."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    image = image.clamp(1e-3, 1) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.1:
        image = 1 - image
    if rng.random() < 0.3:
        image = image * (1 + rng.uniform(0, 0.25) * _smooth(shape, 3, rng))
    image = (image - 0.5) * rng.uniform(0.6, 1.35) + 0.5 + rng.uniform(-0.15, 0.15)
    if rng.random() < 0.25:
        coarse = F.interpolate(image[:, None], scale_factor=rng.uniform(0.35, 0.8), mode="area")
        image = F.interpolate(coarse, size=shape[1:], mode="bilinear")[:, 0]
    if rng.random() < 0.6:
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


def normalise(frames: Tensor) -> Tensor:
    """`(B, 1, S, S)` grey in 0..1 to `(B, 3, S, S)` with ImageNet's mean and deviation, as SAM 2 expects."""
    mean, std = torch.tensor(IMAGENET_MEAN, device=frames.device), torch.tensor(IMAGENET_STD, device=frames.device)
    return (frames - mean[None, :, None, None]) / std[None, :, None, None]
