"""What is compared: a teacher, a student in ONNX Runtime, and the box itself, filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import open_session
from automedsam_lab.distillation.export import DECODER, ENCODER, network_input
from automedsam_lab.distillation.pack import content_size, to_frame, unit_range
from automedsam_lab.distillation.prompts import check_points, filled_box
from automedsam_lab.distillation.teacher import Teacher
from automedsam_lab.models.student.network import BOX_LABELS, NO_POINT, SIDE


class BoxSegmenter(Protocol):
    """Segments what boxes hold.

    Attributes:
        name: for tables.
    """

    name: str

    def segment(
        self, framed: NDArray[np.uint8], content: tuple[int, int], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits `(n, s, s)` that cover the frame, and the expected IoU `(n,)`.

        Args:
            framed: `(256, 256, 3)`.
            content: height and width of the picture in the frame.
            boxes: `(n, 4)`, half-open, in frame pixels.
        """
        ...


class FilledBox:
    """The lower bar: every pixel of the box."""

    name = "Filled box"

    def segment(
        self, framed: NDArray[np.uint8], content: tuple[int, int], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        filled = np.stack([filled_box(box) for box in boxes])
        return np.where(filled, 10.0, -10.0).astype(np.float32), np.ones(len(boxes), np.float32)


class TeacherSegmenter:
    """A teacher in FP32."""

    def __init__(self, teacher: Teacher) -> None:
        self.name, self._teacher = teacher.name, teacher

    def segment(
        self, framed: NDArray[np.uint8], content: tuple[int, int], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features = self._teacher.embed(torch.from_numpy(unit_range(framed, content))[None])
        logits = self._teacher.decode(features, torch.from_numpy(boxes)).numpy()
        return logits, confidence(logits)


class OnnxStudent:
    """A student of an exported folder.

    Args:
        folder: what `export_student` wrote.
        precision: "fp32" or "int8".
        threads: within an operator; all cores if None.
        name: for tables.

    Raises:
        AutoMedSAMError: if the folder holds no such graphs.
    """

    def __init__(self, folder: Path, precision: str, threads: int | None = None, name: str = "Student") -> None:
        self.name = f"{name}, {precision.upper()}"
        self._encoder, self._decoder = (
            open_session(_graph(folder, part, precision), threads) for part in (ENCODER, DECODER)
        )

    def segment(
        self, framed: NDArray[np.uint8], content: tuple[int, int], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        maps = self.encode(network_input(framed, content))
        found = [self.decode_box(maps, box) for box in boxes]
        return np.concatenate([logits for logits, _ in found]), np.concatenate([ious for _, ious in found])

    def encode(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The decoder's maps of an image `(1, 3, 256, 256)` as `network_input` makes it."""
        return dict(
            zip(("high_res_0", "high_res_1", "features"), self._encoder.run(None, {"image": image}), strict=True)
        )

    def decode_box(
        self, maps: dict[str, NDArray[np.float32]], box: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits `(1, 64, 64)` and expected IoU `(1,)` of one box."""
        points = np.concatenate([box.reshape(1, 2, 2), np.zeros((1, 1, 2))], 1).astype(np.float32)
        labels = np.array([[*BOX_LABELS, NO_POINT]], np.int32)
        mask = filled_box(box)[None, None].astype(np.float32)
        return self._decode(maps, points, labels, mask, 1.0)

    def segment_box(
        self, image: NDArray[np.float32], box: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encoder and one box at once; see `encode` and `decode_box`."""
        return self.decode_box(self.encode(image), box)

    def decode_points(
        self, maps: dict[str, NDArray[np.float32]], points: NDArray[np.float32], labels: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same of one object's points `(p, 2)` in frame pixels; labels are 1 on the object and 0 off it."""
        padded = np.concatenate([points[None], np.zeros((1, 1, 2))], 1).astype(np.float32)
        labeled = np.array([[*labels, NO_POINT]], np.int32)
        return self._decode(maps, padded, labeled, np.zeros((1, 1, SIDE, SIDE), np.float32), 0.0)

    def _decode(
        self,
        maps: dict[str, NDArray[np.float32]],
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        mask: NDArray[np.float32],
        has_mask: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = {"points": points, "labels": labels, "mask": mask, "has_mask": np.full(1, has_mask, np.float32)}
        logits, ious = self._decoder.run(None, {**maps, **given})
        return logits, ious


def segment_points(
    student: OnnxStudent, pixels: NDArray[np.uint8], points: Sequence[tuple[float, float]], labels: Sequence[int]
) -> NDArray[np.bool_]:
    """Segments what points mark on a picture.

    Args:
        student: the segmenter.
        pixels: `(h, w)` or `(h, w, 3)` uint8.
        points: `x, y` in native pixels, at least one.
        labels: 1 on the object, 0 off it.

    Returns:
        A mask `(h, w)`.

    Raises:
        AutoMedSAMError: if there is no point, or one is outside the picture.
    """
    height, width = pixels.shape[:2]
    if not len(points) or len(points) != len(labels):
        message = (
            f"There are {len(points)} points and {len(labels)} labels: give at least one point, each with a label."
        )
        raise AutoMedSAMError(message)
    native = np.asarray(points, np.float32).reshape(-1, 2)
    check_points(native, (height, width))
    content = content_size((height, width))
    scaled = native * np.array([content[1] / width, content[0] / height], np.float32)
    logits, _ = student.decode_points(student.encode(network_input(to_frame(pixels), content)), scaled, labels)
    mask: NDArray[np.bool_] = to_native(logits, content, (height, width))[0]
    return mask


def to_native(logits: NDArray[np.float32], content: tuple[int, int], native: tuple[int, int]) -> NDArray[np.bool_]:
    """Logits `(n, s, s)` that cover the frame as masks `(n, h, w)` at native resolution."""
    large = resize_linear(logits, (SIDE, SIDE), antialias=False) if logits.shape[-1] != SIDE else logits
    return np.asarray(resize_linear(large[:, : content[0], : content[1]], native, antialias=False) > 0, np.bool_)


def confidence(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean probability `(n,)` of the pixels that logits `(n, s, s)` put on the object; 0 where there are none."""
    inside = logits > 0
    probability = 1 / (1 + np.exp(-logits.clip(-30, 30)))
    return np.asarray((probability * inside).sum((1, 2)) / inside.sum((1, 2)).clip(min=1), np.float32)


def _graph(folder: Path, part: str, precision: str) -> Path:
    path = folder / f"{part}.{precision}.onnx"
    if not path.is_file():
        message = f"{folder} holds no {path.name}: write it with `automedsam-lab train efficient`, or export it again."
        raise AutoMedSAMError(message)
    return path
