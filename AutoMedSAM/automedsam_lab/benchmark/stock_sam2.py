"""The video predictor of the `sam2` package as it is, on slices instead of files: what a speed-up is measured against.

Only `init_state` is helped along: it reads a video or a folder of JPEG files, and is handed prepared slices instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam.sam2.torch_networks import load_model
from automedsam_lab.benchmark.stages import Stopwatch

OBJECT = 1


class StockPredictor:
    """Meta's `SAM2VideoPredictor` in FP32 on the CPU, with the weights of a bundle.

    It is used as MedSAM2's inference script does: a box on the seed, forwards, reset, the same box, backwards. Its
    post-processing is off: the package from PyPI has no compiled hole filling, and warns for each mask.

    Args:
        checkpoint: `segmenter.pt` of a bundle.
        watch: counts its parts by the stages of `Sam2Networks`.
    """

    def __init__(self, checkpoint: Path, watch: Stopwatch) -> None:
        from sam2.sam2_video_predictor import SAM2VideoPredictor

        network, _ = load_model(checkpoint)
        model: Any = network
        # The predictor only adds methods, and these four settings, to the network.
        model.__class__ = SAM2VideoPredictor
        model.fill_hole_area, model.non_overlap_masks = 0, False
        model.clear_non_cond_mem_around_input = model.add_all_frames_to_correct_as_cond = False
        for stage, owner, method in (
            ("encode", model, "forward_image"),
            ("attend", model.memory_attention, "forward"),
            ("decode", model, "_forward_sam_heads"),
            ("remember", model, "_encode_new_memory"),
        ):
            setattr(owner, method, watch.timed(stage, getattr(owner, method)))
        self._model = model

    def follow(self, slices: NDArray[np.uint8], seed: int, box: Box) -> NDArray[np.float32]:
        """The logits `(N, H, W)` of the object in a box on the seed, on every slice `(N, H, W)`."""
        model, size = self._model, self._model.image_size
        gray = resize_linear(slices, (size, size)) / np.float32(255)
        frames = torch.from_numpy((gray[:, None] - IMAGENET_MEAN) / IMAGENET_STD)
        logits = np.empty(slices.shape, np.float32)
        with _frames_instead_of_files(frames, *slices.shape[1:]):
            state = model.init_state(video_path=None)
            for reverse in (False, True):
                model.reset_state(state)
                model.add_new_points_or_box(state, seed, OBJECT, box=np.array(box.corners, np.float32))
                for index, _, masks in model.propagate_in_video(state, start_frame_idx=seed, reverse=reverse):
                    logits[index] = masks[0, 0].numpy()
        return logits


@contextmanager
def _frames_instead_of_files(frames: Tensor, height: int, width: int) -> Iterator[None]:
    """What `init_state` loads are these frames `(N, 3, S, S)`, of slices of this size; no progress bars are drawn."""
    import sam2.sam2_video_predictor as stock

    replaced = {"load_video_frames": lambda **_: (frames, height, width), "tqdm": lambda indices, **_: indices}
    kept = {name: getattr(stock, name) for name in replaced}
    try:
        for name, replacement in replaced.items():
            setattr(stock, name, replacement)
        yield
    finally:
        for name, original in kept.items():
            setattr(stock, name, original)
