"""A made-up head with lesions of known shape, so that a demo and a test need nobody's images.

It looks like a skull-stripped FLAIR MR (fluid dark, grey matter a little brighter than white, oedema bright)
because that is what the glioma detector was trained on. Nothing in it was taken from a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.core.volume import Triple, Volume

Field = NDArray[np.floating[Any]]

SHAPE = (60, 240, 240)
SPACING: Triple = (1.0, 1.0, 2.5)

# Where a FLAIR sequence puts the tissues, in the scanner's arbitrary units.
_FLUID, _WHITE, _GRAY, _OEDEMA, _CORE, _NECROSIS = 90.0, 370.0, 460.0, 740.0, 640.0, 330.0
_NOISE = 14.0


@dataclass(frozen=True)
class Lesion:
    """A lesion to be grown: where, in mm from the middle of the brain (LPS), and its mean radius in mm."""

    center: Triple
    radius: float


LESIONS = (
    Lesion((-34.0, 26.0, 18.0), 23.0),
    Lesion((33.0, -26.0, 28.0), 15.0),
    Lesion((41.0, 20.0, -12.0), 13.0),
)


def phantom_head(seed: int = 0, lesions: Sequence[Lesion] = LESIONS) -> tuple[Volume, NDArray[np.uint8]]:
    """Makes a head, and the mask of its lesions.

    Args:
        seed: The same seed gives the same voxels.
        lesions: What to put into it; parts outside the brain are cut off.

    Returns:
        A volume `(60, 240, 240)` of int16 with 1 x 1 x 2.5 mm voxels and a background of 0, and the truth on
        its grid: 1 in a lesion, 0 elsewhere.
    """
    random = np.random.default_rng(seed)
    z, y, x = _coordinates()
    depth, fissure = _brain(random, x, y, z)
    inside = depth > 0
    folds = np.abs(_smooth_noise(random, 6.0))
    sulcus = 0.8 * _step(0.13 - folds, 0.09) * _step(9 - depth, 4.0) + fissure
    ventricle = _ventricles(random, x, y, z)
    cortex = _step(4.5 - depth, 1.5) + _step(0.45 - folds, 0.15) * _step(14 - depth, 4.0)
    deep_gray = _step(1 - np.hypot((np.abs(x) - 21) / 8, np.hypot((y + 2) / 18, (z - 2) / 12)), 0.2)
    tissue = _WHITE + (_GRAY - _WHITE) * np.clip(np.maximum(cortex, 0.8 * deep_gray), 0, 1)
    tissue += 12 * _smooth_noise(random, 3.0) + 16 * _smooth_noise(random, 14.0)
    truth = np.zeros(SHAPE, dtype=np.uint8)
    fluid = np.clip(np.maximum(sulcus, ventricle), 0, 1)
    for lesion in lesions:
        outline, core, necrosis = _lesion(random, lesion, x, y, z)
        # A lesion presses sulci and ventricles shut rather than being cut by them.
        share = _step(outline, 0.8)
        fluid = fluid * (1 - share)
        bright = _OEDEMA + 45 * _smooth_noise(random, 5.0)
        bright = bright + (_CORE - _OEDEMA) * _step(core, 1.0) + (_NECROSIS - _CORE) * _step(necrosis, 1.0)
        tissue = tissue * (1 - share) + bright * share
        truth[(outline > 0) & inside] = 1
    signal = tissue * (1 - fluid) + _FLUID * fluid
    signal *= 1 + 0.06 * _smooth_noise(random, 60.0)
    # The magnitude of a complex signal with noise in both parts is what a scanner shows (Gudbjartsson 1995).
    noise = random.standard_normal((2, *SHAPE), dtype=np.float32) * np.float32(_NOISE)
    signal = np.hypot(signal + noise[0], noise[1])
    array = np.where(inside, np.maximum(signal, 1), 0).astype(np.int16)
    corner = tuple(-float(spacing) * (count - 1) / 2 for spacing, count in zip(SPACING, SHAPE[::-1], strict=True))
    origin: Triple = (corner[0], corner[1], corner[2])
    identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return Volume(array, SPACING, origin, identity, "phantom"), truth


def _coordinates() -> tuple[Field, Field, Field]:
    """Distance in mm from the middle of the volume along z, y, x, each of a shape that broadcasts."""
    axes = [
        (np.arange(count, dtype=np.float32) - np.float32((count - 1) / 2)) * np.float32(spacing)
        for count, spacing in zip(SHAPE, SPACING[::-1], strict=True)
    ]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def _brain(random: np.random.Generator, x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """How deep in mm each voxel lies below the surface (negative outside), and the fissure between halves."""
    narrow = 1 + 0.10 * np.tanh(y / 60)
    cerebrum = _ellipsoid(x / narrow, y, z - 4, (66, 84, 62), 2.4)
    floor = z + 30 - 0.0008 * y**2
    cerebrum = np.minimum(cerebrum, floor)
    temporal = _ellipsoid(np.abs(x) - 40, y + 16, z + 26, (24, 34, 24), 2.2)
    cerebellum = _ellipsoid(x, y - 44, z + 44, (52, 33, 27), 2.3)
    stem = _ellipsoid(x, y - 14, z + 44, (15, 14, 40), 2.0)
    depth = np.maximum.reduce([cerebrum, temporal, cerebellum, stem])
    depth += 1.0 * _smooth_noise(random, 16.0) + 0.5 * _smooth_noise(random, 5.0)
    bend = 1.5 * _smooth_noise(random, 25.0)
    between = _step(1.3 - np.abs(x + bend), 0.5)
    reach = np.maximum.reduce([z - 30 + 0 * y, np.abs(y) - 42 + 0 * z])
    fissure = between * _step(reach, 3.0) * _step(z + 20, 3.0)
    return depth, fissure


def _ventricles(random: np.random.Generator, x: Field, y: Field, z: Field) -> Field:
    """Share of fluid, 0 to 1: two lateral ventricles, and the third and the fourth in the middle."""
    side = np.abs(x) + 0.8 * _smooth_noise(random, 12.0)
    bow = y / 42
    taper = np.sqrt(np.clip(1 - (bow / 0.9) ** 2, 0, 1))
    across, down = side - 7 - 13 * np.clip(bow, -0.4, 1) ** 2, z - 14 + 12 * bow**2
    lateral = taper - np.hypot(across / 6.0, down / 11.0)
    third = 1 - np.hypot(x / 2.5, np.hypot((y - 2) / 14, (z + 2) / 9))
    fourth = 1 - np.hypot(x / 6, np.hypot((y - 27) / 5, (z + 40) / 9))
    return _step(np.maximum.reduce([lateral, third, fourth]), 0.12)


def _lesion(random: np.random.Generator, lesion: Lesion, x: Field, y: Field, z: Field) -> tuple[Field, Field, Field]:
    """Depth in mm below the outline of the oedema, of the core in it, and of the necrosis in that."""
    across = [axis - center for axis, center in zip((x, y, z), lesion.center, strict=True)]
    far = np.sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2)
    rough = 0.18 * _smooth_noise(random, 12.0) + 0.06 * _smooth_noise(random, 5.0)
    outline = lesion.radius * (1 + rough) - far
    core = lesion.radius * (0.62 + 0.10 * _smooth_noise(random, 8.0)) - far
    necrosis = lesion.radius * (0.30 + 0.12 * _smooth_noise(random, 6.0)) - far
    return outline, core, necrosis


def _ellipsoid(x: Field, y: Field, z: Field, half: tuple[float, float, float], power: float) -> Field:
    """About how many mm below the surface of a superellipsoid; a power over 2 squares it a little."""
    rx, ry, rz = half
    norm = (np.abs(x / rx) ** power + np.abs(y / ry) ** power + np.abs(z / rz) ** power) ** (1 / power)
    depth: Field = (1 - norm) * np.float32(min(half))
    return depth


def _step(depth: Field, width: float) -> Field:
    """From 0 well below zero to 1 well above it, soft over about `width`: a voxel shared by two tissues."""
    step: Field = 1 / (1 + np.exp(np.clip(-2 * depth / np.float32(width), -30, 30)))
    return step


def _smooth_noise(random: np.random.Generator, scale: float) -> Field:
    """Noise `SHAPE` of mean 0 and deviation about 1 that varies over `scale` mm.

    Normal deviates on a grid of nodes, blended by a Gaussian: the same as filtering white noise, but done
    in small matrix products.
    """
    weights = []
    for count, spacing in zip(SHAPE, SPACING[::-1], strict=True):
        place = np.arange(count) * spacing
        nodes = np.arange(-2 * scale, place[-1] + 3 * scale, scale)
        blend = np.exp(-0.5 * ((place[:, None] - nodes) / (0.6 * scale)) ** 2)
        weights.append((blend / np.linalg.norm(blend, axis=1, keepdims=True)).astype(np.float32))
    noise = random.standard_normal([weight.shape[1] for weight in weights], dtype=np.float32)
    noise = np.einsum("ka,abc->kbc", weights[0], noise)
    noise = np.matmul(weights[1], noise)
    field: Field = np.matmul(noise, weights[2].T)
    return field
