"""From the detector's raw output to boxes in a slice's own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.core.letterbox import Letterbox
from automedsam.core.resize import resize_linear
from automedsam.detection.detector import (
    ANCHOR_STRIDES,
    DetectorSettings,
    FlipAugmentation,
    OnnxDetector,
    ResizeMode,
    YoloNasDetector,
    corners_to_native,
    detector_input,
    non_maximum_suppression,
    stack_adjacent_slices,
)

SETTINGS = DetectorSettings(input_size=(32, 64), labels=(1, 2), context_mm=2.0, score_threshold=0.4, nms_iou=0.5)


def test_weaker_of_two_overlapping_boxes_goes() -> None:
    corners = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]], float)
    assert non_maximum_suppression(corners, np.array([0.6, 0.9, 0.5]), 0.5) == [1, 2]


def test_scores_under_the_floor_and_slivers_are_left_out() -> None:
    corners = np.array([[0, 0, 10, 10], [20, 0, 20.5, 10]], float)
    assert non_maximum_suppression(corners, np.array([0.04, 0.9]), 0.5) == []


def test_context_is_measured_in_millimetres_and_clamped_at_the_ends() -> None:
    slices = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert stack_adjacent_slices(slices, 1.0, 2.0)[:, 0, 0].tolist() == [
        [0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 5], [2, 4, 5], [3, 5, 5],
    ]  # fmt: skip
    assert stack_adjacent_slices(slices, 5.0, 2.0)[2, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("count", "context_mm"), [(5, 0.0), (5, 1.0), (5, 3.0), (1, 2.0), (3, 9.0)])
def test_channels_are_the_slice_below_itself_and_above(count: int, context_mm: float) -> None:
    slices = np.random.default_rng(1).integers(0, 256, (count, 4, 6)).astype(np.uint8)
    index, offset = np.arange(count), round(context_mm)
    wanted = [slices[np.clip(index + shift, 0, count - 1)] for shift in (-offset, 0, offset)]
    np.testing.assert_array_equal(stack_adjacent_slices(slices, 1.0, context_mm), np.stack(wanted, -1))


def test_boxes_come_back_in_the_slices_own_pixels(tmp_path: Path) -> None:
    """A model that answers with one fixed box of the second class, on slices twice and thrice its input."""
    onnx = pytest.importorskip("onnx", reason="the lab is not installed")
    from onnx import TensorProto, helper

    def fixed(name: str, values: list[list[float]]) -> object:
        array = np.array([values], np.float32)
        return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))

    def free(name: str, shape: list[int | str]) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [fixed("boxes", [[8, 4, 24, 20]]), fixed("scores", [[0.0, 0.75]])],
        "fixed",
        [free("image", ["n", 3, 32, 64])],
        [free("boxes", [1, 1, 4]), free("scores", [1, 1, 2])],
    )
    path = tmp_path / "fixed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    detector = OnnxDetector(path, SETTINGS, threads=1)
    ((box,),) = list(detector.detect(np.zeros((1, 96, 128, 3), np.uint8)))
    assert (box.x, box.y, box.width, box.height, box.score, box.label) == (16, 12, 32, 48, 0.75, 2)


def test_stretched_slice_fills_the_input() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 30, 50, 3)).astype(np.uint8)
    stretched = detector_input(frames, (32, 64), ResizeMode.STRETCH)
    np.testing.assert_array_equal(stretched, resize_linear(frames.transpose(0, 3, 1, 2), (32, 64)) / np.float32(255))
    corners = corners_to_native(np.array([[0, 0, 64, 32], [32, 16, 48, 24]]), (30, 50), (32, 64), ResizeMode.STRETCH)
    np.testing.assert_allclose(corners, [[0, 0, 50, 30], [25, 15, 37.5, 22.5]])


@pytest.mark.parametrize("native", [(30, 50), (50, 30), (64, 64), (97, 128), (500, 333), (1, 9)])
def test_letterboxed_slice_is_what_the_detector_learnt_from(native: tuple[int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, *native, 3)).astype(np.uint8)
    place = Letterbox.fit(native, (64, 96))
    fed = detector_input(frames, (64, 96), ResizeMode.LETTERBOX)
    assert fed.shape == (2, 3, 64, 96) and fed.dtype == np.float32
    for frame, given in zip(frames, fed, strict=True):
        png = np.stack([place.image(np.ascontiguousarray(frame[..., channel])) for channel in range(3)])
        np.testing.assert_array_equal(np.rint(given * 255).astype(np.uint8), png)


@pytest.mark.parametrize("native", [(30, 50), (50, 30), (97, 128), (500, 333), (7, 5)])
def test_letterboxed_boxes_come_back_exactly(native: tuple[int, int]) -> None:
    place = Letterbox.fit(native, (64, 96))
    known = Box(1.25, 2.5, native[1] / 3, native[0] / 3)
    placed = np.array([[place.box_to_input(known).corners]])
    back = corners_to_native(placed, native, (64, 96), ResizeMode.LETTERBOX)
    np.testing.assert_allclose(back[0, 0], known.corners, atol=1e-9)


class CellDetector:
    """Stands for a network: each anchor's box lies around its own cell, and its score is the cell's brightness."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = images[:, 1]
        corners, scores = [], []
        for stride in ANCHOR_STRIDES:
            rows, columns = image.shape[1] // stride, image.shape[2] // stride
            cells = image.reshape(-1, rows, stride, columns, stride).mean((2, 4))
            y, x = np.mgrid[:rows, :columns] * stride
            # The box reaches further to the right than to the left, as a mirrored one must not.
            corners.append(np.stack([x - 1, y - 2, x + stride + 5, y + stride + 2], -1).reshape(-1, 4))
            scores.append(cells.reshape(len(image), -1, 1))
        boxes = np.broadcast_to(np.concatenate(corners), (len(image), sum(map(len, corners)), 4))
        return boxes.astype(np.float32), np.concatenate(scores, 1).astype(np.float32)


