"""The four networks of SAM 2, as the propagation sees them: numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

BOX_CORNER_LABELS = (2, 3)
NO_POINT_LABEL = -1
NO_OBJECT_LOGIT = np.float32(-1024.0)


class ImageEmbedding(NamedTuple):
    """One slice as the image encoder sees it; f = image size / 16, C = the model's width.

    Attributes:
        high_res_0: `(1, C / 8, 4f, 4f)`.
        high_res_1: `(1, C / 4, 2f, 2f)`.
        features: `(1, C, f, f)`.
    """

    high_res_0: Floats
    high_res_1: Floats
    features: Floats


@dataclass(frozen=True)
class DecoderPrompt:
    """What the mask decoder is asked, in pixels of the model's square input of side S.

    Attributes:
        points: `(1, P, 2)` as x, y.
        labels: `(1, P)` int32: 1 on the object, 0 off it, 2 and 3 a box's corners, -1 no point.
        mask: `(1, 1, S, S)` of 0 and 1, or None.
    """

    points: Floats
    labels: NDArray[np.int32]
    mask: Floats | None = None


class MaskPrediction(NamedTuple):
    """What the mask decoder answers; the first of the four masks is the one for unambiguous prompts.

    Attributes:
        logits: `(1, 4, 4f, 4f)`; -1024 everywhere if the object is not on the slice.
        iou_predictions: `(1, 4)`, estimated.
        object_pointers: `(1, 4, C)`.
        object_score_logits: `(1, 1)`, above 0 if the object is on the slice.
    """

    logits: Floats
    iou_predictions: Floats
    object_pointers: Floats
    object_score_logits: Floats


class Sam2Networks(Protocol):
    """The networks of one SAM 2 model (Ravi et al., 2024, arXiv:2408.00714, section 4)."""

    def encode_image(self, image: Floats) -> ImageEmbedding:
        """Image encoder, on `(1, 3, S, S)` normalised with ImageNet's mean and deviation."""
        ...

    def attend(
        self, features: Floats, memories: Floats, ages: NDArray[np.int64], pointers: Floats, distances: Floats
    ) -> Floats:
        """Memory attention.

        Args:
            features: `(1, C, f, f)` of this slice.
            memories: `(K, M, f, f)`, K of 1 or more.
            ages: `(K,)` rows of the temporal encoding: 0 for the neighbouring slice, 1 for the next, ...
            pointers: `(P, C)` object pointers, P of 1 or more.
            distances: `(P,)` distances in slices from the pointers to this slice, over the longest one.

        Returns:
            `(1, C, f, f)`.
        """
        ...

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        """Prompt encoder and mask decoder, on features that went through `attend` if `memory_conditioned`."""
        ...

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        """Memory encoder: `(1, M, f, f)` from a slice's features and its mask logits `(1, 1, 4f, 4f)`.

        `binarise` where the mask was prompted.
        """
        ...
