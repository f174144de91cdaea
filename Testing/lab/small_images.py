"""Packed images, a teacher and a student that are small enough for tests."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from automedsam_lab.data.sets.images import LabeledImage, Part
from automedsam_lab.distillation.pack import Pack, write_pack
from automedsam_lab.distillation.teacher import TeacherFeatures
from automedsam_lab.models.student.architecture import StudentArchitecture

TINY = StudentArchitecture((16, 16, 16, 16), (("rep",), ("attention",), ("fused_e2",), ()), d_model=32, name="tiny")


def disc(shape: tuple[int, int], center: tuple[float, float], radius: float) -> np.ndarray:
    """A filled circle; `center` is row and column."""
    rows, columns = np.indices(shape)
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2


def bright_discs(patients: int = 6) -> Iterator[tuple[Part, LabeledImage]]:
    """Two images of each patient, a bright disc on noise; the last patient tests, the one before validates."""
    rng = np.random.default_rng(0)
    for patient in range(patients):
        part = {patients - 1: Part.TEST, patients - 2: Part.VALIDATION}.get(patient, Part.TRAIN)
        for image in range(2):
            mask = disc((90, 120), (float(rng.uniform(30, 60)), float(rng.uniform(30, 90))), float(rng.uniform(10, 25)))
            pixels = (60 * rng.random((90, 120)) + 150 * mask).astype(np.uint8)
            yield part, LabeledImage("discs", f"patient {patient}", f"{patient}-{image}", pixels, (mask,))


def small_pack(folder: Path) -> Pack:
    return write_pack(bright_discs(), folder / "pack")


class BrightTeacher:
    """Takes what is bright in a box for the object."""

    name = "Bright"

    def __init__(self, sha256: str = "a" * 64) -> None:
        self.sha256, self.embedded = sha256, 0

    def embed(self, image: Tensor) -> TeacherFeatures:
        self.embedded += 1
        small = torch.nn.functional.avg_pool2d(image[:, :1], 4)
        return TeacherFeatures(small.expand(1, 256, 64, 64) * 0.1, small[:, 0], (image,))

    def decode(self, features: TeacherFeatures, boxes: Tensor) -> Tensor:
        bright = features.levels[0][0, 0] > 0.5
        logits = torch.full((len(boxes), 256, 256), -8.0)
        for place, (x0, y0, x1, y1) in enumerate(boxes.round().int().tolist()):
            logits[place, y0:y1, x0:x1] = torch.where(bright[y0:y1, x0:x1], 8.0, -8.0)
        return logits
