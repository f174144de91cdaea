"""An engine that sees nothing but brightness, and a head with something bright in it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from automedsam.core.boxes import Box
from automedsam.core.resize import resize_linear
from automedsam.core.volume import Volume
from automedsam.pipeline.backends import LoadedModel
from automedsam.sam2.networks import DecoderPrompt, Floats, ImageEmbedding, MaskPrediction
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam_lab.metrics.reference_boxes import tight_box

SHAPE = (16, 60, 60)
LESION = ((5, 12), (20, 40), (24, 48))


class BrightDetector:
    """Boxes whatever is bright."""

    def detect(self, frames: np.ndarray) -> Iterator[list[Box]]:
        for frame in frames[..., 1]:
            bright = frame > 150
            yield [replace(tight_box(bright), score=0.9)] if bright.any() else []


class BrightNetworks:
    """The object is whatever is bright in the network's view."""

    def encode_image(self, image: Floats) -> ImageEmbedding:
        side = image.shape[-1]
        gray = (image[0] * IMAGENET_STD + IMAGENET_MEAN)[None, :1]
        cells = np.zeros((1, 4, side // 16, side // 16), np.float32)
        return ImageEmbedding(resize_linear(gray, (side // 4, side // 4)), cells, cells)

    def attend(self, features: Floats, *_memories: object) -> Floats:
        return features

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        logits = np.repeat(40 * (embedding.high_res_0 - 0.6), 4, axis=1)
        presence = np.full((1, 1), float(logits.max()), np.float32)
        return MaskPrediction(logits, np.ones((1, 4), np.float32), np.zeros((1, 4, 4), np.float32), presence)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        return features


def use_bright_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes brightness for tumour, whatever the bundle and the backend."""

    def load_model(*_arguments: object) -> LoadedModel:
        return LoadedModel(BrightDetector(), BrightNetworks(), "nothing")  # type: ignore[arg-type]

    for module in ("automedsam.pipeline.run", "automedsam_lab.evaluation.case", "automedsam_lab.evaluation.speed"):
        monkeypatch.setattr(f"{module}.load_model", load_model)


def draw_truth() -> np.ndarray:
    """Labels `(K, J, I)` of one block."""
    reference = np.zeros(SHAPE, np.uint8)
    reference[tuple(slice(*side) for side in LESION)] = 1
    return reference


def draw_head(reference: np.ndarray) -> Volume:
    """A grey block with a bright one in it, on a background of 0, in voxels of 1 x 1 x 2 mm."""
    rng = np.random.default_rng(0)
    array = np.zeros(SHAPE, np.float32)
    array[:, 5:55, 5:55] = rng.normal(100, 5, (SHAPE[0], 50, 50))
    array[reference > 0] = rng.normal(300, 2, int((reference > 0).sum()))
    return Volume(array, (1.0, 1.0, 2.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1), "head")
