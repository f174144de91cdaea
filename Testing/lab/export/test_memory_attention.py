"""Memory attention takes fewer products for the export, and answers as sam2's does."""

import re
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from automedsam.quantization.memory_attention import FusedMemoryAttention  # noqa: E402
from automedsam.sam2.architecture import Sam2Architecture  # noqa: E402
from automedsam.sam2.build import build_sam2  # noqa: E402
from automedsam.sam2.torch_networks import MemoryAttention  # noqa: E402

SMALL = Sam2Architecture(
    image_size=96,
    trunk="conv",
    embed_dim=8,
    stages=(1, 1, 1, 1),
    d_model=64,
    memory_dim=16,
    memory_layers=2,
    memory_feedforward=32,
)
ARCHITECTURES = {
    "as published": SMALL,
    "pointers without time": replace(SMALL, temporal_pointers=False),
    "memories as wide as the model": replace(SMALL, memory_dim=64),
}


def a_model(architecture: Sam2Architecture) -> torch.nn.Module:
    """Weights large enough that some keys stand out."""
    torch.manual_seed(0)
    model = build_sam2(architecture).eval()
    with torch.no_grad():
        for values in model.memory_attention.parameters():
            values.add_(0.2 * torch.randn_like(values))
    return model


@pytest.mark.parametrize("counts", [(1, 1), (3, 2), (7, 16)], ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_equal_for_any_number_of_memories_and_pointers(name: str, counts: tuple[int, int]) -> None:
    architecture = ARCHITECTURES[name]
    model, (memories, pointers) = a_model(architecture), counts
    cells, width = architecture.feature_size, architecture.d_model
    inputs = (
        torch.randn(1, width, cells, cells),
        torch.randn(memories, architecture.memory_dim, cells, cells),
        torch.arange(memories).flip(0),
        torch.randn(pointers, width),
        torch.linspace(0, 1, pointers),
    )
    with torch.inference_mode():
        wanted, found = (form(model).eval()(*inputs) for form in (MemoryAttention, FusedMemoryAttention))
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_model_itself_is_left_as_it_was() -> None:
    model = a_model(SMALL)
    before = {key: values.clone() for key, values in model.state_dict().items()}
    FusedMemoryAttention(model)
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())
    assert before.keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_its_weights_go_back_to_a_model_that_answers_the_same(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model, other = a_model(architecture), build_sam2(architecture).eval()
    attention = re.compile(r"att\w*\.(q|k|v|out)_proj")
    kept = {key: values for key, values in model.state_dict().items() if not attention.search(key)}
    other.load_state_dict(kept, strict=False)
    FusedMemoryAttention(model).give_back(other)
    cells, width = architecture.feature_size, architecture.d_model
    memories = torch.randn(2, architecture.memory_dim, cells, cells)
    inputs = (torch.randn(1, width, cells, cells), memories, torch.arange(2), torch.randn(3, width), torch.rand(3))
    with torch.inference_mode():
        wanted, found = (MemoryAttention(one).eval()(*inputs) for one in (model, other))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
