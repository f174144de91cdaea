"""From a checkpoint to the four INT8 graphs that the engine runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automedsam.boxes import Box
from automedsam.errors import AutoMedSAMError
from automedsam.segmenter.architecture import Sam2Architecture, build_sam2
from automedsam.segmenter.onnx_parts import PART_NAMES, OnnxParts
from automedsam.segmenter.propagation import Prompt, Sam2Segmenter, SegmenterSettings

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
pytest.importorskip("onnx", reason="the lab is not installed")

SIZE = 64
CONV = Sam2Architecture(
    image_size=SIZE,
    trunk="conv",
    embed_dim=8,
    stages=(1, 1, 1, 1),
    fpn_top_down_levels=(0, 1, 2, 3),
    d_model=64,
    memory_dim=16,
    memory_layers=1,
    memory_feedforward=64,
    num_maskmem=3,
    max_obj_ptrs_in_encoder=3,
    temporal_pointers=False,
    multimask=False,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random convolutional model, exported and quantized."""
    from automedsam_lab.export_segmenter import export_segmenter
    from automedsam_lab.quantize_segmenter import quantize_segmenter

    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(0)
    model = build_sam2(CONV).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
    assert all(difference <= 1e-3 for difference in export_segmenter(model, folder).values())
    calibration = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    quantize_segmenter({part: folder / f"{part}.onnx" for part in PART_NAMES}, folder, calibration)
    return folder


def logits(folder: Path, ending: str) -> np.ndarray:
    """What a segmenter answers to one box on noise."""
    parts = OnnxParts({part: folder / f"{part}{ending}" for part in PART_NAMES}, SIZE, threads=1)
    settings = SegmenterSettings(SIZE, 3, 3, multimask=False, box_as_mask=True, empty_slices=99)
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
        ending: sum((exported / f"{p}{ending}").stat().st_size for p in PART_NAMES)
        for ending in (".onnx", ".int8.onnx")
    }
    assert sizes[".int8.onnx"] < 0.7 * sizes[".onnx"]


def test_dense_convolutions_of_the_encoder_are_quantized(exported: Path) -> None:
    import onnx

    names = {node.op_type for node in onnx.load(exported / "image_encoder.int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= names


def test_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    from automedsam.segmenter.torch_parts import load_model

    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(AutoMedSAMError, match="is not a segmenter of the lab"):
        load_model(path)


def test_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    from automedsam.segmenter.torch_parts import load_model

    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (ran,)  # type: ignore[return-value]

    path = tmp_path / "trap.pt"
    torch.save({"model": Trap(), "architecture": {}}, path)
    with pytest.raises(AutoMedSAMError, match="is not a segmenter of the lab"):
        load_model(path)
    assert not ran.exists()
