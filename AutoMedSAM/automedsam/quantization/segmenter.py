"""INT8 for the segmenter, each part by the scheme that suits its layers.

Without a plan, matrix products are quantized dynamically, channel by channel: that measured best on SAM 2's
transformers, while dynamic convolutions were slower than FP32 ones. An image encoder
of convolutions is quantized statically instead, with calibration slices, as the detector is.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from automedsam.core.memory import is_out_of_memory
from automedsam.errors import AutoMedSAMError
from automedsam.io.atomic import is_full
from automedsam.quantization.quantizer import (
    CONVOLUTIONS,
    GEMM_SUFFIX,
    PRODUCTS,
    OrtInputs,
    PartPlan,
    Plan,
    Quantizer,
    Scheme,
    weighted_layers,
)
from automedsam.runtime.session import open_session
from automedsam.sam2.onnx_networks import NETWORK_NAMES

logger = logging.getLogger(__name__)

ENCODER, ATTENTION = "image_encoder", "memory_attention"
TRUNK, NECK = "/trunk/", "/laterals."


class Calibration(Protocol):
    """What holds normalised slices `(n, 3, S, S)`."""

    @property
    def slices(self) -> NDArray[np.float32]: ...


def quantize_segmenter(
    fp32: Mapping[str, Path],
    out: Path,
    calibration: Calibration | NDArray[np.float32],
    plan: Plan | None = None,
    recorded: Mapping[str, Sequence[OrtInputs]] | None = None,
) -> dict[str, Path]:
    """Writes the INT8 file of each part.

    A layer that cannot be quantized stays in FP32, and its name is logged.

    Args:
        fp32: the exported graph of each part.
        out: the folder to write `<part>.int8.onnx` to.
        calibration: normalised slices `(n, 3, S, S)` for the image encoder, or what holds them.
        plan: how each part is quantized, see `default_plan` and `choose_plan`.
        recorded: real inputs of the parts, see `record_inputs`; a static scheme of any part but the image encoder
            needs them.

    Returns:
        The written file of each part.

    Raises:
        AutoMedSAMError: if a static scheme has no inputs to be calibrated with.
        OSError: if a file cannot be written.
    """
    return quantize_by_plan(fp32, out, calibration, plan or default_plan(fp32), recorded)[0]


def quantize_by_plan(
    fp32: Mapping[str, Path],
    out: Path,
    calibration: Calibration | NDArray[np.float32],
    plan: Plan,
    recorded: Mapping[str, Sequence[OrtInputs]] | None = None,
    begin: Callable[[str], object] = lambda _: None,
) -> tuple[dict[str, Path], Plan]:
    """As `quantize_segmenter`; gives the plan too, with the layers that could not be quantized in it.

    `begin` is called with the name of each part before it is quantized, and may raise to stop.
    """
    out.mkdir(parents=True, exist_ok=True)
    slices = calibration if isinstance(calibration, np.ndarray) else calibration.slices
    feeds: dict[str, Sequence[OrtInputs]] = {**(recorded or {}), ENCODER: [{"image": image[None]} for image in slices]}
    written, parts = {}, {}
    for name in NETWORK_NAMES:
        begin(name)
        written[name] = out / f"{name}.int8.onnx"
        with tempfile.TemporaryDirectory(dir=out) as folder:
            temporary = Path(folder) / "quantized.onnx"
            quantizer = Quantizer(fp32[name], feeds.get(name, ()), Path(folder))
            left = quantize_part(quantizer, fp32[name], temporary, plan.parts[name], feeds.get(name, ()))
            for node in left:
                logger.info("%s: %s cannot be quantized and stays in FP32", name, node)
            parts[name] = replace(plan.parts[name], unquantizable=left)
            temporary.replace(written[name])
    return written, Plan(parts, plan.measured)


def default_plan(fp32: Mapping[str, Path]) -> Plan:
    """What suits each part's layers by what was measured on the starter and on MedSAM2's network.

    Of an image encoder of convolutions only the trunk is quantized, and not its first convolution: with the neck
    and the sums of the residual blocks left in FP32, the features were half as far from FP32's (1 to 2 % instead
    of 2 to 3.5 % of their norm, on 19 validation slices), for 0.2 MB more. Of a Hiera's the neck stays as well: in
    INT8 it saved a hundredth of the time, and added a twelfth to the error.

    Args:
        fp32: the exported graph of each part.
    """
    parts = {name: PartPlan(Scheme.DYNAMIC) for name in NETWORK_NAMES}
    for name in (ENCODER, ATTENTION):
        parts[name] = replace(parts[name], scores=True)
    parts[ENCODER] = replace(parts[ENCODER], fp32_nodes=_neck(fp32[ENCODER]))
    if is_convolutional(fp32[ENCODER]):
        parts[ENCODER] = trunk_plan(fp32[ENCODER])
    return Plan(parts)


def _neck(encoder: Path) -> tuple[str, ...]:
    """The layers of a Hiera's neck."""
    import onnx

    layers = weighted_layers(onnx.load(encoder).graph, PRODUCTS)
    return tuple(node.name for node in layers if NECK in node.name)


