"""What the segmenter of a bundle costs on one image: the image encoder, the prompt encoder and the mask decoder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from automedsam.bundle import Bundle
from automedsam.contract.backends import Backend
from automedsam.sam2 import torch_networks
from automedsam.sam2.networks import BOX_CORNER_LABELS, DecoderPrompt, ImageEmbedding, MaskPrediction, Sam2Networks
from automedsam.sam2.onnx_networks import OnnxNetworks
from automedsam_lab.distillation.cost import REPEATS, Cost, fastest, macs


def engine_cost(bundle: Bundle, repeats: int = REPEATS) -> Cost:
    """Measures the segmenter of a bundle: INT8 in ONNX Runtime and FP32 in PyTorch, as users run it.

    Args:
        bundle: with both precisions.
        repeats: runs of each measurement.

    Returns:
        The cost; its `megabytes` are those of encoder and decoder in INT8, and of all four networks in FP32, which one
        file of 16-bit numbers contains.

    Raises:
        AutoMedSAMError: a precision is not there.
    """
    int8, fp32 = bundle.files(Backend.INT8, detector=False), bundle.files(Backend.FP32_TORCH, detector=False)
    side = bundle.architecture.image_size
    model, _ = torch_networks.load_model(fp32["checkpoint"], bundle.architecture)
    image = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    corners = np.array([[[0.2 * side, 0.2 * side], [0.7 * side, 0.7 * side]]], np.float32)
    mask = np.zeros((1, 1, side, side), np.float32)
    low, high = int(0.2 * side), int(0.7 * side)
    mask[..., low:high, low:high] = 1
    prompt = DecoderPrompt(corners, np.array([BOX_CORNER_LABELS], np.int32), mask)

    def decode(networks: Sam2Networks, embedding: ImageEmbedding) -> MaskPrediction:
        return networks.decode(embedding.features, embedding, prompt, memory_conditioned=False)

    def whole(networks: Sam2Networks) -> MaskPrediction:
        return decode(networks, networks.encode_image(image))

    torch_model = torch_networks.TorchNetworks(model)
    embedding = torch_model.encode_image(image)
    single, prompts, rate = {}, {}, {}
    for precision in ("fp32", "int8"):
        for threads in (1, 2):
            with _threads(threads):
                networks = OnnxNetworks(int8, side, threads) if precision == "int8" else torch_model
                if threads == 1:
                    single[precision] = fastest(partial(networks.encode_image, image), repeats, time.thread_time)[0]
                    continue
                prompts[precision] = fastest(partial(decode, networks, embedding), repeats)[0]
                rate[precision] = 1000 / fastest(partial(whole, networks), repeats)[1]
    parts = (model.image_encoder, model.sam_prompt_encoder, model.sam_mask_decoder)
    return Cost(
        f"{bundle.name} {bundle.version}",
        sum(one.numel() for part in parts for one in part.parameters()),
        macs(lambda: torch_model.encode_image(image)),
        macs(lambda: decode(torch_model, embedding)),
        single,
        prompts,
        rate,
        {"fp32": _megabytes(fp32["checkpoint"]), "int8": _megabytes(int8["image_encoder"], int8["mask_decoder"])},
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """PyTorch's threads, which are a setting of the process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _megabytes(*paths: Path) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6
