"""The backends, and which of a bundle's files each runs on."""

from __future__ import annotations

from enum import Enum

__all__ = ["Backend"]


class Backend(str, Enum):
    """What computes a run. The values are what the command line, requests and saved scenes name it by.

    Example:
        >>> Backend("fp32").label
        'FP32 (PyTorch)'
    """

    INT8 = "int8"
    """8-bit integers on ONNX Runtime; the default."""
    FP32_TORCH = "fp32"
    """32-bit floats on PyTorch."""
    FP32_ONNX = "fp32-onnx"
    """32-bit floats on ONNX Runtime, to check an export."""

    @property
    def files_key(self) -> str:
        """The key of its files under `segmenter.files` in a manifest."""
        return {"int8": "int8", "fp32-onnx": "fp32", "fp32": "torch"}[self.value]

    @property
    def detector_key(self) -> str:
        """The key of its file under `detector.files` in a manifest: detectors run on ONNX Runtime throughout."""
        return "int8" if self is Backend.INT8 else "fp32"

    @property
    def label(self) -> str:
        """Its name in tables and reports."""
        return {"int8": "INT8", "fp32-onnx": "FP32 (ONNX)", "fp32": "FP32 (PyTorch)"}[self.value]
