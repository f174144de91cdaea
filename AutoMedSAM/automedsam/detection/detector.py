"""Boxes on every slice: YOLO-NAS through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automedsam.contract.channels import Channel, mirrored
from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import open_session

MIN_SCORE = 0.05
MAX_DETECTIONS = 50
BATCH = 4
ANCHOR_STRIDES = (8, 16, 32)
ADJACENT_SLICES = (Channel(0, -1), Channel(0, 0), Channel(0, 1))


Predict: TypeAlias = Callable[[NDArray[np.float32]], tuple[NDArray[Any], NDArray[Any]]]


class Detector(Protocol):
    """Finds boxes on frames `(N, H, W, C)` uint8; yields one list a frame, in order, boxes in its pixels."""

    def detect(self, frames: NDArray[np.uint8]) -> Iterator[list[Box]]: ...


class FlipAugmentation(str, Enum):
    """What of an input may be turned around without changing what is to be found."""

    COLUMNS = "columns"
    SLICES = "slices"


class ResizeMode(str, Enum):
    """How a slice of any shape becomes the input: its sides stretched, or kept in proportion on a dark ground."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"


@dataclass(frozen=True)
class DetectorSettings:
    """How a bundle's detector is fed and read.

    Attributes:
        input_size: height and width in pixels that slices are brought to.
        labels: the segmentation's label value of each class.
        context_mm: how far away the neighbouring slices lie that fill the first and the third channel.
        score_threshold: the confidence, 0 to 1, from which an object is accepted.
        nms_iou: of two boxes of one class that overlap more than this, the weaker goes.
        mirror: what is turned around for a second look, whose boxes and scores are averaged with the first's:
            the columns, where left and right look alike, or the order of the slices; None looks once.
        fit: how slices are brought to that size, which is how the training images were.
        channels: which modality and which slice each input channel shows.
    """

    input_size: tuple[int, int]
    labels: tuple[int, ...]
    context_mm: float
    score_threshold: float
    nms_iou: float
    mirror: FlipAugmentation | None = None
    fit: ResizeMode = ResizeMode.STRETCH
    channels: tuple[Channel, ...] = ADJACENT_SLICES


