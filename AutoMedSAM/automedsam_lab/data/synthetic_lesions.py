"""Lesions that no patient had: transplanted from another patient, drawn as blobs, or in a drawn head.

With a handful of patients a detector learns their lesions by heart; these give it lesions at other places,
of other sizes and contrasts. The idea follows copy-paste augmentation (Ghiasi et al., CVPR 2021) and
synthetic tumours (Hu et al., CVPR 2023).

Slices are `(H, W, 3)` float32 in 0..1 with two context slices as channels 0 and 2; masks `(H, W, 3)` bool.
"""

from __future__ import annotations

import cv2
import numpy as np

from automedsam_lab.data.augmentation import smooth_noise

_PLACES = 8
_MIN_BRAIN = 2500
_MIN_CONTRAST = 0.12


def transplant_lesion(
    rng: np.random.Generator,
    image: np.ndarray,
    mask: np.ndarray,
    donor: np.ndarray,
    donor_mask: np.ndarray,
) -> bool:
    """Copy a deformed lesion of another patient into the lesion-free brain, in place.

    Args:
        rng: The source of randomness.
        image: The slice that receives it, changed in place.
        mask: Its lesions, extended in place.
        donor: The other patient's slice, of any size.
        donor_mask: The other patient's lesions.

    Returns:
        Whether a free place was found and the lesion can be seen there.
    """
    height, width = image.shape[:2]
    columns, rows = np.nonzero(donor_mask[..., 1].T)
    if len(columns) < 20:
        return False
    center = (float(columns.mean()), float(rows.mean()))
    zoom, angle = float(np.exp(rng.normal(-0.25, 0.35))), float(rng.uniform(-180, 180))
    spot = _free_place(rng, image, mask, radius=np.sqrt(len(columns) / np.pi) * zoom)
    if spot is None:
        return False
    matrix: np.ndarray = np.asarray(cv2.getRotationMatrix2D(center, angle, zoom))
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
        matrix[:, 2] -= 2 * center[0] * matrix[:, 0]
    matrix[:, 2] += np.subtract(spot, center)
    size = (width, height)
    alpha = cv2.GaussianBlur(cv2.warpAffine(donor_mask.astype(np.float32), matrix, size), (0, 0), 1.0)
    lesion = cv2.warpAffine(donor, matrix, size)
    brain = image > 0
    contrast = (lesion - np.median(donor[donor > 0])) * rng.uniform(0.6, 1.3)
    base = np.median(image[brain])
    alpha = alpha * brain * (lesion > 0)
    share = alpha * rng.uniform(0.6, 1.0)
    merged = np.clip(image * (1 - share) + share * base + alpha * contrast, 0, 1)
    added = alpha > 0.5
    middle = added[..., 1]
    # What nobody could see must not be labeled as a lesion.
    if middle.sum() < 50 or np.abs(merged - image)[..., 1][middle].mean() < _MIN_CONTRAST:
        return False
    image[:] = merged
    mask |= added
    return True


def draw_lesion(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> bool:
    """Draw a smooth bright lesion with soft borders, sometimes with a dark core, in place.

    Returns:
        Whether a free place was found.
    """
    height, width = image.shape[:2]
    brain = image > 0
    radius = float(np.exp(rng.uniform(np.log(5), np.log(36))) * max(height, width) / 240)
    spot = _free_place(rng, image, mask, radius)
    if spot is None:
        return False
    distance = _blob_distance(rng, (height, width), spot, radius)
    tissue = image[brain]
    base, spread = float(np.median(tissue)), float(np.std(tissue)) + 0.05
    level = base + max(rng.uniform(1.0, 3.5) * spread, _MIN_CONTRAST)
    texture = 1 + 0.1 * rng.random() * smooth_noise(rng, (height, width), 12)
    softness, keep = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.4)
    core = rng.uniform(0.3, 0.75) if rng.random() < 0.35 and radius > 8 else 0.0
    core_level = rng.uniform(0.05, 0.9) * base
    for channel in range(3):
        # Neighbouring slices meet the lesion a little larger or smaller: it is a body, not a cylinder.
        scaled = distance * (np.exp(rng.normal(0, 0.12)) if channel != 1 else 1.0)
        alpha = np.clip((1 - scaled) / softness + 0.5, 0, 1) * brain[..., channel]
        target = np.where(scaled < core, core_level, level * texture)
        mixed = keep * image[..., channel] + (1 - keep) * target
        image[..., channel] = np.clip(image[..., channel] * (1 - alpha) + alpha * mixed, 0, 1)
        mask[..., channel] |= alpha > 0.5
    return True


