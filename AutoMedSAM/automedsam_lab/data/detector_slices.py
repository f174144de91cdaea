"""Slices as the detector sees them, and an endless stream of augmented batches.

The input is made by the engine's own `detector_input`: three uint8 slices (k-n, k, k+n) of a plane in canonical
orientation, stretched to the input size with antialiasing. Boxes are xyxy, half-open, in input pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from automedsam.contract.channels import Channel
from automedsam.core.resize import resize_linear
from automedsam.detection.channels import detector_frames
from automedsam.detection.detector import (
    ADJACENT_SLICES,
    MIN_SCORE,
    DetectorSettings,
    FlipAugmentation,
    ResizeMode,
    detector_input,
)
from automedsam_lab.data import synthetic_lesions as lesions
from automedsam_lab.data.augmentation import Geometry, change_intensities, cut_field_of_view, sampling_map, warp
from automedsam_lab.data.builtin_tasks import (
    BRATS,
    GLIOMA,
    HIPPOCAMPUS,
    TASK_SPECS,
    Case,
    TaskSpec,
    check_task,
    load,
    task_labels,
)

# Two boxes of one class that overlap more than this are one object's.
NMS_IOU = 0.5


@dataclass(frozen=True)
class DetectorTask:
    """What a task's detector is.

    Attributes:
        spec: The task: its plane, its labels and their boxes.
        input_size: Height and width of the input.
        context_mm: Distance to the two context slices.
        geometry: The limits of the geometric augmentation.
        contexts: Slice distances that training draws from.
        channels: What the input's three channels show.
    """

    spec: TaskSpec
    input_size: tuple[int, int]
    context_mm: float
    geometry: Geometry
    contexts: tuple[int, ...]
    channels: tuple[Channel, ...] = ADJACENT_SLICES

    @property
    def middle(self) -> int:
        """The first channel that shows the slice itself."""
        return next(index for index, channel in enumerate(self.channels) if channel.step == 0)

    @property
    def name(self) -> str:
        """The task."""
        return self.spec.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the scores; class `c` has label value `c + 1`."""
        return tuple(self.spec.labels.values())


_GLIOMA = DetectorTask(
    TASK_SPECS[GLIOMA],
    (192, 192),
    2.0,
    Geometry(25, 0.17, 0.08, 0.12, 0.06, 0.06, flip=True),
    (0, 1, 2, 2, 2, 3, 5),
)

DETECTOR_TASKS = {
    HIPPOCAMPUS: DetectorTask(
        TASK_SPECS[HIPPOCAMPUS],
        (128, 160),
        2.0,
        Geometry(8, 0.1, 0.1, 0.08, 0.06, 0.03, flip=False),
        (1, 2, 2, 2, 3),
    ),
    GLIOMA: _GLIOMA,
    # The same heads, seen in two sequences.
    BRATS: replace(_GLIOMA, spec=TASK_SPECS[BRATS], channels=(Channel(0), Channel(1), Channel(1, 1))),
}


@dataclass(frozen=True)
class FrameStack:
    """One patient's slices of the task's plane.

    Attributes:
        patient: The patient's name.
        frames: `(M, N, H, W)` uint8 of each modality in canonical orientation.
        labels: `(N, H, W)` uint8, the task's label values.
        between_mm: Distance between slices.
        weight: How often training draws this patient, relative to the others.
        filled: The slices with enough label to train on.
        empty: The slices that hold image but no label.
    """

    patient: str
    frames: np.ndarray
    labels: np.ndarray
    between_mm: float
    weight: float = 1.0
    filled: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    empty: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


def read_stack(task: DetectorTask, case: Case) -> FrameStack:
    """Read a case as slices of the task's plane.

    Raises:
        AutoMedSAMError: A file of the case cannot be read.
    """
    from automedsam.core.intensity import to_uint8

    volume, stored = load(case)
    plane = task.spec.plane
    channels = volume.array if volume.array.ndim == 4 else volume.array[np.newaxis]
    grid = type(volume)(
        array=np.stack([*map(to_uint8, channels), task_labels(case, stored)]),
        spacing=volume.spacing,
        origin=volume.origin,
        direction=volume.direction,
    )
    *frames, labels = grid.to_frames(plane)
    return make_stack(
        task, case.patient, np.stack(frames), labels, volume.frame_spacing(plane)[0], 1.0 if case.expert else 0.6
    )


