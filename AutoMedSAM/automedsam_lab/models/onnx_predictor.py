"""A detector's ONNX file as a function."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from automedsam.detection.detector import Predict


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
