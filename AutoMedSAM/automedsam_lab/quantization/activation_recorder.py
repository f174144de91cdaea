"""The real inputs of every part, taken down while the FP32 parts follow short clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automedsam.errors import AutoMedSAMError
from automedsam.quantization.quantizer import OrtInputs
from automedsam.runtime.session import open_session
from automedsam.sam2.networks import DecoderPrompt, Floats, ImageEmbedding, MaskPrediction
from automedsam.sam2.onnx_networks import NETWORK_NAMES, OnnxNetworks
from automedsam.sam2.propagation import SegmenterSettings
from automedsam_lab.quantization.fidelity import PromptedClip, propagate_clips

MAX_FEEDS = 24


class ActivationRecorder:
    """`Sam2Networks` that take down what they are asked, by the names of the exported graphs' inputs."""

    def __init__(self, parts: OnnxNetworks, image_size: int) -> None:
        self._parts = parts
        self._no_mask = np.zeros((1, 1, image_size, image_size), np.float32)
        self.inputs: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in NETWORK_NAMES}

    def encode_image(self, image: Floats) -> ImageEmbedding:
        self.inputs["image_encoder"].append({"image": image})
        return self._parts.encode_image(image)

    def attend(
        self, features: Floats, memories: Floats, ages: NDArray[np.int64], pointers: Floats, distances: Floats
    ) -> Floats:
        inputs: dict[str, NDArray[Any]] = {
            "features": features,
            "memories": memories,
            "ages": ages,
            "pointers": pointers,
            "distances": distances,
        }
        self.inputs["memory_attention"].append(inputs)
        return self._parts.attend(features, memories, ages, pointers, distances)

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        inputs: dict[str, NDArray[Any]] = {
            "features": features,
            "high_res_0": embedding.high_res_0,
            "high_res_1": embedding.high_res_1,
            "no_memory": np.array([float(not memory_conditioned)], np.float32),
            "points": prompt.points,
            "labels": prompt.labels,
            "mask": self._no_mask if prompt.mask is None else prompt.mask,
            "has_mask": np.array([float(prompt.mask is not None)], np.float32),
        }
        self.inputs["mask_decoder"].append(inputs)
        return self._parts.decode(features, embedding, prompt, memory_conditioned=memory_conditioned)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        flag = np.array([float(binarise)], np.float32)
        inputs = {"features": features, "logits": logits, "presence": presence, "binarise": flag}
        self.inputs["memory_encoder"].append(inputs)
        return self._parts.remember(features, logits, presence, binarise=binarise)


def record_inputs(
    fp32: Mapping[str, Path],
    clips: Sequence[PromptedClip],
    settings: SegmenterSettings,
    most: int = MAX_FEEDS,
    threads: int | None = None,
) -> dict[str, list[OrtInputs]]:
    """Runs the FP32 parts over clips and takes down their inputs.

    Args:
        fp32: the exported graph of each part.
        clips: short clips with a box on the first slice.
        settings: how the model is run.
        most: inputs that are kept of each part, spread evenly over the clips.
        threads: threads within an operator; all cores if None.

    Returns:
        Of each part its inputs, by the names of its graph.

    Raises:
        AutoMedSAMError: if there is no clip of at least two slices, since only the second has memories.
    """
    if not any(len(clip.frames) > 1 for clip in clips):
        message = "Recording needs a clip of at least two neighbouring slices; give volumes, not single images."
        raise AutoMedSAMError(message)
    recorder = ActivationRecorder(OnnxNetworks(fp32, settings.image_size, threads), settings.image_size)
    propagate_clips(recorder, settings, clips)
    recorded: dict[str, list[OrtInputs]] = {}
    for name, inputs in recorder.inputs.items():
        wanted = {node.name for node in open_session(fp32[name], threads).get_inputs()}
        kept = np.unique(np.linspace(0, len(inputs) - 1, min(most, len(inputs))).round().astype(int))
        recorded[name] = [{key: value for key, value in inputs[i].items() if key in wanted} for i in kept]
    return recorded