def make_stack(
    task: DetectorTask,
    patient: str,
    frames: np.ndarray,
    labels: np.ndarray,
    between_mm: float,
    weight: float = 1.0,
) -> FrameStack:
    """Sort a patient's slices into those with and without label.

    Args:
        task: The detector's task.
        patient: The patient's name.
        frames: `(M, N, H, W)` uint8 of each modality, or `(N, H, W)` of a single one.
        labels: `(N, H, W)` uint8, the task's label values.
        between_mm: Distance between slices.
        weight: How often training draws this patient.

    Returns:
        The stack.
    """
    frames = frames if frames.ndim == 4 else frames[np.newaxis]
    counts = np.stack([task.spec.mask(labels, value).sum((1, 2)) for value in task.spec.labels])
    doubtful = ((counts > 0) & (counts < task.spec.boxes.min_pixels)).any(0)
    filled = np.flatnonzero((counts >= task.spec.boxes.min_pixels).any(0) & ~doubtful)
    # Slices without image teach nothing more after the first few.
    seen = (frames[0] > 0).mean((1, 2)) > 0.01
    empty = np.flatnonzero((counts.sum(0) == 0) & seen)
    return FrameStack(
        patient, np.ascontiguousarray(frames), np.ascontiguousarray(labels), between_mm, weight, filled, empty
    )


def boxes_of(task: DetectorTask, labels: np.ndarray, scale: float = 1.0) -> np.ndarray | None:
    """The boxes of a label slice.

    Args:
        task: The detector's task.
        labels: `(H, W)` label values.
        scale: Pixels of `labels` for one native pixel, along one side.

    Returns:
        `(n, 5)` float32: class, x0, y0, x1, y1, half-open pixels of `labels`; None when what there is
        is too little to teach.
    """
    least = task.spec.boxes.min_pixels * scale * scale
    boxes, doubtful = [], False
    for index in range(len(task.classes)):
        mask = task.spec.mask(labels, index + 1).astype(np.uint8)
        total = int(mask.sum())
        if total == 0:
            continue
        pieces = _pieces(mask, task.spec.boxes.merge_pixels, scale)
        kept = [piece for piece in pieces if len(piece[0]) >= least]
        doubtful |= not kept
        boxes += [(index, c.min(), r.min(), c.max() + 1, r.max() + 1) for r, c in kept]
    if doubtful:
        return None
    return np.array(boxes, np.float32).reshape(-1, 5)


def plain_input(task: DetectorTask, stack: FrameStack, index: int) -> np.ndarray:
    """A slice as the engine prepares it: `(3, H, W)` float32 in 0..1."""
    frames = detector_frames(stack.frames, stack.between_mm, task.context_mm, task.channels)
    return detector_input(frames[index : index + 1], task.input_size, ResizeMode.STRETCH)[0]


def engine_settings(task: DetectorTask, mirror: FlipAugmentation | None = None) -> DetectorSettings:
    """How the engine runs a task's detector; its threshold is not chosen yet.

    Args:
        task: The detector's task.
        mirror: The bundle's test-time flip.
    """
    labels = tuple(index + 1 for index in range(len(task.classes)))
    return DetectorSettings(task.input_size, labels, task.context_mm, MIN_SCORE, NMS_IOU, mirror)


