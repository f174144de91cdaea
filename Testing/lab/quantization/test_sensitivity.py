"""The layers that INT8 hurts most are found by measurement, and the plan leaves them in FP32."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_lines import log_lines

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
pytest.importorskip("onnx", reason="the lab is not installed")

from tiny_segmenter import SETTINGS, export, some_clips, tiny_model  # noqa: E402

from automedsam.quantization.quantizer import OrtInputs, PartPlan, Plan, Quantizer, Scheme  # noqa: E402
from automedsam.quantization.segmenter import quantize_part  # noqa: E402
from automedsam_lab.quantization.activation_recorder import record_inputs  # noqa: E402
from automedsam_lab.quantization.sensitivity import (  # noqa: E402
    FidelityEvaluator,
    GroupLoss,
    choose_plan,
    keep_worst_in_fp32,
    scan_sensitivity,
)

PLANTED = "model.sam_mask_decoder.output_hypernetworks_mlps.0.layers"
DECODER_ONLY = Plan({"mask_decoder": PartPlan(Scheme.DYNAMIC)})


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A segmenter one of whose layers INT8 wipes out: a huge weight, on a channel that is always 0, sets its step."""
    model = tiny_model()
    last = model.sam_mask_decoder.output_hypernetworks_mlps[0].layers
    with torch.no_grad():
        last[1].weight[0] = 0
        last[1].bias[0] = -1
        last[2].weight[:, 0] = 1000
    return export(model, tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def recorded(fp32: dict[str, Path]) -> dict[str, list[OrtInputs]]:
    return record_inputs(fp32, some_clips(), SETTINGS)


@pytest.fixture(scope="module")
def comparison(fp32: dict[str, Path]) -> FidelityEvaluator:
    return FidelityEvaluator(fp32, some_clips(), SETTINGS, threads=1)


@pytest.fixture(scope="module")
def losses(
    fp32: dict[str, Path], recorded: dict[str, list[OrtInputs]], comparison: FidelityEvaluator
) -> list[GroupLoss]:
    return scan_sensitivity(fp32, recorded, comparison, DECODER_ONLY)


def test_the_planted_layer_is_the_worst(losses: list[GroupLoss]) -> None:
    assert losses[0].group == PLANTED and losses[0].severity > losses[1].severity


def test_every_layer_is_in_one_group(fp32: dict[str, Path], losses: list[GroupLoss], tmp_path: Path) -> None:
    layers = Quantizer(fp32["mask_decoder"], (), tmp_path).layers(DECODER_ONLY.parts["mask_decoder"])
    named = [name for loss in losses for name in loss.nodes]
    assert sorted(named) == sorted(node.name for node in layers)


def test_leaving_the_worst_in_fp32_brings_the_masks_back(
    fp32: dict[str, Path],
    recorded: dict[str, list[OrtInputs]],
    comparison: FidelityEvaluator,
    losses: list[GroupLoss],
    tmp_path: Path,
) -> None:
    feeds, found = recorded["mask_decoder"], []
    for plan in (DECODER_ONLY, keep_worst_in_fp32(DECODER_ONLY, losses, most=1)):
        out = tmp_path / f"{len(found)}.onnx"
        quantizer = Quantizer(fp32["mask_decoder"], feeds, tmp_path)
        quantize_part(quantizer, fp32["mask_decoder"], out, plan.parts["mask_decoder"], feeds)
        found.append(comparison.of({"mask_decoder": out}))
    assert found[1].dice > found[0].dice and found[1].logits < 0.2 * found[0].logits


def test_the_record_names_what_was_left_and_why(losses: list[GroupLoss]) -> None:
    plan = keep_worst_in_fp32(DECODER_ONLY, losses, most=1)
    manifest = plan.to_manifest()
    assert manifest["measured"]["left_in_fp32"] == [{"part": "mask_decoder", "group": PLANTED}]
    assert set(losses[0].nodes) <= set(manifest["parts"]["mask_decoder"]["fp32_nodes"])
    assert len(manifest["measured"]["sensitivity"]) == len(losses)


def test_harmless_layers_are_not_left_in_fp32() -> None:
    harmless = GroupLoss("mask_decoder", "a", ("/a/MatMul",), dice_loss=1e-5, logits=0.1)
    assert keep_worst_in_fp32(DECODER_ONLY, [harmless]).parts == DECODER_ONLY.parts


def test_the_schemes_of_every_part_are_measured(
    fp32: dict[str, Path], recorded: dict[str, list[OrtInputs]], comparison: FidelityEvaluator
) -> None:
    with log_lines() as lines:
        plan = choose_plan(fp32, recorded, comparison, scan=False)
    tried = plan.measured["schemes"]
    assert [one["calibration"] for one in tried["image_encoder"]] == ["minmax", "percentile", "entropy"]
    assert [one["scheme"] for one in tried["memory_encoder"]] == ["dynamic", "static", "static", "static"]
    assert all(one["milliseconds"] > 0 and 0 <= one["dice"] <= 1 for part in tried.values() for one in part)
    assert len(lines) == sum(len(part) for part in tried.values())
    for name, part in plan.parts.items():
        best = max(one["dice"] for one in tried[name])
        chosen = [
            one
            for one in tried[name]
            if one["scheme"] == part.scheme.value and one.get("calibration", part.method.value) == part.method.value
        ]
        assert chosen[0]["dice"] >= best - 0.001
