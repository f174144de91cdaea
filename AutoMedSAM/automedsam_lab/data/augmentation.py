"""Augmentation of a slice with its two context slices: geometry, and the intensities a scanner may give.

Images are `(H, W, 3)` float32 in 0..1 where exactly 0 is the background of a skull-stripped volume, and
masks `(H, W)` uint8; the three channels are neighbouring slices and move together.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Geometry:
    """How far a slice may be moved.

    Attributes:
        rotation: Largest rotation, degrees either way.
        log_scale: Standard deviation of the logarithm of the common scale.
        log_aspect: Standard deviation of the logarithm of the ratio of width to height.
        shift: Largest shift, a share of the slice's size.
        shear: Largest shear, a share.
        elastic: Largest elastic displacement, a share of the slice's size.
        flip: Whether left and right may be exchanged inside the slice.
    """

    rotation: float
    log_scale: float
    log_aspect: float
    shift: float
    shear: float
    elastic: float
    flip: bool


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth unit-variance noise `shape` float32 with about `cells` bumps along each side."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def sampling_map(
    rng: np.random.Generator | None,
    native: tuple[int, int],
    target: tuple[int, int],
    geometry: Geometry | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where each target pixel reads in the native slice.

    Args:
        rng: The source of randomness; None for a plain stretch.
        native: Height and width of the slice.
        target: Height and width of the detector's input.
        geometry: The limits of the movement; None for a plain stretch.

    Returns:
        Columns and rows in native pixels, each `target` float32, half-pixel aligned as cv2.resize is.
    """
    columns, rows = np.meshgrid(
        (np.arange(target[1], dtype=np.float32) + 0.5) / target[1] - 0.5,
        (np.arange(target[0], dtype=np.float32) + 0.5) / target[0] - 0.5,
    )
    if rng is not None and geometry is not None:
        # Rotation acts on true proportions, so columns and rows are put to one unit first.
        unit = native[1] / native[0]
        x, y = columns * unit, rows
        angle = np.deg2rad(rng.uniform(-geometry.rotation, geometry.rotation))
        zoom = np.exp(-rng.normal(0, geometry.log_scale))
        aspect = np.exp(rng.normal(0, geometry.log_aspect) / 2)
        shear = rng.uniform(-geometry.shear, geometry.shear)
        mirror = -1.0 if geometry.flip and rng.random() < 0.5 else 1.0
        x, y = x * zoom * aspect * mirror, y * zoom / aspect
        x, y = (
            np.cos(angle) * x - np.sin(angle) * y + shear * y,
            np.sin(angle) * x + np.cos(angle) * y,
        )
        columns = x / unit + rng.uniform(-geometry.shift, geometry.shift)
        rows = y + rng.uniform(-geometry.shift, geometry.shift)
        if rng.random() < 0.6:
            size, cells = geometry.elastic * rng.uniform(0.2, 1.0), int(rng.integers(1, 5))
            columns = columns + size / cells * smooth_noise(rng, target, cells)
            rows = rows + size / cells * smooth_noise(rng, target, cells)
    map_x = (columns + 0.5) * native[1] - 0.5
    map_y = (rows + 0.5) * native[0] - 0.5
    return map_x.astype(np.float32), map_y.astype(np.float32)


def warp(
    image: np.ndarray, mask: np.ndarray, maps: tuple[np.ndarray, np.ndarray], *, replicate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Move an image (linear) and its mask (nearest) by one map; outside is 0 or the replicated edge."""
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    plain = cv2.BORDER_REPLICATE if maps[0].min() > -1 and maps[1].min() > -1 else border
    warped = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=plain)
    moved = cv2.remap(mask, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return warped, moved


def cut_field_of_view(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> None:
    """Blank one side of the slice in place, as a scan that missed part of the head has it."""
    height, width = mask.shape
    angle = rng.uniform(-0.25, 0.25) + rng.integers(4) * np.pi / 2
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.cos(angle) * (columns / width - 0.5) + np.sin(angle) * (rows / height - 0.5)
    outside = distance > rng.uniform(0.12, 0.38)
    image[outside] = 0
    mask[outside] = 0


def change_intensities(rng: np.random.Generator, image: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Give a slice another scanner's look.

    Window, gamma, bias field, blur, low resolution, noise. The background stays 0 unless noise is drawn
    to fill it, as in volumes that were never skull-stripped.

    Args:
        rng: The source of randomness.
        image: `(H, W, 3)` float32 in 0..1.
        strength: 1 for the full range of changes, less for milder ones.

    Returns:
        The changed image in 0..1.
    """
    shape = (image.shape[0], image.shape[1])
    foreground = image > 0
    if rng.random() < 0.7:
        low = rng.uniform(-0.08, 0.12) * strength
        high = 1 + rng.uniform(-0.28, 0.25) * strength
        image = (image - low) / (high - low)
    image = np.clip(image, 0, 1)
    if rng.random() < 0.6:
        image = image ** np.float32(np.exp(rng.normal(0, 0.3 * strength)))
    if rng.random() < 0.4:
        field = smooth_noise(rng, shape, int(rng.integers(1, 4)))
        image = image * np.exp(0.15 * strength * rng.random() * field)[..., None]
    if rng.random() < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)))
    if rng.random() < 0.2:
        image = _low_resolution(rng, image)
    if rng.random() < 0.5:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        if rng.random() < 0.3:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8), np.float32)
        image = image + rng.uniform(0.01, 0.07) * strength * noise
    if rng.random() < 0.9:
        image = image * foreground
    return np.clip(image, 0, 1).astype(np.float32)


def _low_resolution(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    share = rng.uniform(0.4, 0.8, 2) if rng.random() < 0.5 else np.repeat(rng.uniform(0.4, 0.8), 2)
    small = (max(8, int(width * share[0])), max(8, int(height * share[1])))
    method = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (width, height), interpolation=method)
