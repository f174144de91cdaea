"""A plan says how each part becomes INT8; what cannot is named, stays in FP32, and files are tried when loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
onnx = pytest.importorskip("onnx", reason="the lab is not installed")

from tiny_segmenter import SETTINGS, SIZE, export, some_clips, tiny_model  # noqa: E402

from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.quantization.quantizer import (  # noqa: E402
    PRODUCTS,
    Method,
    OrtInputs,
    PartPlan,
    Plan,
    Quantizer,
    Scheme,
    weighted_layers,
)
from automedsam.quantization.segmenter import default_plan, quantize_part, quantize_segmenter  # noqa: E402
from automedsam.runtime.golden_outputs import record_golden  # noqa: E402
from automedsam.runtime.session import open_session  # noqa: E402
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks  # noqa: E402
from automedsam_lab.quantization.activation_recorder import record_inputs  # noqa: E402
from automedsam_lab.quantization.fidelity import agreement, propagate_clips  # noqa: E402

SLICES = np.random.default_rng(0).normal(size=(4, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return export(tiny_model(), tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="module")
def recorded(fp32: dict[str, Path]) -> dict[str, list[OrtInputs]]:
    return record_inputs(fp32, some_clips(), SETTINGS)


def a_chain(folder: Path, *, foreign: bool = False) -> Path:
    """Three products, `x @ first @ second @ third`; before the second an operator that only ONNX Runtime knows."""
    from onnx import TensorProto, helper, numpy_helper

    rng, names = np.random.default_rng(2), ("first", "second", "third")
    tensors = ["x", "a", "b", "y"]
    nodes = [
        helper.make_node("MatMul", [tensors[i], name], [tensors[i + 1]], f"/{name}/MatMul")
        for i, name in enumerate(names)
    ]
    if foreign:
        nodes.insert(1, helper.make_node("Gelu", ["a"], ["smooth"], "/smooth/Gelu", domain="com.microsoft"))
        nodes[2].input[0] = "smooth"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(rng.normal(size=(8, 8)).astype(np.float32), name) for name in names],
    )
    path = folder / "chain.onnx"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_plan_comes_back_from_json_as_it_was() -> None:
    plan = Plan(
        {
            "image_encoder": PartPlan(Scheme.STATIC, Method.PERCENTILE, ("Conv",), ("/a/Conv",), ("/b/Conv",)),
            "memory_attention": PartPlan(Scheme.DYNAMIC, fp32_nodes=("/c/MatMul",)),
            "mask_decoder": PartPlan(Scheme.FP32),
        },
        {"left_in_fp32": [{"part": "image_encoder", "group": "a"}]},
    )
    assert Plan.from_manifest(json.loads(json.dumps(plan.to_manifest()))) == plan


@pytest.mark.parametrize("values", [{}, {"parts": {"image_encoder": {"scheme": "int3"}}}, {"parts": []}])
def test_what_is_no_plan_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(AutoMedSAMError, match="cannot be read"):
        Plan.from_manifest(values)


def test_without_a_plan_products_are_dynamic_and_the_trunk_is_static(fp32: dict[str, Path], tmp_path: Path) -> None:
    plan = default_plan(fp32)
    assert {name: part.scheme for name, part in plan.parts.items() if name != "image_encoder"} == dict.fromkeys(
        NETWORK_NAMES[1:], Scheme.DYNAMIC
    )
    written = quantize_segmenter(fp32, tmp_path, SLICES)
    graph = onnx.load(written["image_encoder"]).graph
    in_fp32 = [node.name for node in weighted_layers(graph, ("Conv",))]
    # The first convolution, the neck, and what reads the neck.
    assert "/trunk/stem/stem.0/" in in_fp32[0] and not any("/trunk/" in name for name in in_fp32[1:])
    assert sum(node.op_type == "Conv" for node in graph.node) > len(in_fp32)


def test_recorded_inputs_are_those_that_the_graphs_take(
    fp32: dict[str, Path], recorded: dict[str, list[OrtInputs]]
) -> None:
    for part, feeds in recorded.items():
        session = open_session(fp32[part])
        assert all(np.isfinite(values).all() for feed in feeds for values in session.run(None, dict(feed)))
    counts = {len(feed["memories"]) for feed in recorded["memory_attention"]}
    assert counts == {1, 2}, "the bank fills while a clip is followed"


def test_single_images_cannot_be_recorded(fp32: dict[str, Path]) -> None:
    with pytest.raises(AutoMedSAMError, match="two neighbouring slices"):
        record_inputs(fp32, some_clips(frames=1), SETTINGS)


@pytest.mark.parametrize("method", list(Method))
def test_each_calibration_keeps_the_memory_encoder_close(
    fp32: dict[str, Path], recorded: dict[str, list[OrtInputs]], tmp_path: Path, method: Method
) -> None:
    plan = PartPlan(Scheme.STATIC, method, (*PRODUCTS, "Conv"))
    feeds, out = recorded["memory_encoder"], tmp_path / "out.onnx"
    quantize_part(Quantizer(fp32["memory_encoder"], feeds, tmp_path), fp32["memory_encoder"], out, plan, feeds)
    wanted, found = (open_session(path).run(None, dict(feeds[-1]))[0] for path in (fp32["memory_encoder"], out))
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.98


def test_a_percentile_range_is_narrower_than_the_extremes(
    fp32: dict[str, Path], recorded: dict[str, list[OrtInputs]], tmp_path: Path
) -> None:
    from automedsam.quantization.quantizer import find_ranges

    def width(method: Method) -> float:
        found = find_ranges(fp32["memory_encoder"], recorded["memory_encoder"], method, ("Conv",))
        return sum(float(greatest - least) for least, greatest in found.ranges.values())

    assert 0 < width(Method.PERCENTILE) < width(Method.MINMAX)


def test_nodes_left_by_the_plan_stay_in_fp32_even_where_a_gemm_is_renamed(
    fp32: dict[str, Path], tmp_path: Path
) -> None:
    quantizer = Quantizer(fp32["mask_decoder"], (), tmp_path)
    heads = [node.name for node in quantizer.layers(PartPlan(Scheme.DYNAMIC)) if node.op_type == "Gemm"]
    assert heads
    out = tmp_path / "out.onnx"
    quantizer.write(out, PartPlan(Scheme.DYNAMIC, fp32_nodes=tuple(heads)))
    left = {node.name for node in weighted_layers(onnx.load(out).graph, PRODUCTS)}
    assert {f"{name}_MatMul" for name in heads} <= left


def test_a_static_scheme_without_inputs_is_refused(fp32: dict[str, Path], tmp_path: Path) -> None:
    plan = Plan({**default_plan(fp32).parts, "mask_decoder": PartPlan(Scheme.STATIC)})
    with pytest.raises(AutoMedSAMError, match="needs recorded inputs"):
        quantize_segmenter(fp32, tmp_path, SLICES, plan)


@pytest.mark.parametrize("scheme", [Scheme.DYNAMIC, Scheme.STATIC])
def test_a_layer_that_cannot_be_quantized_is_named_and_the_others_are_quantized(
    tmp_path: Path, scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Quantizer.write

    def fails_at_the_second(quantizer: Quantizer, out: Path, plan: PartPlan, only: list[str]) -> None:
        if "/second/MatMul" in only:
            raise ValueError(only)
        write(quantizer, out, plan, only)

    monkeypatch.setattr(Quantizer, "write", fails_at_the_second)
    source, out = a_chain(tmp_path), tmp_path / "out.onnx"
    feeds = [{"x": np.linspace(-1, 1, 8, dtype=np.float32)[None]}]
    left = quantize_part(Quantizer(source, feeds, tmp_path), source, out, PartPlan(scheme), feeds)
    assert left == ("/second/MatMul",)
    assert [node.name for node in weighted_layers(onnx.load(out).graph, PRODUCTS)] == ["/second/MatMul"]
    wanted, found = (open_session(path).run(None, feeds[0])[0] for path in (source, out))
    assert np.abs(wanted - found).max() < 0.05 * np.abs(wanted).max()


def test_layers_that_onnx_runtime_skips_are_reported(tmp_path: Path) -> None:
    # ONNX knows no types behind another domain's operator, and ONNX Runtime's quantizer passes over what it feeds.
    source, out = a_chain(tmp_path, foreign=True), tmp_path / "out.onnx"
    left = quantize_part(Quantizer(source, (), tmp_path), source, out, PartPlan(Scheme.DYNAMIC), ())
    assert left == ("/second/MatMul",)
    assert [node.name for node in weighted_layers(onnx.load(out).graph, PRODUCTS)] == ["/second/MatMul"]


def test_answers_that_are_not_numbers_agree_with_nothing() -> None:
    logits = follow_nothing()
    broken = logits.copy()
    broken[0, 0, 0] = np.nan
    assert agreement([logits], [logits]).dice == 1 and agreement([logits], [broken]).dice == 0


def follow_nothing() -> np.ndarray:
    return np.where(np.eye(8) > 0, 5, -5).astype(np.float32)[None]


def test_calibration_clips_are_boxed_around_the_largest_bright_thing() -> None:
    from automedsam_lab.quantization.calibration import Calibration, CalibrationClip, PreprocessingSpec
    from automedsam_lab.quantization.fidelity import clips_of_calibration

    frames = np.full((2, 20, 20), 10, np.uint8)
    frames[:, 4:9, 6:14] = 200
    frames[:, 15, 15] = 250
    black = np.zeros((2, 20, 20), np.uint8)
    calibration = Calibration(
        tuple(CalibrationClip(Path("a"), one) for one in (frames, black)), PreprocessingSpec(SIZE)
    )
    (clip,) = clips_of_calibration(calibration)
    assert clip.box.corners == (6, 4, 14, 9)


@pytest.mark.parametrize(("command", "message"), [("sensitivity", "--most"), ("ablation", "--calibration")])
def test_the_help_states_the_inputs_of_the_commands(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from automedsam_lab.cli.app import main

    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert message in capsys.readouterr().out


def test_golden_outputs_find_a_part_that_falls_silent(fp32: dict[str, Path], tmp_path: Path) -> None:
    golden = json.loads(json.dumps(record_golden(fp32)))
    OnnxNetworks(fp32, SIZE, golden=golden)
    model = onnx.load(fp32["memory_encoder"])
    for tensor in model.graph.initializer:
        if tensor.name == "encoder.out_proj.weight":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    silent = tmp_path / "silent.onnx"
    onnx.save(model, silent)
    with pytest.raises(AutoMedSAMError, match="memory encoder answers otherwise"):
        OnnxNetworks({**fp32, "memory_encoder": silent}, SIZE, golden=golden)


def test_int8_follows_what_fp32_follows(fp32: dict[str, Path], tmp_path: Path) -> None:
    clips = some_clips()
    files = quantize_segmenter(fp32, tmp_path, SLICES)
    answers = [propagate_clips(OnnxNetworks(paths, SIZE, threads=1), SETTINGS, clips) for paths in (fp32, files)]
    assert agreement(*answers).dice > 0.9