class BatchStream:
    """Endless augmented batches, the same for the same seed."""

    def __init__(self, task: DetectorTask, stacks: Sequence[FrameStack], batch: int, seed: int) -> None:
        check_task(task.name)
        self._task, self._stacks, self._batch = task, stacks, batch
        self._rng = np.random.default_rng(seed)
        weights = np.array([stack.weight for stack in stacks])
        self._weights = weights / weights.sum()
        cv2.setNumThreads(1)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield images `(B, 3, H, W)` float32 and targets `(n, 6)`: image, class, cx, cy, w, h."""
        while True:
            images: list[np.ndarray] = []
            targets: list[np.ndarray] = []
            while len(images) < self._batch:
                made = self.sample()
                if made is not None:
                    image, boxes = made
                    row = np.full((len(boxes), 1), len(images), np.float32)
                    center, size = (boxes[:, 1:3] + boxes[:, 3:5]) / 2, boxes[:, 3:5] - boxes[:, 1:3]
                    targets.append(np.hstack([row, boxes[:, :1], center, size]))
                    images.append(image.transpose(2, 0, 1))
            yield np.ascontiguousarray(images, np.float32), np.concatenate(targets).astype(np.float32)

    def sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """One augmented slice `(H, W, 3)` with its boxes `(n, 5)`, or None when it is too little to teach."""
        return {HIPPOCAMPUS: self._hippocampus, GLIOMA: self._glioma, BRATS: self._brats}[self._task.name]()

    def _draw(self, filled_share: float) -> tuple[np.ndarray, np.ndarray]:
        rng = self._rng
        stack = self._stacks[rng.choice(len(self._stacks), p=self._weights)]
        pool = stack.filled if rng.random() < filled_share and len(stack.filled) else stack.empty
        pool = pool if len(pool) else stack.filled
        # The distances are those of slices of a millimetre; in thicker ones the engine looks at the next slice.
        drawn = int(rng.choice(self._task.contexts))
        step = max(min(drawn, 1), round(drawn / max(1.0, stack.between_mm)))
        index = int(rng.choice(pool))
        if rng.random() < 0.5:
            step = -step
        modalities, steps = np.transpose(self._task.channels)
        picks = np.clip(index + step * steps, 0, len(stack.labels) - 1)
        image = np.ascontiguousarray(stack.frames[modalities, picks].transpose(1, 2, 0), np.float32) / 255
        return image, np.ascontiguousarray(stack.labels[picks].transpose(1, 2, 0))

    def _hippocampus(self) -> tuple[np.ndarray, np.ndarray] | None:
        rng = self._rng
        image, labels = self._draw(0.85)
        middle = np.ascontiguousarray(labels[..., self._task.middle])
        image, middle, scale = self._moved(image, middle, replicate=rng.random() < 0.7)
        return self._finished(image, middle, scale, 0.7)

    def _glioma(self) -> tuple[np.ndarray, np.ndarray] | None:
        rng = self._rng
        if rng.random() < 0.06:
            image, mask = lesions.draw_head(rng)
        else:
            image, labels = self._draw(0.6)
            mask = labels > 0
            self._vary_lesions(image, mask)
        if rng.random() < 0.15:
            lesions.add_skull(rng, image)
        image, middle, scale = self._moved(image, mask[..., self._task.middle].astype(np.uint8), replicate=False)
        if rng.random() < 0.12:
            cut_field_of_view(rng, image, middle)
        return self._finished(image, middle, scale)

    def _brats(self) -> tuple[np.ndarray, np.ndarray] | None:
        image, labels = self._draw(0.7)
        middle = np.ascontiguousarray(labels[..., self._task.middle])
        image, middle, scale = self._moved(image, middle, replicate=False)
        if self._rng.random() < 0.12:
            cut_field_of_view(self._rng, image, middle)
        return self._finished(image, middle, scale)

    def _moved(self, image: np.ndarray, labels: np.ndarray, *, replicate: bool) -> tuple[np.ndarray, np.ndarray, float]:
        """A slice `(H, W, 3)` and its labels moved at random, and the pixels for one native pixel along a side.

        A slice larger than the input keeps its own size here: `_finished` shrinks it as the engine does, while a warp
        straight to the smaller input would skip pixels.
        """
        size = (max(labels.shape[0], self._task.input_size[0]), max(labels.shape[1], self._task.input_size[1]))
        maps = sampling_map(self._rng, labels.shape, size, self._task.geometry)
        image, moved = warp(image, labels, maps, replicate=replicate)
        return image, moved, float(np.sqrt(moved.size / labels.size))

    def _finished(
        self, image: np.ndarray, labels: np.ndarray, scale: float, strength: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The slice at the input's size with its boxes `(n, 5)`, or None when there is too little to teach."""
        boxes = boxes_of(self._task, labels, scale)
        if boxes is None:
            return None
        size = self._task.input_size
        if image.shape[:2] != size:
            image = np.ascontiguousarray(resize_linear(image.transpose(2, 0, 1), size).transpose(1, 2, 0))
            boxes[:, [1, 3]] *= size[1] / labels.shape[1]
            boxes[:, [2, 4]] *= size[0] / labels.shape[0]
        # Each modality is an image of its own; some filters drop the axis of a single channel, so all three are given.
        modalities = np.array([channel.modality for channel in self._task.channels])
        changed = {one: change_intensities(self._rng, image, strength) for one in dict.fromkeys(modalities.tolist())}
        return np.stack([changed[one][..., at] for at, one in enumerate(modalities)], axis=-1), boxes

    def _vary_lesions(self, image: np.ndarray, mask: np.ndarray) -> None:
        rng = self._rng
        if mask.any() and rng.random() < 0.5:
            lesions.change_lesion_contrast(rng, image, mask)
        for _ in range(int(rng.choice(3, p=(0.42, 0.45, 0.13) if not mask.any() else (0.75, 0.2, 0.05)))):
            if rng.random() < 0.65:
                donor, labels = self._draw(1.0)
                lesions.transplant_lesion(rng, image, mask, donor, labels > 0)
            else:
                lesions.draw_lesion(rng, image, mask)


def _pieces(mask: np.ndarray, merge: int | None, scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    if merge is None:
        return [_pixels(mask > 0)]
    width = round(merge * scale) | 1
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    count, pieces = cv2.connectedComponents(grown)
    return [_pixels((pieces == piece) & (mask > 0)) for piece in range(1, count)]


def _pixels(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(mask)
    return rows, columns
