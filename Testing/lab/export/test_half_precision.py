"""Weights of 16 bits take half the bytes and compute what those of 32 do, to the rounding."""

# ruff: noqa: E402

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")
onnx = pytest.importorskip("onnx", reason="the lab's packages are not installed")

from tiny_checkpoint import TINY as PUBLISHED

from automedsam.errors import AutoMedSAMError
from automedsam.runtime.session import open_session
from automedsam.sam2.torch_networks import ImageEncoder, load_model
from automedsam_lab.export.half_precision import write_half_precision_graph, write_half_precision_segmenter
from automedsam_lab.models.starter_segmenter import build_trainable

TINY = PUBLISHED.architecture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def a_segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.pt"
    torch.save({"model": build_trainable(TINY).state_dict(), "architecture": TINY.to_manifest()}, path)
    return path


def test_segmenter_of_16_bits_computes_the_same(a_segmenter: Path, tmp_path: Path) -> None:
    write_half_precision_segmenter(a_segmenter, tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * a_segmenter.stat().st_size
    whole, architecture = load_model(a_segmenter)
    half, read = load_model(tmp_path / "half.safetensors")
    assert read == architecture and next(half.parameters()).dtype is torch.float32
    image = torch.rand(1, 3, TINY.image_size, TINY.image_size)
    with torch.no_grad():
        for one, reference in zip(ImageEncoder(half)(image), ImageEncoder(whole)(image), strict=True):
            assert (one - reference).abs().max() < 0.01 * reference.abs().max()


def test_weights_too_large_for_16_bits_are_refused(a_segmenter: Path, tmp_path: Path) -> None:
    stored = torch.load(a_segmenter, weights_only=True)
    stored["model"]["no_mem_embed"][0] = 1e6
    torch.save(stored, tmp_path / "large.pt")
    with pytest.raises(AutoMedSAMError, match=r"no_mem_embed .* does not fit 16-bit floats"):
        write_half_precision_segmenter(tmp_path / "large.pt", tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()


def test_damaged_weights_are_one_sentence(a_segmenter: Path, tmp_path: Path) -> None:
    write_half_precision_segmenter(a_segmenter, tmp_path / "half.safetensors")
    whole = (tmp_path / "half.safetensors").read_bytes()
    for broken in (whole[:5000], b"", b"no weights at all" * 99):
        (tmp_path / "broken.safetensors").write_bytes(broken)
        with pytest.raises(AutoMedSAMError, match="holds no segmenter's weights"):
            load_model(tmp_path / "broken.safetensors")


def test_graph_of_16_bits_computes_the_same(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3)).eval()
    image = torch.rand(1, 3, 20, 20)
    torch.onnx.export(network, (image,), str(tmp_path / "whole.onnx"), input_names=["image"], dynamo=False)
    write_half_precision_graph(tmp_path / "whole.onnx", tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx").stat().st_size < 0.55 * (tmp_path / "whole.onnx").stat().st_size
    (whole,), (half,) = (
        open_session(tmp_path / name).run(None, {"image": image.numpy()}) for name in ("whole.onnx", "half.onnx")
    )
    assert half.dtype == np.float32 and 0 < np.abs(half - whole).max() < 2e-3 * np.abs(whole).max()
