"""Our propagation against the stock predictor of the `sam2` package, and ONNX against torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.memory_bank import Memory, MemoryBank
from automedsam.sam2.networks import Sam2Networks
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import Prompt, Sam2Segmenter, SegmenterSettings

torch = pytest.importorskip("torch", reason="the FP32 backend is not installed")
pytest.importorskip("sam2", reason="the FP32 backend is not installed")

SIZE, SLICES, SEED = 64, 9, 4
BOX = Box(14, 10, 26, 30)

TINY = Sam2Architecture(
    image_size=SIZE,
    embed_dim=16,
    stages=(1, 2, 2, 1),
    global_att_blocks=(4,),
    window_spec=(8, 4, 4, 2),
    d_model=64,
    memory_dim=16,
    memory_layers=2,
    memory_feedforward=64,
    fuser_layer_scale=0.1,
    num_maskmem=4,
)


def a_model(architecture: Sam2Architecture) -> Any:
    """Random weights, with presence shifted so that the object stays on the slices."""
    torch.manual_seed(3)
    model = build_sam2(architecture).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(1.0)
    return model


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (SLICES, 8, 8))
    return resize_linear(coarse, (48, 56)).astype(np.uint8)


def settings_of(architecture: Sam2Architecture) -> SegmenterSettings:
    return replace(SegmenterSettings.of(architecture), max_empty_slices=99)


def propagate(
    parts: Sam2Networks, architecture: Sam2Architecture, slices: np.ndarray, prompt: Prompt, **settings: int
) -> np.ndarray:
    """Logits `(N, H, W)` of every slice."""
    segmenter = Sam2Segmenter(parts, replace(settings_of(architecture), **settings), slices)
    segmenter.prompt(SEED, 1, prompt)
    found = dict(segmenter.propagate(1, SEED, 0, SLICES - 1))
    return np.stack([found[index] for index in range(SLICES)])


def stock_logits(model: Any, slices: np.ndarray, prompt: Prompt) -> np.ndarray:
    """What `SAM2VideoPredictor` of the `sam2` package says, one direction after the other."""
    import sam2.sam2_video_predictor as stock

    size = model.image_size
    gray = resize_linear(slices, (size, size)) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    frames = torch.from_numpy(((gray[:, None] - mean[:, None, None]) / std[:, None, None]).astype(np.float32))
    height, width = slices.shape[1:3]
    model.__class__ = stock.SAM2VideoPredictor
    model.fill_hole_area, model.non_overlap_masks = 0, False
    model.clear_non_cond_mem_around_input = model.add_all_frames_to_correct_as_cond = False
    logits = np.zeros((len(slices), height, width), np.float32)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(stock, "load_video_frames", lambda **_: (frames, height, width))
        patch.setattr(stock, "tqdm", lambda indices, **_: indices)
        for reverse in (False, True):
            state = model.init_state(video_path=None)
            if prompt.box is not None and prompt.points is not None:
                box = np.array(prompt.box.corners, np.float32)
                points, labels = prompt.points[:, :2], prompt.points[:, 2].astype(np.int32)
                model.add_new_points_or_box(state, SEED, 1, box=box, points=points, labels=labels)
            elif prompt.box is not None:
                model.add_new_points_or_box(state, SEED, 1, box=np.array(prompt.box.corners, np.float32))
            elif prompt.points is not None:
                points, labels = prompt.points[:, :2], prompt.points[:, 2].astype(np.int32)
                model.add_new_points_or_box(state, SEED, 1, points=points, labels=labels)
            else:
                model.add_new_mask(state, SEED, 1, prompt.mask)
            for index, _, masks in model.propagate_in_video(state, start_frame_idx=SEED, reverse=reverse):
                logits[index] = masks[0, 0].numpy()
    return logits


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(box=BOX),
        Prompt(points=np.array([[25, 20, 1], [2, 2, 0]], np.float32)),
        Prompt(points=np.array([[25, 20, 1]], np.float32)),
        Prompt(box=BOX, points=np.array([[25, 20, 1], [2, 2, 0]], np.float32)),
        Prompt(mask=np.pad(np.ones((20, 18), bool), ((12, 16), (15, 23)))),
    ],
    ids=["box", "two points", "one point", "box and points", "mask"],
)
@pytest.mark.parametrize("multimask", [True, False])
def test_propagation_equals_the_stock_predictor(slices: np.ndarray, prompt: Prompt, multimask: bool) -> None:
    from automedsam.sam2.torch_networks import TorchNetworks

    architecture = replace(TINY, multimask=multimask)
    model = a_model(architecture)
    ours = propagate(TorchNetworks(model), architecture, slices, prompt)
    stock = stock_logits(model, slices, prompt)
    if prompt.mask is not None:
        # The stock predictor shows a given mask as its network's grid has it; ours is the mask itself.
        np.testing.assert_array_equal(ours[SEED] > 0, prompt.mask)
        ours[SEED] = stock[SEED]
    assert np.ptp(stock) > 0.1, "a constant answer would prove nothing"
    np.testing.assert_allclose(ours, stock, atol=1e-3)


@pytest.mark.parametrize("stride", [2, 3])
def test_memory_stride_equals_the_stock_predictors(slices: np.ndarray, stride: int) -> None:
    from automedsam.sam2.torch_networks import TorchNetworks

    model, prompt = a_model(TINY), Prompt(box=BOX)
    ours = propagate(TorchNetworks(model), TINY, slices, prompt, memory_stride=stride)
    usual = propagate(TorchNetworks(model), TINY, slices, prompt)
    model.memory_temporal_stride_for_eval = stride
    stock = stock_logits(model, slices, prompt)
    apart = float(np.abs(stock - usual).max())
    assert apart > 0, "the stride must matter"
    assert float(np.abs(ours - stock).max()) < 0.01 * apart


def test_fewer_memories_are_the_nearest_and_the_prompted_one() -> None:
    memory = Memory(np.zeros((1, 2, 3, 3), np.float32), np.zeros((1, 4), np.float32))
    for memories, ages in ((1, [6]), (3, [6, 1, 0]), (7, [6, 5, 4, 3, 2, 1, 0])):
        bank = MemoryBank(num_maskmem=7, max_pointers=16, slices=20, memories=memories)
        bank.conditioning[4] = memory
        bank.tracked.update(dict.fromkeys(range(5, 12), memory))
        recall = bank.recall(12, 1)
        assert recall.ages.tolist() == ages
        assert len(recall.pointers) == 8


@pytest.mark.parametrize(("memories", "stride"), [(0, 1), (5, 1), (None, 0)])
def test_memories_that_the_model_does_not_know_are_refused(memories: int | None, stride: int) -> None:
    with pytest.raises(AutoMedSAMError, match=r"use 1 to 4|stride of 1 or more"):
        replace(settings_of(TINY), memories=memories, memory_stride=stride)


@pytest.mark.parametrize("temporal", [True, False])
def test_onnx_logits_equal_torch(slices: np.ndarray, tmp_path: Path, temporal: bool) -> None:
    pytest.importorskip("onnx", reason="the lab is not installed")
    from automedsam.quantization.export import export_segmenter
    from automedsam.sam2.torch_networks import TorchNetworks

    architecture = replace(TINY, temporal_pointers=temporal, multimask=temporal)
    model = a_model(architecture)
    export_segmenter(model, tmp_path)
    onnx_parts = OnnxNetworks({name: tmp_path / f"{name}.onnx" for name in NETWORK_NAMES}, SIZE, threads=1)
    prompt = Prompt(box=BOX)
    on_torch = propagate(TorchNetworks(model), architecture, slices, prompt)
    on_onnx = propagate(onnx_parts, architecture, slices, prompt)
    np.testing.assert_allclose(on_onnx, on_torch, atol=1e-3)
