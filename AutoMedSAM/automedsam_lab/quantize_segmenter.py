"""INT8 for the segmenter, each part by the scheme that suits its layers.

Matrix products are quantized dynamically, channel by channel: that measured best on SAM 2's transformers, while
dynamic convolutions were slower than FP32 ones (`shared/spikes/sam2_onnx`). An image encoder of convolutions is
quantized statically instead, with calibration slices, as the detector is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.segmenter.onnx_parts import PART_NAMES

ENCODER = "image_encoder"
TRUNK = "/trunk/"


def quantize_segmenter(fp32: Mapping[str, Path], out: Path, calibration: NDArray[np.float32]) -> dict[str, Path]:
    """Writes the INT8 file of each part.

    Args:
        fp32: the exported graph of each part.
        out: the folder to write `<part>.int8.onnx` to.
        calibration: `(n, 3, S, S)` normalised slices of training patients, for an encoder of convolutions.

    Returns:
        The written file of each part.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name in PART_NAMES:
        written[name] = out / f"{name}.int8.onnx"
        with tempfile.TemporaryDirectory(dir=out) as folder:
            temporary = Path(folder) / "quantized.onnx"
            if name == ENCODER and _is_convolutional(fp32[name]):
                quantize_static_convolutions(fp32[name], temporary, calibration)
            else:
                quantize_dynamic_products(fp32[name], temporary)
            temporary.replace(written[name])
    return written


def quantize_dynamic_products(source: Path, out: Path) -> None:
    """Writes a graph with INT8 matrix products, whose activations are quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(out),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def quantize_static_convolutions(source: Path, out: Path, calibration: NDArray[np.float32]) -> None:
    """Writes an image encoder in QDQ form, with weights by channel and activation ranges from calibration slices.

    Only the trunk's convolutions are quantized, and not its first: with the neck and the sums of the residual
    blocks left in FP32, the features were half as far from FP32's (1 to 2 % instead of 2 to 3.5 % of their norm,
    on 19 validation slices), for 0.2 MB more.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Slices(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.float32]] = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image[None]}

    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantize_static(
            str(prepared),
            str(out),
            Slices(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=names[:1] + [name for name in names if TRUNK not in name],
        )


def _is_convolutional(path: Path) -> bool:
    import onnx

    graph = onnx.load(path).graph
    return not any(node.op_type in ("MatMul", "Gemm") for node in graph.node)
