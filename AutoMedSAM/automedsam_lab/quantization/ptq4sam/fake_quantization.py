"""Weights and activations rounded to few bits in torch, for schemes that ONNX Runtime has no kernels for.

All linear layers, convolutions and attention products compute in FP32 on rounded numbers. As in PTQ4SAM the
first convolution, the mask decoder's upscaling and its heads stay as they are. Weights are rounded by channel,
symmetrically; activations by tensor, within the least and greatest value that calibration saw. PTQ4SAM's AdaRound
is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from automedsam.sam2.networks import DecoderPrompt, Floats, ImageEmbedding, MaskPrediction
from automedsam.sam2.propagation import SegmenterSettings
from automedsam.sam2.torch_networks import TorchNetworks
from automedsam_lab.quantization.fidelity import PromptedClip, propagate_clips
from automedsam_lab.quantization.ptq4sam.adaptive_granularity import Granularity, quantize_softmax, search_granularity

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

UNTOUCHED = (
    "patch_embed",
    "stem.0.",
    "output_upscaling",
    "iou_prediction_head",
    "output_hypernetworks_mlps",
    "pred_obj_score_head",
)
SOFTMAX_SAMPLES = 6
_MAX_QUERIES = 256


@dataclass
class Observed:
    """What calibration saw.

    Attributes:
        ranges: the least and greatest value at each place.
        softmax: of each attention some probabilities `(..., Q, K)` and values `(..., K, C)`.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    softmax: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)


def observe(model: SAM2Base, settings: SegmenterSettings, clips: Sequence[PromptedClip]) -> Observed:
    """Runs the model over clips and takes down ranges and softmax outputs."""
    seen = Observed()

    def look(place: str, values: Tensor) -> Tensor:
        least, greatest = seen.ranges.get(place, (0.0, 0.0))
        seen.ranges[place] = (min(least, float(values.min())), max(greatest, float(values.max())))
        return values

    def look_at_softmax(place: str, probabilities: Tensor, values: Tensor) -> Tensor:
        samples = seen.softmax.setdefault(place, [])
        if len(samples) < SOFTMAX_SAMPLES:
            step = -(-probabilities.shape[-2] // _MAX_QUERIES)
            samples.append((probabilities[..., ::step, :].clone(), values.clone()))
        return look(place, probabilities)

    interception = _Interception(model, look, look_at_softmax, lambda _, weight: weight)
    propagate_clips(_InterceptedParts(model, interception), settings, clips)
    return seen


def search_softmax(observed: Observed, bits: int) -> dict[str, Granularity]:
    """The granularity of each attention."""
    return {place: search_granularity(samples, bits) for place, samples in observed.softmax.items()}


def simulated_parts(
    model: SAM2Base, observed: Observed, bits: int, granularities: Mapping[str, Granularity] | None = None
) -> _InterceptedParts:
    """`Sam2Networks` that compute with weights and activations of `bits` bits.

    Args:
        model: the one that was observed.
        observed: what calibration saw of it.
        bits: of weights, activations and softmax outputs.
        granularities: the logarithmic grid of each attention's softmax; evenly spaced codes if None.
    """
    rounded_weights: dict[str, Tensor] = {}

    def round_activation(place: str, values: Tensor) -> Tensor:
        return round_to_range(values, *observed.ranges[place], bits)

    def round_softmax(place: str, probabilities: Tensor, _: Tensor) -> Tensor:
        if granularities is None:
            return round_activation(place, probabilities)
        return quantize_softmax(probabilities, granularities[place].scale, granularities[place].tau, bits)

    def weight_once(name: str, weight: Tensor) -> Tensor:
        if name not in rounded_weights:
            rounded_weights[name] = round_by_channel(weight, bits)
        return rounded_weights[name]

    return _InterceptedParts(model, _Interception(model, round_activation, round_softmax, weight_once))


def round_to_range(values: Tensor, least: float, greatest: float, bits: int) -> Tensor:
    """Rounds to `2^bits` evenly spaced values, 0 among them, that span a range which includes 0."""
    step = (greatest - least) / (2**bits - 1)
    if step == 0:
        return values
    zero = round(-least / step)
    return (torch.round(values / step).add_(zero).clamp_(0, 2**bits - 1) - zero) * step


def round_by_channel(weight: Tensor, bits: int) -> Tensor:
    """Rounds a weight `(C, ...)` to signed codes, symmetric about 0, with a step for each channel."""
    most = weight.flatten(1).abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    step = (most / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (weight.ndim - 1))
    return torch.round(weight / step) * step


class _Interception(TorchFunctionMode):
    """Hands the inputs of layers and attentions to functions, and computes with what they return."""

    def __init__(
        self,
        model: SAM2Base,
        activation: Callable[[str, Tensor], Tensor],
        softmax: Callable[[str, Tensor, Tensor], Tensor],
        weight: Callable[[str, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._activation, self._softmax, self._weight = activation, softmax, weight
        self._latest, self._calls = "", dict[str, int]()

    def begin(self) -> None:
        """A part is run: layers that are used several times in it are distinguished by their order."""
        self._calls.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.linear, F.conv2d) and id(args[1]) in self._names:
            name = self._names[id(args[1])]
            self._latest = name
            if not any(untouched in name for untouched in UNTOUCHED):
                values = self._activation(self._turn(name), args[0])
                args = (values, self._weight(name, args[1]), *args[2:])
        elif func is F.scaled_dot_product_attention:
            return self._attend(*args[:3])
        return func(*args, **kwargs)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        place = self._turn(self._latest.rsplit(".", 2)[0])
        queries, keys = self._activation(f"{place} q", queries), self._activation(f"{place} k", keys)
        values = self._activation(f"{place} v", values)
        products = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
        return self._softmax(f"{place} softmax", products.softmax(-1), values) @ values

    def _turn(self, name: str) -> str:
        self._calls[name] = self._calls.get(name, 0) + 1
        return f"{name} {self._calls[name]}"


class _InterceptedParts:
    """`Sam2Networks` on torch whose layers are intercepted."""

    def __init__(self, model: SAM2Base, interception: _Interception) -> None:
        self._parts, self._interception = TorchNetworks(model), interception

    def encode_image(self, image: Floats) -> ImageEmbedding:
        return self._within(self._parts.encode_image, image)

    def attend(
        self, features: Floats, memories: Floats, ages: NDArray[Any], pointers: Floats, distances: Floats
    ) -> Floats:
        return self._within(self._parts.attend, features, memories, ages, pointers, distances)

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        return self._within(self._parts.decode, features, embedding, prompt, memory_conditioned=memory_conditioned)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        return self._within(self._parts.remember, features, logits, presence, binarise=binarise)

    def _within(self, function: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        self._interception.begin()
        with self._interception:
            return function(*inputs, **options)
