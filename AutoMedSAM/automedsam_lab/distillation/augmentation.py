"""Moves and intensities by which one image of a pack becomes many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from automedsam_lab.distillation.pack import SIDE

# A teacher's embedding of a mirrored image is not the mirrored embedding: moved images have none to compare with.
MOVED_SHARE, FLIP_X, FLIP_Y = 0.6, 0.5, 0.25
SCALES, SHIFT = (0.8, 1.35), 0.12
OUTSIDE_LOGIT = -10.0


@dataclass(frozen=True)
class Move:
    """Mirroring, scaling and shifting: frame pixel `x` comes to `x * scale + shift`, and the same for `y`.

    Attributes:
        scale: of `x` and `y`; negative where mirrored.
        shift: of `x` and `y` in frame pixels.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self == Move()

    def apply(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Moves maps `(n, c, s, s)` that cover the frame at any resolution; `outside` is what comes in at the rim."""
        if self.is_identity:
            return maps
        # affine_grid wants the way back, in coordinates from -1 to 1.
        rows = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        for axis in (0, 1):
            centre = 2 * self.shift[axis] / SIDE + self.scale[axis] - 1
            rows[axis][axis], rows[axis][2] = 1 / self.scale[axis], -centre / self.scale[axis]
        theta = torch.tensor(rows).expand(len(maps), 2, 3)
        grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
        return F.grid_sample(maps - outside, grid, align_corners=False) + outside

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Moves boxes `(n, 4)` and cuts them at the frame."""
        scale, shift = np.tile(self.scale, 2), np.tile(self.shift, 2)
        moved = (boxes * scale + shift).reshape(-1, 2, 2)
        ordered = np.concatenate([moved.min(1), moved.max(1)], 1)
        return ordered.clip(0, SIDE).astype(np.float32)


def draw_move(rng: np.random.Generator, content: tuple[int, int]) -> Move:
    """A random move about the middle of a picture of `content` height and width in the frame."""
    if rng.random() >= MOVED_SHARE:
        return Move()
    size = np.exp(rng.uniform(*np.log(SCALES)))
    signs = [-1.0 if rng.random() < share else 1.0 for share in (FLIP_X, FLIP_Y)]
    scale = (float(signs[0] * size), float(signs[1] * size))
    middles = (content[1] / 2, content[0] / 2)
    shift = [
        middle * (1 - factor) + rng.uniform(-SHIFT, SHIFT) * SIDE for middle, factor in zip(middles, scale, strict=True)
    ]
    return Move(scale, (float(shift[0]), float(shift[1])))


def vary_intensity(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Gamma, contrast, brightness, color balance and noise of an image `(3, s, s)` in 0..1; 0 stays 0."""
    inside = image.amax(0, keepdim=True) > 0
    varied = image.clamp(0, 1) ** float(np.exp(rng.uniform(-0.35, 0.35)))
    varied = varied * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.5 and not bool((image[0] == image[1]).all()):
        varied = varied * torch.from_numpy(rng.uniform(0.9, 1.1, (3, 1, 1)).astype(np.float32))
    if rng.random() < 0.3:
        noise = rng.standard_normal((1, *image.shape[1:]), np.float32) * float(rng.uniform(0.01, 0.04))
        varied = varied + torch.from_numpy(noise)
    return varied.clamp(0, 1) * inside
