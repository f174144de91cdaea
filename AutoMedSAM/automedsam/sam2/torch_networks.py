"""SAM 2's networks on PyTorch: the FP32 backend, and what the lab exports to ONNX.

Only the FP32 backend, what makes INT8 files and the lab import this module. The modules wrap the `sam2` package's own
layers; what they change is the form, so that an ONNX exporter accepts it: rotary encodings without complex numbers
(`sam2.modeling.position_encoding.apply_rotary_enc`), and selections that are left to the propagation.
"""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that holds code; nothing is unpickled here
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.checkpoint_file import read_state_dict
from automedsam.sam2.networks import NO_OBJECT_LOGIT, DecoderPrompt, Floats, ImageEmbedding, MaskPrediction
from automedsam.sam2.published_networks import NO_OBJECT_EMBEDDING

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


class ImageEncoder(nn.Module):
    """`(B, 3, S, S)` to two high-resolution maps and the features, see `ImageEmbedding`."""

    def __init__(self, model: SAM2Base) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.model.forward_image(image)["backbone_fpn"]
        return levels[0], levels[1], levels[2]


class MemoryAttention(nn.Module):
    """The features of a slice in the light of its memories, see `Sam2Networks.attend`."""

    cosine: Tensor
    sine: Tensor
    image_position: Tensor
    memory_position: Tensor
    age_encoding: Tensor

    def __init__(self, model: SAM2Base) -> None:
        from sam2.modeling.position_encoding import compute_axial_cis

        super().__init__()
        self.layers, self.norm = model.memory_attention.layers, model.memory_attention.norm
        self.width, self.memory_width = model.hidden_dim, model.mem_dim
        self.cells = model.sam_image_embedding_size
        self.temporal = model.add_tpos_enc_to_obj_ptrs
        self.pointer_position = model.obj_ptr_tpos_proj
        grid = (1, 1, self.cells, self.cells)
        image_position = model.image_encoder.neck.position_encoding(torch.zeros(grid))
        memory_position = model.memory_encoder.position_encoding(torch.zeros(grid))
        turns = compute_axial_cis(dim=self.width, end_x=self.cells, end_y=self.cells)
        self.register_buffer("image_position", 0.1 * _tokens(image_position))
        self.register_buffer("memory_position", _tokens(memory_position))
        self.register_buffer("cosine", turns.real.contiguous())
        self.register_buffer("sine", turns.imag.contiguous())
        self.register_buffer("age_encoding", model.maskmem_tpos_enc.detach()[:, 0])

    def forward(self, features: Tensor, memories: Tensor, ages: Tensor, pointers: Tensor, distances: Tensor) -> Tensor:
        current = _tokens(features) + self.image_position
        memory = _tokens(memories)
        keys = memory + self.memory_position + self.age_encoding[ages]
        memory = memory.reshape(1, -1, self.memory_width)
        # A pointer is as wide as the model, a memory narrower: a pointer is cut into several tokens.
        split = self.width // self.memory_width
        pointer = pointers.reshape(1, -1, self.memory_width)
        pointer_keys = pointer + self._when(distances).repeat_interleave(split, 0)[None]
        for layer in self.layers:
            attention, normed = layer.self_attn, layer.norm1(current)
            turned_q, turned_k = self._turn(attention.q_proj(normed)), self._turn(attention.k_proj(normed))
            current = current + attention.out_proj(_attend(turned_q, turned_k, attention.v_proj(normed)))
            attention, normed = layer.cross_attn_image, layer.norm2(current)
            turned_k = self._turn(attention.k_proj(keys)).reshape(1, -1, self.width)
            all_keys = torch.cat([turned_k, attention.k_proj(pointer_keys)], 1)
            values = torch.cat([attention.v_proj(memory), attention.v_proj(pointer)], 1)
            current = current + attention.out_proj(_attend(self._turn(attention.q_proj(normed)), all_keys, values))
            normed = layer.norm3(current)
            current = current + layer.linear2(layer.activation(layer.linear1(normed)))
        shape = (1, self.cells, self.cells, self.width)
        return cast(Tensor, self.norm(current)).reshape(shape).permute(0, 3, 1, 2)

    def _turn(self, tokens: Tensor) -> Tensor:
        """Rotary encoding of `(B, f * f, C)` with interleaved pairs, in real numbers."""
        pairs = tokens.reshape(*tokens.shape[:-1], self.width // 2, 2)
        first, second = pairs[..., 0], pairs[..., 1]
        turned = (first * self.cosine - second * self.sine, first * self.sine + second * self.cosine)
        return torch.stack(turned, -1).flatten(-2)

    def _when(self, distances: Tensor) -> Tensor:
        """The temporal encoding `(P, M)` of pointers."""
        if not self.temporal:
            return distances[:, None] * torch.zeros(1, self.memory_width, device=distances.device)
        from sam2.modeling.sam2_utils import get_1d_sine_pe

        return cast(Tensor, self.pointer_position(get_1d_sine_pe(distances, dim=self.width)))


class MaskDecoder(nn.Module):
    """Prompt encoder and mask decoder, see `Sam2Networks.decode`; all four masks, none selected."""

    dense_position: Tensor

    def __init__(self, model: SAM2Base) -> None:
        super().__init__()
        self.model = model
        self.cells = model.sam_image_embedding_size
        self.register_buffer("dense_position", model.sam_prompt_encoder.get_dense_pe().detach())

    def forward(  # noqa: PLR0913  the inputs of the exported network
        self,
        features: Tensor,
        high_res_0: Tensor,
        high_res_1: Tensor,
        no_memory: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        model, prompts = self.model, self.model.sam_prompt_encoder
        features = features + no_memory * model.no_mem_embed.reshape(1, -1, 1, 1)
        sparse = prompts._embed_points(points, labels, pad=True)
        blank = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, self.cells, self.cells)
        dense = has_mask * prompts._embed_masks(model.mask_downsample(mask)) + (1 - has_mask) * blank
        logits, ious, tokens, presence = model.sam_mask_decoder.predict_masks(
            features, self.dense_position, sparse, dense, False, [high_res_0, high_res_1]
        )
        appears = (presence > 0).to(logits.dtype)
        logits = torch.where(presence[..., None, None] > 0, logits, float(NO_OBJECT_LOGIT))
        pointers = appears[:, None] * model.obj_ptr_proj(tokens) + (1 - appears[:, None]) * model.no_obj_ptr
        return logits, ious, pointers, presence


class MemoryEncoder(nn.Module):
    """A slice's memory, see `Sam2Networks.remember`."""

    def __init__(self, model: SAM2Base) -> None:
        super().__init__()
        self.encoder, self.absent = model.memory_encoder, model.no_obj_embed_spatial
        self.size = model.image_size
        self.scale, self.bias = model.sigmoid_scale_for_mem_enc, model.sigmoid_bias_for_mem_enc

    def forward(self, features: Tensor, logits: Tensor, presence: Tensor, binarise: Tensor) -> Tensor:
        high = F.interpolate(logits, size=(self.size, self.size), mode="bilinear", align_corners=False)
        mask = binarise * (high > 0).to(high.dtype) + (1 - binarise) * high.sigmoid()
        memory = self.encoder(features, mask * self.scale + self.bias, skip_mask_sigmoid=True)["vision_features"]
        missing = (presence <= 0).to(high.dtype)[..., None, None]
        return cast(Tensor, memory + missing * self.absent[..., None, None])


def _tokens(maps: Tensor) -> Tensor:
    """`(B, C, f, f)` to `(B, f * f, C)`."""
    return maps.flatten(2).permute(0, 2, 1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])[:, 0]