def change_lesion_contrast(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray) -> None:
    """Make the lesions of a slice weaker or stronger, or give them a darker core, in place."""
    if not mask.any():
        return
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5)
    base = np.median(image[(image > 0) & ~mask]) if ((image > 0) & ~mask).any() else 0.4
    gain = rng.uniform(0.45, 1.4)
    image += alpha * (gain - 1) * (image - base)
    if rng.random() < 0.35:
        depth = cv2.distanceTransform(mask[..., 1].astype(np.uint8), cv2.DIST_L2, 3)
        ragged = depth * (1 + 0.3 * smooth_noise(rng, depth.shape, 10))
        core = (ragged > rng.uniform(0.25, 0.7) * max(float(depth.max()), 1.0)).astype(np.float32)
        softened = cv2.GaussianBlur(core, (0, 0), 1.2)[..., None]
        image *= 1 - softened * rng.uniform(0.2, 0.85)
    np.clip(image, 0, 1, out=image)


def add_skull(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw fluid, skull and scalp around a skull-stripped brain, in place, for volumes that keep them."""
    brain = (image[..., 1] > 0).astype(np.uint8)
    if brain.sum() < 500:
        return
    closed = cv2.morphologyEx(brain, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    outside = cv2.distanceTransform(1 - closed, cv2.DIST_L2, 3)
    outside = outside * (1 + 0.12 * smooth_noise(rng, outside.shape, 8))
    fluid, bone = rng.uniform(1, 4), rng.uniform(3, 7)
    scalp = rng.uniform(4, 12)
    layers: np.ndarray = np.zeros(brain.shape, np.float32)
    layers[(outside > 0) & (outside <= fluid)] = rng.uniform(0.03, 0.3)
    layers[(outside > fluid) & (outside <= fluid + bone)] = rng.uniform(0.02, 0.15)
    skin = (outside > fluid + bone) & (outside <= fluid + bone + scalp)
    layers[skin] = rng.uniform(0.25, 1.0)
    textured = layers * (1 + 0.2 * smooth_noise(rng, brain.shape, 16))
    layers = np.asarray(cv2.GaussianBlur(textured, (0, 0), 0.8))
    empty = (image == 0) & (closed == 0)[..., None]
    image[:] = np.where(empty, np.clip(layers, 0.004, 1)[..., None], np.maximum(image, 0.004))


def draw_head(rng: np.random.Generator, size: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Draw a FLAIR-like head slice from nothing, with 0 to 2 lesions.

    Returns:
        The slice `(size, size, 3)` and its lesions, bool, of the same shape.
    """
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle = rng.uniform(-0.3, 0.3)
    x = np.cos(angle) * columns + np.sin(angle) * rows - rng.uniform(-0.05, 0.05)
    y = np.cos(angle) * rows - np.sin(angle) * columns - rng.uniform(-0.05, 0.05)
    half_width, half_height = rng.uniform(0.2, 0.33), rng.uniform(0.28, 0.42)
    radius = np.hypot(x / half_width, y / half_height) * (1 + 0.03 * smooth_noise(rng, rows.shape, 6))
    brain = radius < 1
    gray, white = rng.uniform(0.35, 0.55), rng.uniform(0.25, 0.5)
    folds = smooth_noise(rng, rows.shape, 22) + 4 * (radius - 0.75)
    flat = np.where(folds > 0, gray, white) * brain
    flat[(radius > 0.9) & (folds > 0.8) & brain] = rng.uniform(0.05, 0.2)
    for side in (-1, 1):
        horn = np.hypot((x - side * 0.12 * half_width) / 0.1, y / 0.3) / half_height
        flat[(horn < rng.uniform(0.3, 1.0)) & brain] = rng.uniform(0.02, 0.12)
    flat = cv2.GaussianBlur(flat.astype(np.float32), (0, 0), 1.2) * brain
    image = np.repeat(flat[..., None], 3, axis=2)
    image[image > 0] = np.maximum(image[image > 0], 0.01)
    mask = np.zeros(image.shape, bool)
    for _ in range(rng.integers(0, 3)):
        draw_lesion(rng, image, mask)
    return image, mask


def _free_place(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, radius: float
) -> tuple[float, float] | None:
    rows, columns = np.nonzero(image[..., 1] > 0)
    if len(rows) < _MIN_BRAIN:
        return None
    taken = mask[..., 1].astype(np.uint8)
    clearance = cv2.distanceTransform(1 - taken, cv2.DIST_L2, 3) if taken.any() else None
    for pick in rng.integers(len(rows), size=_PLACES):
        if clearance is None or clearance[rows[pick], columns[pick]] > radius * 1.5 + 6:
            return float(columns[pick]), float(rows[pick])
    return None


def _blob_distance(
    rng: np.random.Generator, shape: tuple[int, int], spot: tuple[float, float], radius: float
) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.25))
    x, y = columns - spot[0], rows - spot[1]
    u = (np.cos(angle) * x + np.sin(angle) * y) / (radius * stretch)
    v = (np.cos(angle) * y - np.sin(angle) * x) / (radius / stretch)
    cells = int(np.clip(shape[0] / max(radius, 4), 3, 24))
    return np.hypot(u, v) * (1 + rng.uniform(0.05, 0.35) * smooth_noise(rng, shape, cells))