def trunk_plan(encoder: Path) -> PartPlan:
    """Static convolutions of an image encoder's trunk but the first; the neck stays in FP32."""
    with tempfile.TemporaryDirectory(dir=encoder.parent) as folder:
        graph = Quantizer(encoder, (), Path(folder)).graph(Scheme.STATIC)
    names = [node.name for node in weighted_layers(graph, CONVOLUTIONS)]
    left = dict.fromkeys(names[:1] + [name for name in names if TRUNK not in name])
    return PartPlan(Scheme.STATIC, operators=CONVOLUTIONS, fp32_nodes=tuple(left))


def quantize_part(
    quantizer: Quantizer, source: Path, out: Path, plan: PartPlan, feeds: Sequence[OrtInputs]
) -> tuple[str, ...]:
    """Writes one part, and tries it.

    Args:
        quantizer: of this part.
        source: the exported graph.
        out: the file to write.
        plan: how.
        feeds: real inputs to try the result on; it is only opened if there are none.

    Returns:
        The layers that could not be quantized and are in FP32.

    Raises:
        AutoMedSAMError: if a static scheme has no inputs to be calibrated with.
    """
    if plan.scheme is Scheme.FP32:
        shutil.copyfile(source, out)
        return ()
    layers = [node.name for node in quantizer.layers(plan)]
    failing: tuple[str, ...] = ()
    if not _works(quantizer, out, plan, layers, feeds):
        failing = _culprits(quantizer, out, plan, layers, feeds)
        remaining = [name for name in layers if name not in failing]
        if not failing or not remaining or not _works(quantizer, out, plan, remaining, feeds):
            shutil.copyfile(source, out)
            return tuple(layers)
    return (*failing, *_still_fp32(out, plan, layers, failing))


def is_convolutional(path: Path) -> bool:
    """Whether a graph has no matrix product at all."""
    import onnx

    return not any(node.op_type in PRODUCTS for node in onnx.load(path).graph.node)


def _works(quantizer: Quantizer, out: Path, plan: PartPlan, only: Sequence[str], feeds: Sequence[OrtInputs]) -> bool:
    """Whether these layers can be quantized: it is written, opens, and answers with numbers.

    A full disk and too little memory do not depend on the layers, and are raised.
    """
    try:
        quantizer.write(out, plan, only)
        session = open_session(out)
        answers = session.run(None, dict(feeds[0])) if feeds else []
    except OSError:
        raise
    except AutoMedSAMError as error:
        if is_out_of_memory(error) or (plan.scheme is Scheme.STATIC and not feeds):
            raise
        return False
    except Exception as error:  # ONNX Runtime's quantizer raises whatever Python does.
        if is_out_of_memory(error):
            raise
        if is_full(out.parent):
            # What ONNX writes by itself fails in its own way there.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error
        return False
    return all(np.isfinite(values).all() for values in answers)


def _culprits(
    quantizer: Quantizer, out: Path, plan: PartPlan, layers: Sequence[str], feeds: Sequence[OrtInputs]
) -> tuple[str, ...]:
    """The layers that fail on their own, found by halving those that fail together."""
    if len(layers) == 1:
        return tuple(layers)
    found: tuple[str, ...] = ()
    for half in (layers[: len(layers) // 2], layers[len(layers) // 2 :]):
        if not _works(quantizer, out, plan, half, feeds):
            found += _culprits(quantizer, out, plan, half, feeds)
    return found


def _still_fp32(out: Path, plan: PartPlan, layers: Sequence[str], known: Sequence[str]) -> list[str]:
    """Layers that ONNX Runtime passed over in silence, as where it cannot tell a tensor's type."""
    import onnx

    remaining = weighted_layers(onnx.load(out).graph, plan.operators)
    left = {node.name.removesuffix(GEMM_SUFFIX) for node in remaining}
    return [name for name in layers if name in left and name not in known]
