"""Generated volumes in the manner of SynthSeg: random shapes, contrasts and textures.

They teach the segmenter to follow whatever was boxed, in a modality it has never seen (Billot et al., 2023).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from automedsam_lab.data.clips import LabeledVolume

SHAPE = (48, 72, 72)


def generate(rng: np.random.Generator) -> LabeledVolume:
    """A random volume of 48 x 72 x 72 voxels with one to three objects."""
    while True:
        labels, objects = _partition(rng) if rng.random() < 0.5 else _blobs(rng)
        if objects:
            image = _paint(labels, rng)
            return LabeledVolume(image, objects, axis=int(rng.integers(3)), max_step=3.0)


def _field(cells: tuple[int, ...], channels: int, rng: np.random.Generator) -> Tensor:
    coarse = torch.from_numpy(rng.standard_normal((1, channels, *cells)).astype(np.float32))
    return F.interpolate(coarse, size=SHAPE, mode="trilinear", align_corners=True)[0]


def _partition(rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
    """Regions where one of several smooth fields is the largest; the objects are whole regions."""
    cells = int(rng.integers(3, 7))
    labels = _field((cells, cells, cells), int(rng.integers(4, 9)), rng).argmax(0)
    objects = []
    for value in rng.permutation(int(labels.max()) + 1)[:3]:
        parts, count = ndimage.label(labels.numpy() == value)
        if count == 0:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        if 400 < sizes.max() < 60_000:
            objects.append(torch.from_numpy(parts == int(sizes.argmax()) + 1))
    return labels, objects


def _blobs(rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
    """Warped ellipsoids in a body, some of them distractors; an object may have a core of another contrast."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    warp = _field((4, 5, 5), 3, rng) * 0.12
    z, y, x = z + warp[0], y + warp[1], x + warp[2]
    labels = ((x / rng.uniform(0.7, 1.0)) ** 2 + (y / rng.uniform(0.75, 1.0)) ** 2 + z**2 < 1).long()
    roughness = _field((10, 14, 14), 1, rng)[0]
    objects = []
    for value in range(2, int(rng.integers(5, 11))):
        center, radii = rng.uniform(-0.6, 0.6, 3), np.exp(rng.uniform(np.log(0.12), np.log(0.5), 3))
        distance = sum(((p - c) / r) ** 2 for p, c, r in zip((z, y, x), center, radii, strict=True))
        inside = distance + rng.uniform(0, 0.3) * roughness < 1
        labels[inside] = 2 * value
        if rng.random() < 0.3:
            labels[distance + 0.2 * roughness < 0.35] = 2 * value + 1
        objects.append((inside, value))
    kept = [labels.div(2, rounding_mode="floor") == value for _, value in objects[-3:]]
    return labels, [mask for mask in kept if mask.sum() > 300]


def _paint(labels: Tensor, rng: np.random.Generator) -> Tensor:
    means = torch.from_numpy(rng.uniform(0.05, 0.95, int(labels.max()) + 1).astype(np.float32))
    if rng.random() < 0.5:
        means[0] = 0.0
    image = means[labels]
    image = image + rng.uniform(0, 0.12) * _field((12, 18, 18), 1, rng)[0]
    blurred = F.avg_pool3d(image[None, None], 3, stride=1, padding=1)[0, 0]
    image = torch.lerp(image, blurred, rng.uniform(0, 1)) + rng.uniform(0, 0.05) * torch.from_numpy(
        rng.standard_normal(SHAPE, dtype=np.float32)
    )
    return (image.clamp(0, 1) * 255).to(torch.uint8)