class TorchNetworks:
    """The four networks on a torch device.

    Args:
        model: a SAM 2 model; it is put into evaluation mode.
        device: "cpu", "cuda" or "mps".
    """

    def __init__(self, model: SAM2Base, device: str = "cpu") -> None:
        self._device = device
        model = model.eval()
        # Position tables are computed on the CPU, then everything moves.
        parts = [part(model) for part in (ImageEncoder, MemoryAttention, MaskDecoder, MemoryEncoder)]
        self._encoder, self._attention, self._decoder, self._memory = (part.to(device).eval() for part in parts)
        self._no_mask = np.zeros((1, 1, model.image_size, model.image_size), np.float32)

    def encode_image(self, image: Floats) -> ImageEmbedding:
        return ImageEmbedding(*self._run(self._encoder, image))

    def attend(
        self, features: Floats, memories: Floats, ages: NDArray[np.int64], pointers: Floats, distances: Floats
    ) -> Floats:
        return self._run(self._attention, features, memories, ages, pointers, distances)[0]

    def decode(
        self, features: Floats, embedding: ImageEmbedding, prompt: DecoderPrompt, *, memory_conditioned: bool
    ) -> MaskPrediction:
        flags = [np.array([float(value)], np.float32) for value in (not memory_conditioned, prompt.mask is not None)]
        mask = self._no_mask if prompt.mask is None else prompt.mask
        outputs = self._run(
            self._decoder,
            features,
            embedding.high_res_0,
            embedding.high_res_1,
            flags[0],
            prompt.points,
            prompt.labels,
            mask,
            flags[1],
        )
        return MaskPrediction(*outputs)

    def remember(self, features: Floats, logits: Floats, presence: Floats, *, binarise: bool) -> Floats:
        flag = np.array([float(binarise)], np.float32)
        return self._run(self._memory, features, logits, presence, flag)[0]

    def _run(self, part: nn.Module, *inputs: NDArray[Any]) -> tuple[Floats, ...]:
        with torch.inference_mode():
            outputs = part(*[torch.from_numpy(np.ascontiguousarray(value)).to(self._device) for value in inputs])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.float().cpu().numpy() for output in outputs)


