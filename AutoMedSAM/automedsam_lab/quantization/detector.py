"""Quantize an exported detector to INT8: static, per channel, unsigned activations, signed weights.

The decoding of the heads (distribution softmax, distances to boxes, sigmoid) stays in FP32: quantized, it
moves the box edges by pixels for no gain in speed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.quantizer import ALL_OPERATORS, PartPlan, Quantizer, Scheme
from automedsam_lab.data.detector_slices import DetectorTask, FrameStack, plain_input
from automedsam_lab.data.prepared.dataset import PreparedDataset
from automedsam_lab.models.onnx_predictor import onnx_predictor

MIN_CALIBRATION = 32
_HEADS = ("/head1/", "/head2/", "/head3/")


@dataclass(frozen=True)
class QuantizationCheck:
    """INT8 against FP32 on the calibration slices, for anchors that FP32 scores above 0.3.

    Attributes:
        boxes: Mean difference of a box edge in input pixels.
        scores: Mean difference of a score.
        megabytes: Size of the INT8 file.
        fp32_megabytes: Size of the FP32 file.
    """

    boxes: float
    scores: float
    megabytes: float
    fp32_megabytes: float


def calibration_frames(task: DetectorTask, stacks: Sequence[FrameStack], count: int = 64, seed: int = 0) -> np.ndarray:
    """Slices of training patients to calibrate with, three quarters of them with label.

    Args:
        task: The detector's task.
        stacks: Training patients.
        count: How many slices.
        seed: Seed of the draw.

    Returns:
        `(count, 3, H, W)` float32 in 0..1.
    """
    rng = np.random.default_rng(seed)
    images = []
    for index in range(count):
        stack = stacks[int(rng.integers(len(stacks)))]
        pool = stack.empty if index % 4 == 0 and len(stack.empty) else stack.filled
        images.append(plain_input(task, stack, int(rng.choice(pool))))
    return np.stack(images).astype(np.float32)


def prepared_calibration(dataset: PreparedDataset, exported: Path, count: int = 64, seed: int = 0) -> np.ndarray:
    """Training images of a prepared dataset to calibrate with, three quarters of them with a box.

    Args:
        dataset: The dataset that the detector was trained on.
        exported: The exported detector, which has the size of its input.
        count: Number of images; small datasets give some of them twice.
        seed: Random seed of the draw.

    Returns:
        `(count, 3, S, S)` float32 in 0..1.

    Raises:
        AutoMedSAMError: The file is no detector of such a dataset, or an image cannot be read.
    """
    return draw_calibration(dataset, _prepared_input_size(dataset, exported), count, seed)


def draw_calibration(dataset: PreparedDataset, size: int, count: int = 64, seed: int = 0) -> np.ndarray:
    """Training images of a prepared dataset, three quarters of them with a box, as a detector of this size sees them.

    Args:
        dataset: The dataset.
        size: Side S of the detector's input in pixels.
        count: Number of images; small datasets give some of them twice.
        seed: Random seed of the draw.

    Returns:
        `(count, 3, S, S)` float32 in 0..1.

    Raises:
        AutoMedSAMError: An image cannot be read.
    """
    from automedsam_lab.data.prepared.detection_images import DetectionImages

    images = dataset.part("train")
    shown = DetectionImages(images, sorted(dataset.labels), size)
    filled = [index for index, image in enumerate(images) if image.boxes]
    empty = [index for index, image in enumerate(images) if not image.boxes]
    rng = np.random.default_rng(seed)
    chosen = []
    for index in range(count):
        pool = empty if index % 4 == 0 and empty else filled or empty
        chosen.append(shown[int(rng.choice(pool))][0])
    return np.stack(chosen)


def _prepared_input_size(dataset: PreparedDataset, exported: Path) -> int:
    """The side of the input of a detector that fits a prepared dataset."""
    import onnx

    from automedsam_lab.export.detector import read_settings

    try:
        model = onnx.load(exported)
        height, width = (int(side.dim_value) for side in model.graph.input[0].type.tensor_type.shape.dim[2:])
    except Exception as error:  # The exceptions of protobuf and onnx share no public base class.
        message = f"{exported} is not an exported detector ({error}); export it with 'automedsam-lab export detector'."
        raise AutoMedSAMError(message) from error
    settings = read_settings(model)
    if height != width or settings.get("fit", "letterbox") != "letterbox" or settings.get("context_mm"):
        message = f"The detector {exported} was not trained on a prepared dataset; give --task and --data of its task."
        raise AutoMedSAMError(message)
    values = settings.get("values", sorted(dataset.labels))
    if list(values) != sorted(dataset.labels):
        message = (
            f"The detector {exported} finds the labels {', '.join(map(str, values))}, and {dataset.folder} has "
            f"{', '.join(map(str, sorted(dataset.labels)))}; choose the dataset that it was trained on."
        )
        raise AutoMedSAMError(message)
    return height


def quantize_detector(fp32_onnx: Path, calibration: np.ndarray, out_onnx: Path) -> QuantizationCheck:
    """Write the INT8 file of a detector.

    Args:
        fp32_onnx: What `export_detector` wrote.
        calibration: At least 32 slices of training patients `(n, 3, H, W)` float32 in 0..1.
        out_onnx: The file to write.

    Returns:
        How closely INT8 follows FP32.

    Raises:
        AutoMedSAMError: There are too few slices to calibrate with, or the FP32 file is missing.
    """
    if len(calibration) < MIN_CALIBRATION:
        message = f"Calibration needs at least {MIN_CALIBRATION} training slices, not {len(calibration)}; give more."
        raise AutoMedSAMError(message)
    if not fp32_onnx.is_file():
        message = f"There is no exported detector {fp32_onnx}; export it first."
        raise AutoMedSAMError(message)

    out_onnx.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_onnx.parent) as folder:
        quantized = Path(folder) / "quantized.onnx"
        feeds = [{"image": image[None]} for image in calibration]
        quantizer = Quantizer(fp32_onnx, feeds, Path(folder))
        names = [node.name for node in quantizer.graph(Scheme.STATIC).node if "/heads/" in node.name]
        decoding = tuple(name for name in names if not any(head in name for head in _HEADS))
        quantizer.write(quantized, PartPlan(Scheme.STATIC, operators=ALL_OPERATORS, fp32_nodes=decoding))
        os.replace(quantized, out_onnx)
    return _compare(fp32_onnx, out_onnx, calibration)


def _compare(fp32: Path, int8: Path, images: np.ndarray) -> QuantizationCheck:
    boxes, scores = onnx_predictor(fp32)(images)
    found_boxes, found_scores = onnx_predictor(int8)(images)
    sure = scores.max(-1) > 0.3
    return QuantizationCheck(
        float(np.abs(found_boxes - boxes)[sure].mean()) if sure.any() else 0.0,
        float(np.abs(found_scores - scores)[sure].mean()) if sure.any() else 0.0,
        int8.stat().st_size / 1e6,
        fp32.stat().st_size / 1e6,
    )
