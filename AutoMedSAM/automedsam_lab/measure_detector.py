"""Score a detector, trained or exported, on every slice of some patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from automedsam_lab.detection_metrics import DetectionScores, score_detections, suppress
from automedsam_lab.detector_data import DetectorTask, FrameStack, plain_boxes, plain_input

Predict: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
_BATCH = 8


def measure_detector(task: DetectorTask, predict: Predict, stacks: Sequence[FrameStack]) -> DetectionScores:
    """Score a detector without augmentation; slices with too little label to judge are left out.

    Args:
        task: The detector's task.
        predict: Takes images `(B, 3, H, W)` in 0..1, returns boxes `(B, A, 4)` and scores `(B, A, C)`.
        stacks: The patients.

    Returns:
        The scores over all slices.
    """
    found: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    for stack in stacks:
        judged = ((index, plain_boxes(task, stack, index)) for index in range(len(stack.frames)))
        shown = [(index, real) for index, real in judged if real is not None and stack.frames[index].any()]
        for start in range(0, len(shown), _BATCH):
            picked = shown[start : start + _BATCH]
            boxes, scores = predict(np.stack([plain_input(task, stack, index) for index, _ in picked]))
            found += [suppress(*output) for output in zip(boxes, scores, strict=True)]
            truth += [real for _, real in picked]
    return score_detections(found, truth, len(task.classes))


def onnx_predictor(model: Path, threads: int = 1) -> Predict:
    """Run an exported detector on the CPU by ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = session.run(["boxes", "scores"], {"image": images.astype(np.float32)})
        return np.asarray(boxes), np.asarray(scores)

    return predict
