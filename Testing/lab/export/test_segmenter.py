"""From a checkpoint to the four INT8 graphs that the engine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import Prompt, Sam2Segmenter

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
pytest.importorskip("onnx", reason="the lab is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random convolutional model, exported and quantized."""
    from tiny_segmenter import SIZE, tiny_model

    from automedsam.quantization.export import export_segmenter
    from automedsam.quantization.segmenter import quantize_segmenter

    folder = tmp_path_factory.mktemp("segmenter")
    assert all(difference <= 1e-3 for difference in export_segmenter(tiny_model(), folder).values())
    calibration = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    quantize_segmenter({part: folder / f"{part}.onnx" for part in NETWORK_NAMES}, folder, calibration)
    return folder


def logits(folder: Path, ending: str) -> np.ndarray:
    """What a segmenter answers to one box on noise."""
    from tiny_segmenter import SETTINGS, SIZE

    parts = OnnxNetworks({part: folder / f"{part}{ending}" for part in NETWORK_NAMES}, SIZE, threads=1)
    settings = replace(SETTINGS, max_empty_slices=99)
    slices = np.random.default_rng(1).integers(0, 255, (5, 40, 40)).astype(np.uint8)
    segmenter = Sam2Segmenter(parts, settings, slices)
    segmenter.prompt(2, 1, Prompt(box=Box(10, 10, 20, 20)))
    return np.stack([answer for _, answer in segmenter.propagate(1, 2, 0, 4)])


def test_int8_follows_fp32(exported: Path) -> None:
    fp32, int8 = logits(exported, ".onnx"), logits(exported, ".int8.onnx")
    assert np.std(fp32) > 0
    assert np.corrcoef(fp32.ravel(), int8.ravel())[0, 1] > 0.98


def test_int8_files_are_smaller(exported: Path) -> None:
    sizes = {
        ending: sum((exported / f"{p}{ending}").stat().st_size for p in NETWORK_NAMES)
        for ending in (".onnx", ".int8.onnx")
    }
    assert sizes[".int8.onnx"] < 0.7 * sizes[".onnx"]


def test_dense_convolutions_of_the_encoder_are_quantized(exported: Path) -> None:
    import onnx

    names = {node.op_type for node in onnx.load(exported / "image_encoder.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= names


def test_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    from automedsam.sam2.torch_networks import load_model

    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(AutoMedSAMError, match="is not a segmenter of the lab"):
        load_model(path)


def test_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    from automedsam.sam2.torch_networks import load_model

    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (ran,)  # type: ignore[return-value]

    path = tmp_path / "trap.pt"
    torch.save({"model": Trap(), "architecture": {}}, path)
    with pytest.raises(AutoMedSAMError, match="is not a segmenter of the lab"):
        load_model(path)
    assert not ran.exists()
