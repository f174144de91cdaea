"""What each part of PTQ4SAM brings to a segmenter, as a table: its masks against those of FP32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automedsam.quantization.export import export_segmenter
from automedsam.quantization.quantizer import CONVOLUTIONS, PRODUCTS, PartPlan, Plan, Scheme
from automedsam.quantization.segmenter import ENCODER, default_plan, is_convolutional, quantize_segmenter
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import SegmenterSettings
from automedsam.sam2.torch_networks import TorchNetworks
from automedsam_lab.common.table import Table
from automedsam_lab.quantization.activation_recorder import record_inputs
from automedsam_lab.quantization.fidelity import Fidelity, PromptedClip, agreement, propagate_clips
from automedsam_lab.quantization.ptq4sam.bimodal_integration import Integration, integrate_bimodal
from automedsam_lab.quantization.ptq4sam.fake_quantization import observe, search_softmax, simulated_parts

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from automedsam.quantization.quantizer import OrtInputs
    from automedsam.sam2.networks import Sam2Networks

logger = logging.getLogger(__name__)

ONNX_RUNTIME, SIMULATED = "ONNX Runtime", "simulated in torch"
SIMULATED_BITS = (8, 6)


@dataclass(frozen=True)
class Variant:
    """One line of the table.

    Attributes:
        scheme: what is quantized, and how.
        runs_on: `ONNX_RUNTIME`, or `SIMULATED` where it has no kernel.
        found: against FP32.
    """

    scheme: str
    runs_on: str
    found: Fidelity


@dataclass(frozen=True)
class Ablation:
    """The table, and what bimodal integration found."""

    variants: tuple[Variant, ...]
    integrations: tuple[Integration, ...]


def ablate(
    model: SAM2Base,
    settings: SegmenterSettings,
    calibration: Sequence[PromptedClip],
    tested: Sequence[PromptedClip],
) -> Ablation:
    """Measures INT8 with and without PTQ4SAM's two ideas, and the same at 6 bits.

    Args:
        model: in evaluation mode, on the CPU; it is not changed.
        settings: how it is run.
        calibration: clips that ranges, signs and granularities are chosen on.
        tested: other clips, that the masks are compared on.
    """
    reference = propagate_clips(TorchNetworks(model), settings, tested)
    folded = deepcopy(model)
    integrations = integrate_bimodal(folded, calibration[0], settings)
    models = {"": model, " + BIG": folded}
    variants = []
    for scheme, runs_on, parts in _every(models, settings, calibration):
        found = agreement(reference, propagate_clips(parts, settings, tested))
        variants.append(Variant(scheme, runs_on, found))
        logger.info("%s (%s): Dice %.4f", scheme, runs_on, found.dice)
    return Ablation(tuple(variants), tuple(integrations))


def markdown(ablation: Ablation, about: str) -> str:
    """The table.

    Args:
        ablation: what was measured.
        about: the model and the clips, in a sentence.
    """
    bimodal = [one for one in ablation.integrations if one.bimodal]
    named = ", ".join(f"{one.attention} ({one.turned} of {one.channels} channels turned)" for one in bimodal)
    lines = [
        about,
        "",
        f"Bimodal keys in the token-to-image attention: {named or 'none, so that BIG changes nothing'}.",
        "Where ONNX Runtime has no kernel, numbers are rounded in torch and computed with in FP32.",
        "",
    ]
    table = Table(["scheme", "runs on", "mask Dice with FP32", "worst clip", "logits off by"])
    for one in ablation.variants:
        dice, worst, logits = one.found
        table.add(one.scheme, one.runs_on, f"{dice:.4f}", f"{worst:.4f}", f"{logits:.4f}")
    return "\n".join([*lines, table.to_markdown()]) + "\n"


def _every(
    models: Mapping[str, SAM2Base], settings: SegmenterSettings, calibration: Sequence[PromptedClip]
) -> Iterator[tuple[str, str, Sam2Networks]]:
    """Name, place and parts of each variant; an exported one lives until the next is asked for."""
    for suffix, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, parts in _exported(model, settings, calibration, Path(folder)):
                yield name + suffix, ONNX_RUNTIME, parts
    observed = {suffix: observe(model, settings, calibration) for suffix, model in models.items()}
    for bits in SIMULATED_BITS:
        granularities = search_softmax(observed[""], bits)
        for softmax, grids in (("", None), (" + AGQ", granularities)):
            for suffix, model in models.items():
                name = f"W{bits}A{bits}{suffix}{softmax}"
                yield name, SIMULATED, simulated_parts(model, observed[suffix], bits, grids)


def _exported(
    model: SAM2Base, settings: SegmenterSettings, calibration: Sequence[PromptedClip], folder: Path
) -> Iterator[tuple[str, OnnxNetworks]]:
    export_segmenter(model, folder)
    fp32 = {part: folder / f"{part}.onnx" for part in NETWORK_NAMES}
    recorded = record_inputs(fp32, calibration, settings)
    usual = default_plan(fp32)
    for name, plan in (("INT8 as shipped", usual), ("W8A8 static", _all_static(fp32, usual))):
        files = quantize_segmenter(fp32, folder / name.replace(" ", "_"), _slices(recorded), plan, recorded)
        yield name, OnnxNetworks(files, settings.image_size)


def _all_static(fp32: Mapping[str, Path], usual: Plan) -> Plan:
    """Static ranges in every part, so that the keys are quantized as PTQ4SAM has it."""
    parts = {part: PartPlan(Scheme.STATIC, operators=(*PRODUCTS, *CONVOLUTIONS)) for part in NETWORK_NAMES}
    if is_convolutional(fp32[ENCODER]):
        parts[ENCODER] = usual.parts[ENCODER]
    return Plan(parts)


def _slices(recorded: Mapping[str, Sequence[OrtInputs]]) -> np.ndarray:
    return np.concatenate([feed["image"] for feed in recorded[ENCODER]])