class YoloNasDetector:
    """Boxes from the raw output of a YOLO-NAS (Deci, 2023; super-gradients), whatever runs the network.

    Args:
        predict: Takes images `(n, C, *input_size)` float32 in 0 to 1; returns corners `(n, A, 4)` as `x0, y0, x1, y1`
            in input pixels, and scores `(n, A, classes)`, of all anchors.
        settings: How the network is fed and read.
    """

    def __init__(self, predict: Predict, settings: DetectorSettings) -> None:
        self._predict, self._settings = predict, settings
        self._slices_turned = list(mirrored(settings.channels) or ())

    def detect(self, frames: NDArray[np.uint8]) -> Iterator[list[Box]]:
        """Every box of a score of 0.05 or more, after non-maximum suppression, by falling score."""
        height, width = frames.shape[1:3]
        size, fit = self._settings.input_size, self._settings.fit
        for start in range(0, len(frames), BATCH):
            corners, scores = self._predict_with_flip(detector_input(frames[start : start + BATCH], size, fit))
            native = corners_to_native(corners, (height, width), size, fit)
            for frame_corners, frame_scores in zip(native, scores, strict=True):
                yield self._boxes(frame_corners, frame_scores, width, height)

    def _predict_with_flip(self, image: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Corners `(n, A, 4)` and scores `(n, A, classes)` of all anchors, seen once or twice."""
        corners, scores = self._predict(image)
        mirror = self._settings.mirror
        if mirror is None:
            return corners, scores
        turned = image[..., ::-1] if mirror is FlipAugmentation.COLUMNS else image[:, self._slices_turned]
        again, again_scores = self._predict(np.ascontiguousarray(turned))
        if mirror is FlipAugmentation.COLUMNS:
            rows, columns = image.shape[-2:]
            same = mirrored_anchors(rows, columns)
            again, again_scores = again[:, same], again_scores[:, same]
            again = np.stack([columns - again[..., 2], again[..., 1], columns - again[..., 0], again[..., 3]], -1)
        return (corners + again) / 2, (scores + again_scores) / 2

    def _boxes(self, corners: NDArray[Any], scores: NDArray[Any], width: int, height: int) -> list[Box]:
        """Boxes of one frame from `(A, 4)` corners in its pixels and `(A, classes)` scores."""
        corners = np.clip(corners, 0, [width, height, width, height])
        found = []
        for index, label in enumerate(self._settings.labels):
            for kept in non_maximum_suppression(corners, scores[:, index], self._settings.nms_iou):
                x0, y0, x1, y1 = (float(value) for value in corners[kept])
                found.append(Box(x0, y0, x1 - x0, y1 - y0, float(scores[kept, index]), label))
        return sorted(found, key=lambda box: -box.score)


class OnnxDetector(YoloNasDetector):
    """A YOLO-NAS exported without non-maximum suppression, so that thresholds can change without a new run.

    Args:
        path: The ONNX file: input `image`, outputs boxes and scores.
        settings: How the network is fed and read.
        threads: Of ONNX Runtime; its own choice if None.

    Raises:
        AutoMedSAMError: If the file takes another number of channels than the settings declare.
    """

    def __init__(self, path: Path, settings: DetectorSettings, threads: int | None = None) -> None:
        session = open_session(path, threads)
        taken, declared = session.get_inputs()[0].shape[1], len(settings.channels)
        if isinstance(taken, int) and taken != declared:
            message = (
                f"The detector {path} takes {taken} input channels, and its manifest declares {declared}: "
                "correct detector.channels in bundle.json, or install the bundle again."
            )
            raise AutoMedSAMError(message)

        def predict(image: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            corners, scores = session.run(None, {"image": image})
            return corners, scores

        super().__init__(predict, settings)


def detector_input(frames: NDArray[np.uint8], size: tuple[int, int], fit: ResizeMode) -> NDArray[np.float32]:
    """The network's input, for the engine, training, calibration and validation alike.

    Args:
        frames: `(n, H, W, C)`.
        size: height and width of the input in pixels.
        fit: how frames are brought to it. A letterboxed frame is rounded to whole grey levels, as the PNG that a
            detector learnt from is.

    Returns:
        `(n, C, *size)`, 0 to 1.
    """
    if fit is ResizeMode.LETTERBOX:
        place = Letterbox.fit((frames.shape[1], frames.shape[2]), size)
        placed = np.stack([place.image(frame) for frame in frames])
        return placed.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return resize_linear(frames.transpose(0, 3, 1, 2), size) / np.float32(255)


def corners_to_native(
    corners: NDArray[Any], native: tuple[int, int], size: tuple[int, int], fit: ResizeMode
) -> NDArray[Any]:
    """Undoes `detector_input` for corners.

    Args:
        corners: `(..., 4)` as `x0, y0, x1, y1` in pixels of the input.
        native: height and width of the frames in pixels.
        size: height and width of the input in pixels.
        fit: how the frames were brought to it.

    Returns:
        `(..., 4)` in pixels of the frames; corners beside a letterboxed picture come to lie outside the frame.
    """
    if fit is ResizeMode.LETTERBOX:
        place = Letterbox.fit(native, size)
        down, across = place.ratio
        native_corners: NDArray[Any] = (corners - np.array([place.left, place.top] * 2)) / np.array([across, down] * 2)
        return native_corners
    return corners * np.array([native[1] / size[1], native[0] / size[0]] * 2, np.float32)


def mirrored_anchors(rows: int, columns: int) -> NDArray[np.int_]:
    """For each anchor of a YOLO-NAS input, the anchor at the mirrored place, left for right.

    Anchors are the cells of the grids of strides 8, 16 and 32, one grid after the other, row by row.
    """
    order, first = [], 0
    for stride in ANCHOR_STRIDES:
        height, width = rows // stride, columns // stride
        grid = first + np.arange(height * width).reshape(height, width)
        order.append(grid[:, ::-1].ravel())
        first += height * width
    return np.concatenate(order)


def non_maximum_suppression(corners: NDArray[Any], scores: NDArray[Any], iou: float) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        corners: `(A, 4)` as `x0, y0, x1, y1`.
        scores: `(A,)`, 0 to 1; those under 0.05 and boxes thinner than a pixel are left out.
        iou: the overlap from which the weaker of two boxes goes.

    Returns:
        Indices of the boxes that stay, by falling score.
    """
    sides = corners[:, 2:] - corners[:, :2]
    candidates = np.flatnonzero((scores >= MIN_SCORE) & (sides.min(1) >= 1))
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    areas = sides.prod(1)
    kept: list[int] = []
    while len(order) and len(kept) < MAX_DETECTIONS:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[order, :2])
        high = np.minimum(corners[best, 2:], corners[order, 2:])
        overlap = np.clip(high - low, 0, None).prod(1)
        order = order[overlap <= iou * (areas[best] + areas[order] - overlap)]
    return kept


def stack_adjacent_slices(slices: NDArray[np.uint8], slice_spacing: float, context_mm: float) -> NDArray[np.uint8]:
    """Gives each slice its neighbours as colour channels.

    Args:
        slices: `(N, H, W)` grey levels.
        slice_spacing: distance between slices in mm.
        context_mm: distance to the neighbours in mm; they are at least one slice away.

    Returns:
        `(N, H, W, 3)`: the slice below, the slice itself, the slice above; the end slices repeat. It is a view to
        read from, of one copy of the slices, so that a long video takes no more than that.
    """
    offset = context_steps(slice_spacing, context_mm, len(slices))
    padded = np.pad(slices, ((offset, offset), (0, 0), (0, 0)), mode="edge")
    between, rows, columns = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded, (*slices.shape, 3), (between, rows, columns, offset * between), writeable=False
    )


def context_steps(slice_spacing: float, context_mm: float, count: int) -> int:
    """How many slices away the neighbors lie that the detector sees: at least one, none where `context_mm` is 0.

    Args:
        slice_spacing: distance between slices in mm.
        context_mm: distance to the neighbors in mm.
        count: slices of the volume; beyond its ends there are only copies of the end slices.
    """
    return max(1, round(min(context_mm / slice_spacing, count))) if context_mm > 0 else 0
