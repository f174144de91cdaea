"""Plans of quantization, and the calls of ONNX Runtime's quantizers that all models share."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from enum import Enum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.attention_matmul import quantize_scores

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

OrtInputs: TypeAlias = Mapping[str, NDArray[Any]]

PRODUCTS = ("MatMul", "Gemm")
CONVOLUTIONS = ("Conv",)
ALL_OPERATORS: tuple[str, ...] = ()
PERCENTILE = 99.99
# What ONNX Runtime's dynamic quantizer appends to the name of a Gemm, which it turns into a MatMul and an Add first.
GEMM_SUFFIX = "_MatMul"


class Scheme(str, Enum):
    """How a part's layers are computed.

    Attributes:
        DYNAMIC: INT8 weights by channel, activations quantized as they come.
        STATIC: INT8 weights by channel, activation ranges fixed by calibration (QDQ form).
        FP32: as exported.
    """

    DYNAMIC = "dynamic"
    STATIC = "static"
    FP32 = "fp32"


class Method(str, Enum):
    """How static ranges follow from the recorded activations.

    Attributes:
        MINMAX: the least and greatest value.
        PERCENTILE: the central 99.99 %.
        ENTROPY: the cut of least Kullback-Leibler divergence (Migacz, GTC 2017).
    """

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"


@dataclass(frozen=True)
class PartPlan:
    """How one graph is quantized.

    Attributes:
        scheme: how its layers are computed.
        method: how a static scheme's ranges are found.
        operators: the ONNX operators to quantize; all that ONNX Runtime can if empty.
        fp32_nodes: names of nodes that stay in FP32 by choice.
        unquantizable: names of layers that had to stay in FP32.
        scores: whether an attention's products of queries and many keys are quantized too, of a dynamic scheme.
    """

    scheme: Scheme
    method: Method = Method.MINMAX
    operators: tuple[str, ...] = PRODUCTS
    fp32_nodes: tuple[str, ...] = ()
    unquantizable: tuple[str, ...] = ()
    scores: bool = False

    def to_manifest(self) -> dict[str, Any]:
        """Plain JSON values; the method only where it matters."""
        if self.scheme is Scheme.FP32:
            return {"scheme": self.scheme.value}
        described: dict[str, Any] = {"scheme": self.scheme.value}
        if self.scheme is Scheme.STATIC:
            described["calibration"] = self.method.value
        described["operators"] = list(self.operators)
        described["fp32_nodes"] = list(self.fp32_nodes)
        described["unquantizable"] = list(self.unquantizable)
        if self.scheme is Scheme.DYNAMIC:
            described["scores"] = self.scores
        return described

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> PartPlan:
        """Reads what `to_manifest` wrote; a field that is missing has its default."""
        return cls(
            scheme=Scheme(values["scheme"]),
            method=Method(values.get("calibration", Method.MINMAX)),
            operators=tuple(values.get("operators", PRODUCTS)),
            fp32_nodes=tuple(values.get("fp32_nodes", ())),
            unquantizable=tuple(values.get("unquantizable", ())),
            scores=bool(values.get("scores", False)),
        )


@dataclass(frozen=True)
class Plan:
    """How a model is quantized, and what the choice rests on.

    Attributes:
        parts: the plan of each part.
        measured: what was measured to choose it, as plain JSON values; empty for a plan that was given.
    """

    parts: Mapping[str, PartPlan]
    measured: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> dict[str, Any]:
        """Plain JSON values, for a bundle's manifest."""
        return {
            "parts": {name: part.to_manifest() for name, part in self.parts.items()},
            "measured": dict(self.measured),
        }

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> Plan:
        """Reads what `to_manifest` wrote.

        Raises:
            AutoMedSAMError: if it is not a plan.
        """
        try:
            parts = {name: PartPlan.from_manifest(part) for name, part in values["parts"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = (
                f"The plan of quantization cannot be read ({error}): give what 'automedsam-lab sensitivity' wrote."
            )
            raise AutoMedSAMError(message) from error
        return cls(parts, dict(values.get("measured", {})))


@dataclass(frozen=True)
class Ranges:
    """The least and greatest value of activations, by their names in a graph, and an input of that graph."""

    ranges: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    example: OrtInputs


class Quantizer:
    """One exported graph, to be quantized once or many times: prepared once, calibrated once by each method.

    Args:
        source: the exported graph.
        feeds: real inputs, for static schemes and to try the result on.
        folder: a temporary folder that outlives this object.
    """

    def __init__(self, source: Path, feeds: Sequence[OrtInputs], folder: Path) -> None:
        self._source, self._feeds, self._folder = source, feeds, folder
        self._prepared: Path | None = None
        self._ranges: dict[tuple[Method, tuple[str, ...]], Ranges] = {}

    def graph(self, scheme: Scheme) -> GraphProto:
        """The graph whose nodes a plan of this scheme names."""
        import onnx

        return onnx.load(self._graph_file(scheme)).graph

    def layers(self, plan: PartPlan) -> list[NodeProto]:
        """The layers with weights that a plan would bring to INT8, in the graph's order."""
        left = {*plan.fp32_nodes, *plan.unquantizable}
        return [node for node in weighted_layers(self.graph(plan.scheme), plan.operators) if node.name not in left]

    def write(self, out: Path, plan: PartPlan, only: Collection[str] | None = None) -> None:
        """Writes the INT8 graph.

        Args:
            out: the file to write.
            plan: dynamic or static.
            only: names of the layers to quantize, of all that the plan would.
        """
        excluded = [*plan.fp32_nodes, *plan.unquantizable]
        if only is not None:
            every = weighted_layers(self.graph(plan.scheme), plan.operators)
            excluded += [node.name for node in every if node.name not in only]
        with _quiet():
            if plan.scheme is Scheme.DYNAMIC:
                _write_dynamic(self._source, out, plan.operators, excluded)
                if plan.scores:
                    quantize_scores(out)
            else:
                _write_static(self._graph_file(plan.scheme), out, plan.operators, excluded, self._calibrated(plan))

    def _graph_file(self, scheme: Scheme) -> Path:
        if scheme is not Scheme.STATIC:
            return self._source
        if self._prepared is None:
            self._prepared = _prepare(self._source, self._folder / f"{self._source.stem}.prepared.onnx")
        return self._prepared

    def _calibrated(self, plan: PartPlan) -> Ranges:
        key = (plan.method, plan.operators)
        if key not in self._ranges:
            if not self._feeds:
                message = f"The static scheme of {self._source.name} needs recorded inputs; give clips to record."
                raise AutoMedSAMError(message)
            self._ranges[key] = find_ranges(self._graph_file(plan.scheme), self._feeds, plan.method, plan.operators)
        return self._ranges[key]


def find_ranges(prepared: Path, feeds: Sequence[OrtInputs], method: Method, operators: Sequence[str]) -> Ranges:
    """The range of every activation at the given operators, in the activation's own unit.

    One input at a time, so that the memory does not grow with their number, and their shapes may differ.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    methods = {
        Method.MINMAX: (CalibrationMethod.MinMax, {}),
        Method.PERCENTILE: (CalibrationMethod.Percentile, {"percentile": PERCENTILE}),
        # Of the 128 bins that it has itself; with 512 the starter's mask decoder lost 0.8 % Dice, with 2048 all.
        Method.ENTROPY: (CalibrationMethod.Entropy, {}),
    }
    chosen, options = methods[method]
    with tempfile.TemporaryDirectory(dir=prepared.parent) as folder:
        calibrator = create_calibrator(
            prepared,
            list(operators),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=chosen,
            extra_options=options,
        )
        for feed in feeds:
            calibrator.collect_data(_reader([feed]))
        found = calibrator.compute_data()
    ranges = {}
    for name in found:
        least, greatest = (np.asarray(edge, np.float32).reshape(()) for edge in found[name].range_value)
        ranges[name] = (least, greatest)
    return Ranges(ranges, feeds[0])


def weighted_layers(graph: GraphProto, operators: Collection[str]) -> list[NodeProto]:
    """The nodes of the given operators (all if empty) whose second input is a float weight."""
    from onnx import TensorProto

    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in weights:
            weights.add(node.output[0])
    wanted = operators or ("Conv", "ConvTranspose", *PRODUCTS)
    return [node for node in graph.node if node.op_type in wanted and node.input[1] in weights]


def _prepare(source: Path, out: Path) -> Path:
    """Shapes inferred and constants folded, unless folding makes the file much larger.

    It folds Hiera's 6 MB position embedding out of a small one.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(source), str(out), skip_symbolic_shape=True)
    if out.stat().st_size > 1.03 * source.stat().st_size:
        quant_pre_process(str(source), str(out), skip_symbolic_shape=True, skip_optimization=True)
    return out


def _write_dynamic(source: Path, out: Path, operators: Sequence[str], excluded: Sequence[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(out),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(operators),
        nodes_to_exclude=[*excluded, *(name + GEMM_SUFFIX for name in excluded)],
    )


def _write_static(prepared: Path, out: Path, operators: Sequence[str], excluded: Sequence[str], found: Ranges) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    # ONNX Runtime calibrates in any case: it is given one input, and then the ranges that were found before.
    overrides = {name: [{"rmin": least, "rmax": greatest}] for name, (least, greatest) in found.ranges.items()}
    quantize_static(
        str(prepared),
        str(out),
        _reader([found.example]),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(operators),
        nodes_to_exclude=list(excluded),
        extra_options={"TensorQuantOverrides": overrides},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantizers print their progress, and advise a preparation that a dynamic scheme does not need."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _reader(feeds: Iterable[OrtInputs]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Feeds(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[OrtInputs] = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            feed = next(self._left, None)
            return None if feed is None else dict(feed)

    return Feeds()
