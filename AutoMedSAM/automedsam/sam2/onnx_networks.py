"""SAM 2's networks on ONNX Runtime: nothing of torch is installed or imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.runtime.golden_outputs import check_golden
from automedsam.runtime.session import open_session
from automedsam.sam2.networks import DecoderPrompt, Floats, ImageEmbedding, MaskPrediction

NETWORK_NAMES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")


class OnnxNetworks:
    """The four graphs that `automedsam-lab export` writes.

    Args:
        files: the path of each graph, by the names in `NETWORK_NAMES`.
        image_size: the side S of the model's input in pixels.
        threads: threads within an operator; all cores if None.
        golden: what the graphs answered where they were made, see `golden_outputs.record_golden`.

    Raises:
        AutoMedSAMError: if a file cannot be run, or answers otherwise here.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        image_size: int,
        threads: int | None = None,
        golden: Mapping[str, Any] | None = None,
    ) -> None:
        self._sessions = {name: open_session(files[name], threads) for name in NETWORK_NAMES}
        if golden is not None:
            check_golden(self._sessions, golden)
        self._no_mask = np.zeros((1, 1, image_size, image_size), np.float32)

    def encode_image(self, image: Floats) -> ImageEmbedding:
        return ImageEmbedding(*self._run("image_encoder", image=image))

    def attend(
        self, features: Floats, memories: Floats, ages: NDArray[np.int64], pointers: Floats, distances: Floats
    ) -> Floats:
        conditioned: Floats = self._run(
            "memory_attention",
            features=features,
            memories=memories,
            ages=ages,
            pointers=pointers,
            distances=distances,
        )[0]
        return conditioned

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        outputs = self._run(
            "mask_decoder",
            features=features,
            high_res_0=embedding.high_res_0,
            high_res_1=embedding.high_res_1,
            no_memory=_flag(not memory_conditioned),
            points=prompt.points,
            labels=prompt.labels,
            mask=self._no_mask if prompt.mask is None else prompt.mask,
            has_mask=_flag(prompt.mask is not None),
        )
        return MaskPrediction(*outputs)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        memory: Floats = self._run(
            "memory_encoder", features=features, logits=logits, presence=presence, binarise=_flag(binarise)
        )[0]
        return memory

    def _run(self, part: str, **inputs: Any) -> list[Any]:
        session = self._sessions[part]
        # The exporter drops inputs that a model's settings leave unused, such as distances.
        wanted = {node.name for node in session.get_inputs()}
        return list(session.run(None, {name: value for name, value in inputs.items() if name in wanted}))


def _flag(value: bool) -> Floats:
    return np.array([float(value)], np.float32)
