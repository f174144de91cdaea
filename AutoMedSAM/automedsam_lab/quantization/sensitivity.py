"""Which layers lose most when they are quantized, and the plan that leaves the worst of them in FP32."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from automedsam.quantization.quantizer import (
    CONVOLUTIONS,
    PRODUCTS,
    Method,
    OrtInputs,
    PartPlan,
    Plan,
    Quantizer,
    Scheme,
)
from automedsam.quantization.segmenter import (
    ENCODER,
    default_plan,
    is_convolutional,
    quantize_by_plan,
    quantize_part,
)
from automedsam.runtime.golden_outputs import record_golden
from automedsam.runtime.session import open_session
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.quantization.activation_recorder import record_inputs
from automedsam_lab.quantization.fidelity import CachedEncoder, Fidelity, PromptedClip, agreement, propagate_clips

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

    from automedsam.sam2.networks import Floats, ImageEmbedding

logger = logging.getLogger(__name__)

MAX_IN_FP32 = 3
# A group is worth FP32 if it alone costs so much Dice; two schemes closer than this are judged by their time.
MIN_LOSS = 5e-4
# A scheme must be this much faster than the usual one to replace it: times of one machine vary.
CLEARLY_FASTER = 0.9
_TIMED_RUNS = 5


@dataclass(frozen=True)
class GroupLoss:
    """What quantizing one group of layers alone costs.

    Attributes:
        part: the graph.
        group: the module that the layers belong to.
        nodes: the layers' nodes.
        dice_loss: 1 - mean Dice between the masks with this group in INT8 and those of FP32.
        logits: mean difference of the mask logits.
    """

    part: str
    group: str
    nodes: tuple[str, ...]
    dice_loss: float
    logits: float

    @property
    def severity(self) -> tuple[float, float]:
        """The order: Dice first, logits where Dice is equal."""
        return self.dice_loss, self.logits


class FidelityEvaluator:
    """A segmenter's FP32 parts, and what becomes of its masks when files of some parts are exchanged.

    Args:
        fp32: the exported graph of each part.
        clips: what both follow.
        settings: how the model is run.
        threads: threads within an operator; all cores if None.
    """

    def __init__(
        self,
        fp32: Mapping[str, Path],
        clips: Sequence[PromptedClip],
        settings: SegmenterSettings,
        threads: int | None = None,
    ) -> None:
        self._fp32, self._clips, self._settings, self._threads = dict(fp32), clips, settings, threads
        self._embeddings: dict[str, ImageEmbedding] = {}
        self._reference: list[Floats] = self._track({})

    def of(self, files: Mapping[str, Path]) -> Fidelity:
        """How well the model agrees with FP32 when these parts' files take the place of FP32's."""
        return agreement(self._reference, self._track(files))

    def _track(self, files: Mapping[str, Path]) -> list[Floats]:
        parts = OnnxNetworks({**self._fp32, **files}, self._settings.image_size, self._threads)
        return propagate_clips(
            parts if ENCODER in files else CachedEncoder(parts, self._embeddings), self._settings, self._clips
        )


def layer_groups(graph: GraphProto, layers: Sequence[NodeProto]) -> dict[str, tuple[str, ...]]:
    """Layers by the module above them, as an attention's projections or an MLP's two layers belong together.

    Args:
        graph: the graph that the layers are from.
        layers: its layers, in order.

    Returns:
        The node names of each group.
    """
    biases: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Add":
            for bias in (name for name in node.input if name.endswith(".bias")):
                biases.update({name: bias for name in node.input if name != bias})
    groups: dict[str, tuple[str, ...]] = {}
    for node in layers:
        named = [name for name in (*node.input[1:], biases.get(node.output[0], "")) if name.endswith(".bias")]
        module = named[0].removesuffix(".bias") if named else node.name.strip("/").rpartition("/")[0].replace("/", ".")
        group = module.rpartition(".")[0] or module or node.name
        groups[group] = (*groups.get(group, ()), node.name)
    return groups


def scan_sensitivity(
    fp32: Mapping[str, Path],
    recorded: Mapping[str, Sequence[OrtInputs]],
    comparison: FidelityEvaluator,
    plan: Plan,
) -> list[GroupLoss]:
    """Quantizes one group of layers at a time, all else in FP32, and measures what it costs.

    Args:
        fp32: the exported graph of each part.
        recorded: real inputs of the parts, see `record_inputs`.
        comparison: of the same parts.
        plan: the scheme of each part.

    Returns:
        All groups, the worst first. A group that cannot be quantized has a loss of 1.
    """
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for part, how in plan.parts.items():
            if how.scheme is Scheme.FP32:
                continue
            out = Path(folder) / f"{part}.tested.onnx"
            quantizer = Quantizer(fp32[part], recorded[part], Path(folder))
            for group, nodes in layer_groups(quantizer.graph(how.scheme), quantizer.layers(how)).items():
                others = [node.name for node in quantizer.layers(how) if node.name not in nodes]
                alone = replace(how, fp32_nodes=(*how.fp32_nodes, *others), scores=False)
                if set(quantize_part(quantizer, fp32[part], out, alone, recorded[part])) >= set(nodes):
                    losses.append(GroupLoss(part, group, nodes, 1.0, 0.0))
                else:
                    found = comparison.of({part: out})
                    losses.append(GroupLoss(part, group, nodes, 1 - found.dice, found.logits))
                logger.info("%s", describe(losses[-1]))
    return sorted(losses, key=lambda loss: loss.severity, reverse=True)


def keep_worst_in_fp32(
    plan: Plan, losses: Sequence[GroupLoss], most: int = MAX_IN_FP32, min_loss: float = MIN_LOSS
) -> Plan:
    """The plan with the worst groups in FP32, and the scan in its record.

    Args:
        plan: the scheme of each part.
        losses: of a scan, the worst first.
        most: how many groups stay in FP32 at most.
        min_loss: a group that costs less Dice than this is quantized all the same.
    """
    worst = [loss for loss in losses[:most] if loss.dice_loss >= min_loss]
    parts = dict(plan.parts)
    for loss in worst:
        parts[loss.part] = replace(parts[loss.part], fp32_nodes=(*parts[loss.part].fp32_nodes, *loss.nodes))
    scan = [{key: value for key, value in asdict(loss).items() if key != "nodes"} for loss in losses]
    left = [{"part": loss.part, "group": loss.group} for loss in worst]
    return Plan(parts, {**plan.measured, "sensitivity": _rounded(scan), "left_in_fp32": left})


def choose_plan(
    fp32: Mapping[str, Path],
    recorded: Mapping[str, Sequence[OrtInputs]],
    comparison: FidelityEvaluator,
    *,
    scan: bool = True,
    most: int = MAX_IN_FP32,
) -> Plan:
    """Measures the schemes of each part, takes the best, and leaves the worst groups of layers in FP32.

    Of the schemes whose Dice with FP32 is within 0.0005 of the best one, the usual one is taken unless another
    is a tenth faster.

    Args:
        fp32: the exported graph of each part.
        recorded: real inputs of the parts, see `record_inputs`.
        comparison: of the same parts.
        scan: measure the groups of layers, which takes most of the time.
        most: how many groups stay in FP32 at most.

    Returns:
        The plan, with all that was measured.
    """
    usual = default_plan(fp32)
    parts, measured = {}, {}
    for part in NETWORK_NAMES:
        tried = []
        with tempfile.TemporaryDirectory() as folder:
            quantizer = Quantizer(fp32[part], recorded[part], Path(folder))
            for how in _candidates(fp32[part], usual.parts[part]):
                out = Path(folder) / f"{part}.tested.onnx"
                left = quantize_part(quantizer, fp32[part], out, how, recorded[part])
                found, took = comparison.of({part: out}), _milliseconds(out, recorded[part])
                tried.append((replace(how, unquantizable=left), found, took, out.stat().st_size / 1e6))
                logger.info("%s", _line(part, *tried[-1]))
        best = max(found.dice for _, found, _, _ in tried)
        good = [one for one in tried if one[1].dice >= best - MIN_LOSS]
        quickest = min(good, key=lambda one: one[2])
        keep = good[0][0] is tried[0][0] and quickest[2] > CLEARLY_FASTER * good[0][2]
        parts[part] = good[0][0] if keep else quickest[0]
        measured[part] = [_record(*one) for one in tried]
    plan = Plan(parts, {"schemes": measured})
    if scan:
        losses = scan_sensitivity(fp32, recorded, comparison, plan)
        plan = keep_worst_in_fp32(plan, losses, most)
        for left in plan.measured["left_in_fp32"]:
            logger.info("%s: %s stays in FP32", left["part"], left["group"])
    return plan


def choose_and_quantize(
    fp32: Mapping[str, Path],
    out: Path,
    clips: Sequence[PromptedClip],
    settings: SegmenterSettings,
    *,
    scan: bool = True,
    most: int = MAX_IN_FP32,
) -> tuple[dict[str, Path], Plan]:
    """Records real inputs, chooses a plan by measurement, and writes the INT8 files.

    Args:
        fp32: the exported graph of each part.
        out: the folder to write `<part>.int8.onnx` to.
        clips: what the parts are recorded and measured on.
        settings: how the model is run.
        scan: measure the groups of layers, which takes most of the time.
        most: how many groups stay in FP32 at most.

    Returns:
        The written file of each part, and the plan, whose record has the files' golden outputs.

    Raises:
        AutoMedSAMError: if no clip has two slices.
    """
    recorded = record_inputs(fp32, clips, settings)
    plan = choose_plan(fp32, recorded, FidelityEvaluator(fp32, clips, settings), scan=scan, most=most)
    slices = np.concatenate([feed["image"] for feed in recorded[ENCODER]])
    files, plan = quantize_by_plan(fp32, out, slices, plan, recorded)
    return files, Plan(plan.parts, {**plan.measured, "golden": record_golden(files)})


def describe(loss: GroupLoss) -> str:
    """One line."""
    return f"{loss.part}: {loss.group}: Dice {1 - loss.dice_loss:.4f}, logits off by {loss.logits:.4f}"


def _candidates(fp32: Path, usual: PartPlan) -> Iterator[PartPlan]:
    """The usual plan of a part, then the other schemes and calibrations of the same kind of layers."""
    yield usual
    if usual.scores:
        yield replace(usual, scores=False)
    operators = usual.operators if is_convolutional(fp32) else (*PRODUCTS, *CONVOLUTIONS)
    for method in Method:
        other = replace(usual, scheme=Scheme.STATIC, method=method, operators=operators, scores=False)
        if other != usual:
            yield other


def _milliseconds(path: Path, feeds: Sequence[OrtInputs]) -> float:
    """The median over some inputs, after one that warms up."""
    session = open_session(path)
    session.run(None, dict(feeds[-1]))
    times = []
    for feed in feeds[-_TIMED_RUNS:]:
        begun = time.perf_counter()
        session.run(None, dict(feed))
        times.append(1000 * (time.perf_counter() - begun))
    return sorted(times)[len(times) // 2]


def _line(part: str, how: PartPlan, found: Fidelity, milliseconds: float, megabytes: float) -> str:
    scheme = how.scheme.value + (f" {how.method.value}" if how.scheme is Scheme.STATIC else "")
    scheme += " with scores" if how.scores else ""
    return (
        f"{part}: {scheme}: Dice {found.dice:.4f} (worst {found.worst:.4f}), {milliseconds:.1f} ms, {megabytes:.1f} MB"
    )


def _record(how: PartPlan, found: Fidelity, milliseconds: float, megabytes: float) -> dict[str, Any]:
    described = {key: value for key, value in how.to_manifest().items() if key in ("scheme", "calibration", "scores")}
    return _rounded({**described, **found._asdict(), "milliseconds": milliseconds, "megabytes": megabytes})


def _rounded(values: Any) -> Any:
    """Five digits are all that these figures hold."""
    if isinstance(values, dict):
        return {key: _rounded(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_rounded(value) for value in values]
    return float(f"{values:.5g}") if isinstance(values, float) else values
