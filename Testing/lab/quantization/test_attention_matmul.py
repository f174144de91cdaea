"""Scores of an attention in INT8: only where keys are many, close to FP32, and safe where keys are zero."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the lab is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from automedsam.quantization.attention_matmul import MIN_KEYS, quantize_scores  # noqa: E402
from automedsam.runtime.session import open_session  # noqa: E402

WIDTH, QUERIES = 64, 48


def an_attention(path: Path, keys: int | str, *, heads: int = 1, masked: bool = False, layer: bool = False) -> Path:
    """`heads` attentions that share queries and keys: `softmax(queries @ keys.T) @ keys`, and optionally a mask.

    With `layer`, a layer with weights and a softmax stand before all.
    """
    nodes, weights = [], []
    asked = "queries"
    if layer:
        nodes += [
            helper.make_node("MatMul", ["queries", "weight"], ["gated"]),
            helper.make_node("Softmax", ["gated"], ["soft"]),
        ]
        weights.append(numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "weight"))
        asked = "soft"
    nodes.append(helper.make_node("Transpose", ["keys"], ["turned"], perm=[1, 0]))
    for head in range(heads):
        scores = f"scores_{head}"
        nodes.append(helper.make_node("MatMul", [asked, "turned"], [scores]))
        if masked:
            nodes.append(helper.make_node("Add", [scores, "mask"], [f"masked_{head}"]))
            scores = f"masked_{head}"
        nodes += [
            helper.make_node("Softmax", [scores], [f"shares_{head}"]),
            helper.make_node("MatMul", [f"shares_{head}", "keys"], [f"answer_{head}"]),
        ]
    inputs = [("queries", [QUERIES, WIDTH]), ("keys", [keys, WIDTH]), *([("mask", [keys])] if masked else [])]
    outputs = [(f"{name}_{head}", None) for head in range(heads) for name in ("scores", "answer")]
    made = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in put]
        for put in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "attention", *made, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def quantized(source: Path, tmp_path: Path) -> tuple[Path, int]:
    out = tmp_path / "quantized.onnx"
    out.write_bytes(source.read_bytes())
    return out, quantize_scores(out)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def a_feed(keys: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "queries": rng.normal(size=(QUERIES, WIDTH)).astype(np.float32),
        "keys": rng.normal(size=(keys, WIDTH)).astype(np.float32) / np.float32(4),
    }


@pytest.mark.parametrize("keys", [MIN_KEYS, "any"])
def test_scores_and_answers_are_close_to_fp32(keys: int | str, tmp_path: Path) -> None:
    source = an_attention(tmp_path / "fp32.onnx", keys)
    out, count = quantized(source, tmp_path)
    assert count == 1 and operators(out)["MatMulInteger"] == 1
    feed = a_feed(MIN_KEYS)
    wanted, found = (open_session(path, 1).run(None, feed) for path in (source, out))
    # 8 bits on both sides: about a hundredth of the scores' norm.
    for before, after, bound in zip(wanted, found, (0.02, 0.02), strict=True):
        assert 0 < np.linalg.norm(after - before) < bound * np.linalg.norm(before)


def test_keys_that_are_all_zero_get_equal_shares(tmp_path: Path) -> None:
    out, _ = quantized(an_attention(tmp_path / "fp32.onnx", "any"), tmp_path)
    feed = a_feed(MIN_KEYS)
    feed["keys"][:] = 0
    scores, answer = open_session(out, 1).run(None, feed)
    assert not scores.any() and not answer.any()
    feed = {"queries": np.zeros_like(feed["queries"]), "keys": a_feed(MIN_KEYS)["keys"]}
    scores, answer = open_session(out, 1).run(None, feed)
    assert not scores.any()
    np.testing.assert_allclose(answer, np.broadcast_to(feed["keys"].mean(0), answer.shape), atol=1e-5)


def test_few_keys_stay_in_fp32(tmp_path: Path) -> None:
    source = an_attention(tmp_path / "fp32.onnx", MIN_KEYS - 1)
    out, count = quantized(source, tmp_path)
    assert count == 0 and operators(out) == operators(source)


def test_keys_that_two_products_share_are_quantized_once(tmp_path: Path) -> None:
    out, count = quantized(an_attention(tmp_path / "fp32.onnx", "any", heads=2), tmp_path)
    found = operators(out)
    assert count == 2 and found["MatMulInteger"] == 2
    assert found["QuantizeLinear"] == found["DynamicQuantizeLinear"] == 1


def test_a_mask_may_come_before_the_softmax(tmp_path: Path) -> None:
    source = an_attention(tmp_path / "fp32.onnx", MIN_KEYS, masked=True)
    out, count = quantized(source, tmp_path)
    assert count == 1
    feed = {**a_feed(MIN_KEYS), "mask": np.where(np.arange(MIN_KEYS) < 9, 0, -1e9).astype(np.float32)}
    wanted, found = (open_session(path, 1).run(None, feed)[1] for path in (source, out))
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)


def test_a_layer_before_a_softmax_is_no_score(tmp_path: Path) -> None:
    out, count = quantized(an_attention(tmp_path / "fp32.onnx", MIN_KEYS, layer=True), tmp_path)
    assert count == 1
    (left,) = [node for node in onnx.load(out).graph.node if node.op_type == "MatMul" and "weight" in node.input]
    assert left.output[0] == "gated"
