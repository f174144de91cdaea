"""INT8 for an attention's scores, products of two activations, which ONNX Runtime's quantizers leave alone.

ONNX Runtime has fast kernels for unsigned times signed bytes alone, and its dynamic quantizer makes unsigned ones of
every activation. Here keys become signed, by one scale each time; queries are what the dynamic quantizer makes of them.
The product of a softmax with values stays in FP32: with a scale for each row of shares, as SageAttention has it (Zhang
et al., 2024, arXiv:2410.02367), it cost the starter's masks more than all else, and took as long.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Fewer keys than these take longer to quantize than they save, as in a Hiera's windows.
MIN_KEYS = 512
# What is zero everywhere must not be divided by zero.
_MIN_SCALE = np.float32(1e-30)


def quantize_scores(path: Path) -> int:
    """Replaces the products of queries and keys in a file.

    Args:
        path: an ONNX file; it is written anew.

    Returns:
        How many were replaced.
    """
    import onnx

    model = onnx.load(path)
    products = score_products(model)
    rewriting = _Rewriting(model)
    for node in products:
        rewriting.replace(node)
    onnx.save(rewriting.done(), path)
    return len(products)


def score_products(model: ModelProto) -> list[NodeProto]:
    """The products of queries with at least 512 keys, or with a number of keys that is not fixed, in order."""
    from onnx import shape_inference

    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    graph = shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}

    def is_score(node: NodeProto) -> bool:
        followers = readers.get(node.output[0], [])
        # A mask or a scale may come in between.
        between = [one.output[0] for one in followers if one.op_type in ("Add", "Mul")]
        nearer = [after for name in between for after in readers.get(name, [])]
        return any(one.op_type == "Softmax" for one in (*followers, *nearer))

    def keys(node: NodeProto) -> int:
        axes = shapes[node.output[0]].shape.dim if node.output[0] in shapes else ()
        return (axes[-1].dim_value if axes else 0) or MIN_KEYS

    # A layer's weights are not keys, though a softmax may follow it.
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and weights.isdisjoint(node.input)]
    return [node for node in products if is_score(node) and keys(node) >= MIN_KEYS]


class _Rewriting:
    """New nodes before the ones that they replace; what two products share is quantized once."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        self._model = model
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._before: dict[str, list[NodeProto]] = {}
        self._added: set[str] = set()
        constants = {
            "steps": np.float32(127),
            "least": _MIN_SCALE,
            "zero": np.int8(0),
        }
        self._constants = {key: f"activation_product_{key}" for key in constants}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), self._constants[key]) for key, value in constants.items()
        )

    def replace(self, node: NodeProto) -> None:
        """One product."""
        left, right = node.input
        name = node.output[0]
        made = self._before.setdefault(name, [])
        signed, signed_scale = self._signed_bytes(right, made)
        unsigned, scale, zero = (f"{left}_unsigned", f"{left}_unsigned_scale", f"{left}_unsigned_zero")
        self._add(made, "DynamicQuantizeLinear", [left], [unsigned, scale, zero])
        self._add(made, "MatMulInteger", [unsigned, signed, zero], [f"{name}_sums"])
        self._add(made, "Cast", [f"{name}_sums"], [f"{name}_floats"], to=1)
        self._add(made, "Mul", [scale, signed_scale], [f"{name}_product_scale"])
        self._add(made, "Mul", [f"{name}_floats", f"{name}_product_scale"], [name])

    def done(self) -> ModelProto:
        """The model with all of it."""
        nodes = []
        for node in self._model.graph.node:
            nodes += self._before.get(node.output[0], []) if node.output else []
            if not node.output or node.output[0] not in self._before:
                nodes.append(node)
        del self._model.graph.node[:]
        self._model.graph.node.extend(nodes)
        return self._model

    def _signed_bytes(self, name: str, made: list[NodeProto]) -> tuple[str, str]:
        """Bytes and their scale; a transposition of bytes moves a quarter of what one of floats does."""
        maker, result = self._makers.get(name), f"{name}_signed"
        if maker is not None and maker.op_type == "Transpose":
            inner, scale = self._signed_bytes(maker.input[0], made)
            permutation = next(list(attribute.ints) for attribute in maker.attribute if attribute.name == "perm")
            self._add(made, "Transpose", [inner], [result], perm=permutation)
            return result, scale
        scale = f"{name}_signed_scale"
        self._add(made, "Abs", [name], [f"{name}_size"])
        self._add(made, "ReduceMax", [f"{name}_size"], [f"{name}_most"], keepdims=0)
        self._add(made, "Div", [f"{name}_most", self._constants["steps"]], [f"{name}_step"])
        self._add(made, "Max", [f"{name}_step", self._constants["least"]], [scale])
        self._add(made, "QuantizeLinear", [name, scale, self._constants["zero"]], [result])
        return result, scale

    def _add(
        self, made: list[NodeProto], operator: str, inputs: list[str], outputs: list[str], **settings: Any
    ) -> None:
        """A node, unless another product has needed it before."""
        from onnx import helper

        if outputs[0] not in self._added:
            self._added.add(outputs[0])
            made.append(helper.make_node(operator, inputs, outputs, name=f"{outputs[0]}_{operator}", **settings))
