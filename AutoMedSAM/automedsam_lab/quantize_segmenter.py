"""INT8 for the segmenter: dynamic quantization of matrix products, channel by channel.

The scheme is what measured best on SAM 2 (`shared/spikes/sam2_onnx`): activations are quantized as they come, so
no calibration is needed and masks agreed best with FP32; dynamic convolutions were slower than FP32 ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from automedsam.segmenter.onnx_parts import PART_NAMES


def quantize_segmenter(fp32: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Writes the INT8 file of each part.

    Args:
        fp32: the exported graph of each part.
        out: the folder to write `<part>.int8.onnx` to.

    Returns:
        The written file of each part.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.mkdir(parents=True, exist_ok=True)
    logging.getLogger().setLevel(logging.ERROR)
    written = {}
    for name in PART_NAMES:
        path, temporary = out / f"{name}.int8.onnx", out / f"{name}.int8.onnx.part"
        quantize_dynamic(
            str(fp32[name]),
            str(temporary),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
        temporary.replace(path)
        written[name] = path
    return written
