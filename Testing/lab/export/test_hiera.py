"""The exported Hiera computes what sam2's does, also where windows are cut by the edge of the grid."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

from automedsam.quantization.export import export_segmenter  # noqa: E402
from automedsam.quantization.hiera import for_export  # noqa: E402
from automedsam.sam2.architecture import Sam2Architecture  # noqa: E402
from automedsam.sam2.build import build_sam2  # noqa: E402

# At 128 px the grids have 32, 16, 8 and 4 cells a side: windows of 6 and 3 cells fit none of theirs.
CUT = Sam2Architecture(
    image_size=128,
    embed_dim=16,
    stages=(1, 2, 3, 2),
    global_att_blocks=(4,),
    window_spec=(8, 4, 6, 3),
    d_model=64,
    memory_dim=16,
    memory_layers=1,
    memory_feedforward=32,
)


# The published networks' blocks and windows with an eighth of their width, on grids that are no multiple of 14 cells.
NARROW = Sam2Architecture(
    image_size=256, embed_dim=16, d_model=64, memory_dim=16, memory_layers=1, memory_feedforward=32
)
PUBLISHED = {
    "tiny": NARROW,
    "small": replace(NARROW, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13)),
    "base-plus": replace(
        NARROW,
        image_size=192,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_att_blocks=(12, 16, 20),
        window_pos_embed_bkg_spatial_size=(14, 14),
    ),
}


@pytest.mark.parametrize("top_down", [(2, 3), (0, 1, 2, 3)], ids=["published", "all levels"])
def test_embeddings_equal_sam2s(top_down: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = build_sam2(replace(CUT, fpn_top_down_levels=top_down)).eval()
    with torch.no_grad():
        # Biases are what padded cells answer with; new layers have small ones.
        for block in model.image_encoder.trunk.blocks:
            block.attn.qkv.bias.normal_(std=2.0)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        wanted, found = (m.forward_image(image)["backbone_fpn"] for m in (model, for_export(model)))
    for before, after in zip(wanted, found, strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_graphs_of_the_published_networks_answer_as_torch_does(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the lab is not installed")
    torch.manual_seed(0)
    model = build_sam2(PUBLISHED[name]).eval()
    with torch.no_grad():
        for block in model.image_encoder.trunk.blocks:
            block.attn.qkv.bias.normal_()
    differences = export_segmenter(model, tmp_path)
    assert len(differences) == 4 and max(differences.values()) < 1e-4


def test_model_itself_is_left_as_it_was() -> None:
    model = build_sam2(CUT).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for_export(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_trunk_of_convolutions_is_exported_as_it_is() -> None:
    model = build_sam2(Sam2Architecture(image_size=64, trunk="conv", embed_dim=8, d_model=32, memory_dim=16)).eval()
    assert for_export(model) is model
