"""Weights come back from INT8 files: as near as eight bits are, and ready to be trained on."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
pytest.importorskip("onnx", reason="the lab is not installed")

from tiny_segmenter import SIZE, TINY, export, tiny_model  # noqa: E402

from automedsam.bundle import Bundle, load_bundle  # noqa: E402
from automedsam.contract.backends import Backend  # noqa: E402
from automedsam.errors import AutoMedSAMError  # noqa: E402
from automedsam.quantization.segmenter import quantize_segmenter  # noqa: E402
from automedsam.sam2.build import build_sam2  # noqa: E402
from automedsam.sam2.onnx_networks import NETWORK_NAMES  # noqa: E402
from automedsam.sam2.torch_networks import MemoryAttention  # noqa: E402
from automedsam_lab.quantization.dequantize import dequantize, fill, randomize_weights, recalibrate_batchnorm, trace  # noqa: E402
from automedsam_lab.quantization.dequantize_segmenter import restored_segmenter  # noqa: E402

# The export makes one layer of values and what follows the attention: only their product comes back.
MERGED = re.compile(r"(self_attn|cross_attn_image)\.(v|out)_proj")


def distinct_model() -> torch.nn.Module:
    """A tiny segmenter whose weights all differ, as trained ones do, and whose norms are not idle."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.3, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The exported and quantized model, and the template that tells where its weights lie."""
    made, template = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("template")
    calibration = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    quantize_segmenter(export(distinct_model(), made), made, calibration)
    return made, template


@pytest.fixture(scope="module")
def restored(folders: tuple[Path, Path]) -> torch.nn.Module:
    made, template = folders
    return restored_segmenter(TINY, {part: made / f"{part}.int8.onnx" for part in NETWORK_NAMES}, template)


def test_every_weight_is_as_near_as_eight_bits_are(restored: torch.nn.Module) -> None:
    original = dict(distinct_model().named_parameters())
    for name, weight in restored.named_parameters():
        if "trunk" in name or name == "no_mem_pos_enc" or MERGED.search(name):
            continue  # folded or merged with another, compared by what they compute below; and used by no graph
        wanted = original[name].detach()
        step = wanted.abs().max() / 127
        assert (weight.detach() - wanted).abs().max() <= step, name


def test_memory_attention_computes_what_it_did(restored: torch.nn.Module) -> None:
    cells = TINY.feature_size
    inputs = (
        torch.randn(1, TINY.d_model, cells, cells, generator=torch.Generator().manual_seed(1)),
        torch.randn(2, TINY.memory_dim, cells, cells, generator=torch.Generator().manual_seed(2)),
        torch.arange(2),
        torch.randn(2, TINY.d_model, generator=torch.Generator().manual_seed(3)),
        torch.linspace(0, 1, 2),
    )
    with torch.no_grad():
        wanted, found = (MemoryAttention(model).eval()(*inputs) for model in (distinct_model(), restored))
    assert (found - wanted).norm() / wanted.norm() < 0.03


def test_the_encoder_computes_what_it_did(restored: torch.nn.Module) -> None:
    image = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = distinct_model().image_encoder(image)["backbone_fpn"][-1]
        found = restored.image_encoder(image)["backbone_fpn"][-1]
    assert (found - wanted).norm() / wanted.norm() < 0.03


def test_settled_norms_compute_the_same_and_normalise_what_they_see(restored: torch.nn.Module) -> None:
    image = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = restored.image_encoder(image)["backbone_fpn"][-1]
        recalibrate_batchnorm(restored, lambda: restored.image_encoder(image))
        after = restored.image_encoder(image)["backbone_fpn"][-1]
        restored.train()
        training = restored.image_encoder(image)["backbone_fpn"][-1]
        restored.eval()
    assert torch.allclose(before, after, atol=1e-3 * float(before.abs().max()))
    # In training a norm divides by the batch's own spread: on the images that settled it, the same.
    assert (training - before).norm() / before.norm() < 0.02


def test_files_of_another_network_are_refused(folders: tuple[Path, Path], restored: torch.nn.Module) -> None:
    made, template = folders
    graph = template / "mask_decoder.onnx"
    places = trace(restored, [])
    assert not places
    model = build_sam2(TINY).eval()
    randomize_weights(model)
    graphs = export(model, template)
    weights = {path: dequantize(made / "memory_encoder.int8.onnx") for path in graphs.values()}
    with pytest.raises(AutoMedSAMError, match="does not hold"):
        fill(model, trace(model, [graph]), weights)


@pytest.mark.skipif(importlib.util.find_spec("super_gradients") is None, reason="super_gradients is not installed")
def test_the_shipped_glioma_model_comes_back(shared_data: Path, tmp_path: Path) -> None:
    from automedsam_lab.bundling.restore import restore_bundle
    from automedsam_lab.export.detector import export_model
    from automedsam_lab.models.onnx_predictor import onnx_predictor
    from automedsam_lab.models.yolo_nas import load_detector

    bundle = load_bundle("glioma")
    paths = restore_bundle(bundle, shared_data, tmp_path)
    assert torch.load(paths.segmenter, weights_only=True)["architecture"] == bundle.architecture.to_manifest()

    model, settings = load_detector(paths.detector)
    export_model(model, tuple(settings["input_size"]), tmp_path / "detector.onnx", "restored")
    images = np.random.default_rng(0).random((2, 3, *settings["input_size"])).astype(np.float32)
    boxes, _ = onnx_predictor(tmp_path / "detector.onnx")(images)
    shipped, _ = onnx_predictor(bundle.files(Backend.INT8)["detector"])(images)
    assert np.abs(boxes - shipped).mean() < 2.0, "boxes in pixels of a 192 px input"


def test_a_model_that_the_lab_does_not_train_is_refused(a_manifest: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    pytest.importorskip("cv2", reason="the lab's training packages are not installed")
    from automedsam_lab.bundling.restore import restore_bundle

    stranger = replace(a_manifest, manifest={**a_manifest.manifest, "name": "stranger"})
    with pytest.raises(AutoMedSAMError, match="no model that the lab trains"):
        restore_bundle(stranger, tmp_path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