def load_model(path: Path, published_as: Sam2Architecture | None = None) -> tuple[SAM2Base, Sam2Architecture]:
    """Reads `segmenter.pt`, as the lab's training writes it, a bundle's weights, or a checkpoint as it was published.

    Args:
        path: the weights, with the architecture or without. Those of `.safetensors` may be 16-bit floats; they are
            computed with in 32 bits.
        published_as: the architecture, where the file does not have it.

    Raises:
        AutoMedSAMError: if the file is not such a checkpoint.
    """
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if published_as is not None and "architecture" not in content:
            return _load_published(path, published_as), published_as
        architecture = Sam2Architecture.from_manifest(content["architecture"])
        model = build_sam2(architecture)
        model.load_state_dict(content["model"])
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, ValueError, UnpicklingError) as error:
        message = f"{path} is not a segmenter of the lab ({type(error).__name__}): train or install it again."
        raise AutoMedSAMError(message) from error
    return model.eval(), architecture


def _load_safetensors(path: Path) -> tuple[SAM2Base, Sam2Architecture]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        message = "The FP32 backend needs safetensors, which is not installed: pip install 'automedsam[fp32]'."
        raise AutoMedSAMError(message) from error
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get("architecture", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        architecture = Sam2Architecture.from_manifest(described)
        model = build_sam2(architecture)
        model.load_state_dict({name: _single(tensor) for name, tensor in state.items()})
    except (OSError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
        message = f"{path} holds no segmenter's weights ({type(error).__name__}): install the model again."
        raise AutoMedSAMError(message) from error
    return model.eval(), architecture


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _load_published(path: Path, architecture: Sam2Architecture) -> SAM2Base:
    model = build_sam2(architecture)
    state = read_state_dict(path)
    if NO_OBJECT_EMBEDDING not in state:
        # A checkpoint of SAM 2.0.
        state[NO_OBJECT_EMBEDDING] = torch.zeros_like(model.state_dict()[NO_OBJECT_EMBEDDING])
    model.load_state_dict(state)
    return model.eval()


def choose_device(wanted: str = "auto") -> tuple[str, str]:
    """The torch device for a wish of "auto", "cpu", "cuda" or "mps", and the reason in words.

    Raises:
        AutoMedSAMError: if the wished device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        if there["cuda"]:
            return "cuda", f"CUDA: {torch.cuda.get_device_name()}"
        return ("mps", "MPS: Apple GPU") if there["mps"] else ("cpu", "CPU: no CUDA GPU found")
    if not there.get(wanted, False):
        message = f"The device {wanted} is not there: choose auto or cpu."
        raise AutoMedSAMError(message)
    return wanted, f"{wanted.upper()}: as asked"