@pytest.mark.parametrize("mirror", list(FlipAugmentation))
def test_second_look_finds_the_same_place(mirror: FlipAugmentation) -> None:
    """Scores of a bright cell stay what they are, and boxes become what both looks agree on."""
    detector = YoloNasDetector(CellDetector(), DetectorSettings((64, 96), (1,), 2.0, 0.4, 0.5, mirror))
    frame = np.zeros((1, 64, 96, 3), np.uint8)
    frame[0, 8:16, 16:24] = 255
    best = next(iter(detector.detect(frame)))[0]
    assert best.score == pytest.approx(1.0)
    assert (best.y, best.height) == (6, 12)
    if mirror is FlipAugmentation.COLUMNS:
        assert (best.x, best.width) == (13, 14)
    else:
        assert (best.x, best.width) == (15, 14)


@pytest.mark.parametrize("mirror", [None, *FlipAugmentation])
@pytest.mark.parametrize("native", [(64, 32), (32, 96), (128, 64), (64, 96)])
def test_letterboxed_detector_finds_the_place_in_native_pixels(
    mirror: FlipAugmentation | None, native: tuple[int, int]
) -> None:
    detector = YoloNasDetector(
        CellDetector(), DetectorSettings((64, 96), (1,), 2.0, 0.4, 0.5, mirror, ResizeMode.LETTERBOX)
    )
    place = Letterbox.fit(native, (64, 96))
    # A cell of the input, 8 pixels wide, in the middle of the picture; and the native pixels that lie there.
    x, y = 8 * round((place.left + place.resized[1] / 2) / 8 - 1), 24
    bright = place.box_to_native(Box(x, y, 8, 8))
    frame = np.zeros((1, *native, 3), np.uint8)
    left, top, right, bottom = (round(edge) for edge in bright.corners)
    frame[0, top:bottom, left:right] = 255
    best = next(iter(detector.detect(frame)))[0]
    around = (x - 3, 14) if mirror is FlipAugmentation.COLUMNS else (x - 1, 14)
    wanted = place.box_to_native(Box(around[0], y - 2, around[1], 12))
    assert best.score > 0.9
    np.testing.assert_allclose(best.corners, wanted.corners, atol=1e-6)


def test_letterboxed_box_is_cut_at_the_picture() -> None:
    """A box that reaches into the dark beside the picture ends where the picture does."""
    detector = YoloNasDetector(
        CellDetector(), DetectorSettings((64, 96), (1,), 2.0, 0.4, 0.5, None, ResizeMode.LETTERBOX)
    )
    frame = np.zeros((1, 64, 32, 3), np.uint8)
    frame[0, 24:32, :8] = frame[0, 40:48, 24:] = 255
    first, second = sorted(next(iter(detector.detect(frame)))[:2], key=lambda box: box.x)
    assert first.x == 0 and second.corners[2] == 32


def test_slices_that_lie_very_close_are_padded_by_no_more_than_their_number() -> None:
    slices = np.arange(5, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    frames = stack_adjacent_slices(slices, 1e-300, 2.0)
    assert frames[:, 0, 0].tolist() == [[0, index, 4] for index in range(5)]
