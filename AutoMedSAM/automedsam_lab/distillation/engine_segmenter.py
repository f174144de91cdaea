"""A bundle's segmenter, or one in training, prompted by boxes on single images as the engine prompts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automedsam.bundle import load_bundle
from automedsam.contract.backends import Backend
from automedsam.core.boxes import Box, Tracklet
from automedsam.core.color import image_luminance
from automedsam.pipeline.backends import load_model
from automedsam.sam2.networks import Sam2Networks
from automedsam.sam2.propagation import Prompt, Sam2Segmenter, SegmenterSettings
from automedsam.tracking.crops import region_of_interest
from automedsam_lab.distillation.pack import SIDE
from automedsam_lab.distillation.segmenters import confidence

OUTSIDE = -30.0
FILL = 0.6
"""The share of a crop that the box fills; the bundles' own."""


@dataclass
class EngineSegmenter:
    """Looks at each box in a crop of its own, in grey levels.

    Attributes:
        name: for tables.
        networks: of any backend.
        settings: how they are run.
        fill: the share of a crop's sides that the box fills.
    """

    name: str
    networks: Sam2Networks
    settings: SegmenterSettings
    fill: float = FILL

    def segment(
        self, framed: NDArray[np.uint8], content: tuple[int, int], boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `BoxSegmenter`."""
        gray = image_luminance(framed[: content[0], : content[1]])[None]
        logits = np.full((len(boxes), SIDE, SIDE), OUTSIDE, np.float32)
        for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            box = Box(x0, y0, x1 - x0, y1 - y0)
            region = region_of_interest([Tracklet(1, {0: box})], self.fill, content)
            segmenter = Sam2Segmenter(self.networks, self.settings, gray, region)
            segmenter.prompt(0, 0, Prompt(box=box))
            ((_, found),) = segmenter.propagate(0, 0, 0, 0)
            logits[number, : content[0], : content[1]] = found.clip(OUTSIDE)
        return logits, confidence(logits)


def open_engine_segmenter(weights: str, backend: Backend = Backend.INT8) -> EngineSegmenter:
    """Opens a bundle, or the weights of a training.

    Args:
        weights: a bundle's name or folder, or a `segmenter.pt`, which runs in FP32.
        backend: of the bundle.

    Raises:
        AutoMedSAMError: if it is neither.
    """
    path = Path(weights)
    if path.suffix in (".pt", ".safetensors"):
        from automedsam.sam2 import torch_networks

        model, architecture = torch_networks.load_model(path)
        settings = SegmenterSettings.of(architecture, box_as_mask=True)
        return EngineSegmenter(path.stem, torch_networks.TorchNetworks(model), settings)
    bundle = load_bundle(weights)
    name = f"{bundle.name} {bundle.version}, {backend.value}"
    return EngineSegmenter(name, load_model(bundle, backend).networks, bundle.segmenter, bundle.tracking.fill)
